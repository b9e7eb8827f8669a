"""The kernel nodes of a captured CUDA graph, by name (CUDA driver API)."""

from __future__ import annotations

from typing import Any


class NodesUnavailable(Exception):
    """The list can't be had here."""


def kernel_nodes(graph: int) -> tuple[str, ...]:
    """Names of the kernels that a replay will run, mangled as the driver has them, in the order of their capture.

    Graphs inside are followed; copies and fills are no kernels.

    Args:
        graph: the address of a ``cudaGraph_t`` (``torch.cuda.CUDAGraph.raw_cuda_graph()``).

    Raises:
        NodesUnavailable: cuda-bindings is missing, a call fails, or a node's kernels are only known at the replay.
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise NodesUnavailable(f"the list of a graph's nodes takes cuda-bindings: {error}") from None
    return tuple(_kernels(driver, driver.CUgraph(graph)))


def _kernels(driver: Any, graph: Any) -> list[str]:
    kinds = driver.CUgraphNodeType
    _, count = _checked(driver, "cuGraphGetNodes", graph, 0)
    nodes, _ = _checked(driver, "cuGraphGetNodes", graph, count)
    names: list[str] = []
    for node in nodes[:count]:
        (kind,) = _checked(driver, "cuGraphNodeGetType", node)
        if kind == kinds.CU_GRAPH_NODE_TYPE_KERNEL:
            names.append(_name(driver, node))
        elif kind == kinds.CU_GRAPH_NODE_TYPE_GRAPH:
            (inner,) = _checked(driver, "cuGraphChildGraphNodeGetGraph", node)
            names += _kernels(driver, inner)
        elif kind == kinds.CU_GRAPH_NODE_TYPE_CONDITIONAL:
            raise NodesUnavailable("a conditional node: what it runs is only known at the replay")
    return names


def _name(driver: Any, node: Any) -> str:
    """Of a kernel node. The driver keeps a function, or for kernels of a library a handle without context."""
    (params,) = _checked(driver, "cuGraphKernelNodeGetParams", node)
    if int(params.func):
        (name,) = _checked(driver, "cuFuncGetName", params.func)
    else:
        (name,) = _checked(driver, "cuKernelGetName", params.kern)
    return str(name.decode())


def _checked(driver: Any, call: str, *arguments: Any) -> tuple[Any, ...]:
    """The results of a call of cuda.bindings, which come after a status."""
    function = getattr(driver, call, None)
    if function is None:
        raise NodesUnavailable(f"{call}: these cuda-bindings don't have it")
    status, *results = function(*arguments)
    if int(status):
        raise NodesUnavailable(f"{call}: {getattr(status, 'name', status)}")
    return tuple(results)
