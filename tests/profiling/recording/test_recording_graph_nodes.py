"""The kernel nodes of a graph, from a driver that is made up: cuda.bindings as far as it is used."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import ModuleType
from typing import Any

import pytest

from autotune_cli.profiling.recording.graph_nodes import NodesUnavailable, kernel_nodes


class Status(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_HANDLE = 400


class NodeType(Enum):
    """Numbers of the driver API, cuda.h."""

    CU_GRAPH_NODE_TYPE_KERNEL = 0
    CU_GRAPH_NODE_TYPE_MEMCPY = 1
    CU_GRAPH_NODE_TYPE_MEMSET = 2
    CU_GRAPH_NODE_TYPE_HOST = 3
    CU_GRAPH_NODE_TYPE_GRAPH = 4
    CU_GRAPH_NODE_TYPE_EMPTY = 5
    CU_GRAPH_NODE_TYPE_CONDITIONAL = 13


@dataclass(frozen=True)
class Handle:
    """As the bindings wrap pointers: 0 is none."""

    value: int

    def __int__(self) -> int:
        return self.value


@dataclass(frozen=True)
class Params:
    func: Handle
    kern: Handle


@dataclass
class Node:
    kind: NodeType
    name: str = ""
    of_library: bool = False
    inner: int = 0


def kernel(name: str) -> Node:
    return Node(NodeType.CU_GRAPH_NODE_TYPE_KERNEL, name)


def library_kernel(name: str) -> Node:
    """The driver keeps no function for it, but a handle without a context."""
    return Node(NodeType.CU_GRAPH_NODE_TYPE_KERNEL, name, of_library=True)


def graph_of(address: int) -> Node:
    return Node(NodeType.CU_GRAPH_NODE_TYPE_GRAPH, inner=address)


COPY = Node(NodeType.CU_GRAPH_NODE_TYPE_MEMCPY)
FILL = Node(NodeType.CU_GRAPH_NODE_TYPE_MEMSET)


@dataclass
class Driver:
    """Graphs by address. Each call gives a status, then its results."""

    graphs: dict[int, list[Node]]
    failing: str = ""
    calls: list[str] = field(default_factory=list)
    CUgraphNodeType = NodeType

    def __post_init__(self) -> None:
        self._names: list[str] = []

    @staticmethod
    def CUgraph(address: int) -> int:
        assert isinstance(address, int)
        return address

    def _done(self, call: str, *results: Any) -> tuple[Any, ...]:
        self.calls.append(call)
        if call == self.failing:
            return (Status.CUDA_ERROR_INVALID_HANDLE, *(None for _ in results))
        return (Status.CUDA_SUCCESS, *results)

    def cuGraphGetNodes(self, graph: int, room: int) -> tuple[Any, ...]:
        """With no room: how many there are. With more than needed the bindings leave empty places."""
        nodes = self.graphs[graph]
        return self._done("cuGraphGetNodes", [*nodes, None][: room or 0], len(nodes))

    def cuGraphNodeGetType(self, node: Node) -> tuple[Any, ...]:
        return self._done("cuGraphNodeGetType", node.kind)

    def cuGraphChildGraphNodeGetGraph(self, node: Node) -> tuple[Any, ...]:
        assert node.kind is NodeType.CU_GRAPH_NODE_TYPE_GRAPH
        return self._done("cuGraphChildGraphNodeGetGraph", node.inner)

    def cuGraphKernelNodeGetParams(self, node: Node) -> tuple[Any, ...]:
        assert node.kind is NodeType.CU_GRAPH_NODE_TYPE_KERNEL
        self._names.append(node.name)
        handle, none = Handle(len(self._names)), Handle(0)
        params = Params(none, handle) if node.of_library else Params(handle, none)
        return self._done("cuGraphKernelNodeGetParams", params)

    def cuFuncGetName(self, function: Handle) -> tuple[Any, ...]:
        return self._name("cuFuncGetName", function)

    def cuKernelGetName(self, handle: Handle) -> tuple[Any, ...]:
        return self._name("cuKernelGetName", handle)

    def _name(self, call: str, handle: Handle) -> tuple[Any, ...]:
        assert int(handle), "a null handle crashes the driver"
        return self._done(call, self._names[int(handle) - 1].encode())


def install(patch: pytest.MonkeyPatch, driver: Any) -> None:
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    bindings.driver = driver  # type: ignore[attr-defined]
    for name, module in (("cuda", package), ("cuda.bindings", bindings), ("cuda.bindings.driver", driver)):
        patch.setitem(sys.modules, name, module)


def nodes(patch: pytest.MonkeyPatch, *listed: Node, failing: str = "", **inner: list[Node]) -> tuple[str, ...]:
    graphs = {1: list(listed), **{int(name.removeprefix("g")): found for name, found in inner.items()}}
    install(patch, Driver(graphs, failing))
    return kernel_nodes(1)


def test_kernels_by_function_and_by_library_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    found = nodes(monkeypatch, kernel("_Z1av"), library_kernel("_Z1bv"), kernel("_Z1av"), library_kernel("c"))
    assert found == ("_Z1av", "_Z1bv", "_Z1av", "c")


def test_copies_and_the_like_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [Node(NodeType.CU_GRAPH_NODE_TYPE_HOST), Node(NodeType.CU_GRAPH_NODE_TYPE_EMPTY)]
    assert nodes(monkeypatch, COPY, kernel("a"), FILL, *others) == ("a",)
    assert nodes(monkeypatch, COPY) == ()
    assert nodes(monkeypatch) == ()


def test_graphs_inside_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = nodes(
        monkeypatch,
        kernel("first"),
        graph_of(2),
        kernel("last"),
        g2=[kernel("inner"), FILL, graph_of(3)],
        g3=[library_kernel("innermost")],
    )
    assert found == ("first", "inner", "innermost", "last")


def test_what_is_known_at_the_replay_only_can_not_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    conditional = Node(NodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL)
    with pytest.raises(NodesUnavailable, match="a conditional node: what it runs is only known at the replay"):
        nodes(monkeypatch, kernel("a"), conditional)
    with pytest.raises(NodesUnavailable, match="conditional"):
        nodes(monkeypatch, graph_of(2), g2=[conditional])


@pytest.mark.parametrize(
    "call",
    [
        "cuGraphGetNodes",
        "cuGraphNodeGetType",
        "cuGraphKernelNodeGetParams",
        "cuFuncGetName",
        "cuKernelGetName",
        "cuGraphChildGraphNodeGetGraph",
    ],
)
def test_a_call_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Never a list that lacks what could not be read."""
    with pytest.raises(NodesUnavailable, match=f"^{call}: CUDA_ERROR_INVALID_HANDLE$"):
        nodes(monkeypatch, kernel("a"), library_kernel("b"), graph_of(2), failing=call, g2=[])


def test_without_the_bindings_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NodesUnavailable, match="takes cuda-bindings"):
        kernel_nodes(1)


def test_bindings_without_a_call_are_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuKernelGetName came with CUDA 12.3."""

    class Old(Driver):
        @property
        def cuKernelGetName(self) -> Any:
            raise AttributeError("module has no attribute 'cuKernelGetName'")

    install(monkeypatch, Old({1: [library_kernel("a")]}))
    with pytest.raises(NodesUnavailable, match="cuKernelGetName: these cuda-bindings don't have it"):
        kernel_nodes(1)
