"""The top-k family: the selections of a model's sparse indexer, their names and what they cost. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, cast

from autotune_cli.errors import BadField
from autotune_cli.kernels.base import ALL_DISTRIBUTIONS, CapturedScores, Cost, DeviceKind, Mode, Spread
from autotune_cli.kernels.family import Family, SuiteModel, SuiteRequest
from autotune_cli.kernels.properties import PROPERTIES
from autotune_cli.kernels.shapes import Grid, Shape, narrow
from autotune_cli.kernels.steps import StepLayer, StepRequest
from autotune_cli.kernels.topk import cost as costs
from autotune_cli.kernels.topk.workload import TopkWorkload

_PACKAGE = __name__.rpartition(".")[0]


def _rows(rows: int, width: int, spread: Spread = "even") -> Shape:
    return Shape(rows, width, spread=spread)


# Rows x width that stand for LLM serving; why these: docs/models.md.
GRIDS: dict[DeviceKind, Grid] = {
    "cuda": (
        _rows(1, 16384), _rows(1, 131072), _rows(1, 262144),
        _rows(16, 65536), _rows(16, 262144),
        _rows(64, 65536), _rows(64, 65536, "uneven"), _rows(64, 131072),
        _rows(256, 16384), _rows(256, 65536),
        _rows(1024, 16384),
    ),
    "cpu": (_rows(4, 16384), _rows(1, 65536)),
}  # fmt: skip


# Of the fused selections: decode steps, one query of each request (the grid of SGLang's pull request 33237); and
# extends, whose rows hold the scores of all requests side by side.
_PAGE_SIZES = (1, 64)
_DECODES: dict[DeviceKind, Grid] = {
    "cuda": tuple(_rows(rows, width) for width in (8192, 65536, 131072) for rows in (4, 16, 64)),
    "cpu": (_rows(4, 8192),),
}
_EXTENDS: dict[DeviceKind, Grid] = {
    "cuda": (_rows(1024, 16384), _rows(2048, 65536)),
    "cpu": (_rows(8, 16384),),
}
_EXTEND_REQUESTS = 4

# Pages of an indexer's keys: DeepGEMM and SGLang have no others on an NVIDIA GPU.
_INDEXER_PAGE = 64

# On which backends are checked: full rows, rows of which only the GPU knows the lengths, and rows of 1,048,576. At
# least four rows, where some kinds have more of their best scores than k in one row and fewer in the next.
_CHECKED: dict[DeviceKind, Grid] = {
    "cuda": (_rows(16, 65536), _rows(16, 65536, "uneven"), _rows(4, 1 << 20)),
    "cpu": (_rows(4, 16384), _rows(6, 16384, "uneven"), _rows(1, 1 << 20)),
}
_CHECKED_K = 2048

# A step unless the user says otherwise.
_ROWS, _WIDTH = 16, 65536


_Batch = Mapping[str, Any]
"""Fields of a workload that say whose the rows are."""


def _workload(operation: str, shape: Shape, given: _Batch) -> TopkWorkload:
    return TopkWorkload.model_validate({"operation": operation, "rows": shape.batch, "width": shape.context, **given})


def _grids(operation: str, device_kind: DeviceKind) -> tuple[tuple[Grid, tuple[_Batch, ...]], ...]:
    """Grids of an operation, each with the batches of each of its shapes."""
    extend: _Batch = {"requests": _EXTEND_REQUESTS, "packed": True}
    if operation == "topk.paged":
        decodes = tuple({"page_size": page_size} for page_size in _PAGE_SIZES)
        return (_DECODES[device_kind], decodes), (_EXTENDS[device_kind], (extend,))
    if operation == "topk.ragged":
        return ((_EXTENDS[device_kind], (extend,)),)
    return ((GRIDS[device_kind], ({},)),)


def _indexers(request: SuiteRequest, given: _Batch) -> list[TopkWorkload]:
    """Decode steps that compute their scores; none where the indexer isn't known.

    Raises:
        BadField: scores from a file.
    """
    if request.captured is not None:
        raise BadField("scores_file", "topk.indexer computes its scores")
    if given["index_heads"] is None or given["index_dim"] is None:
        return []
    shapes = narrow(_DECODES[request.device_kind], request.wanted)
    return [_workload("topk.indexer", shape, {**given, "spread": request.spread or "uneven"}) for shape in shapes]


def _checked(operation: str, device_kind: DeviceKind) -> Iterator[tuple[Shape, _Batch]]:
    """Shapes and batches: of a fused selection those that differ in what is passed with the scores."""
    shapes = _CHECKED[device_kind]
    if operation == "topk.select":
        yield from ((shape, {}) for shape in shapes)
        return
    uneven = next(shape for shape in shapes if shape.spread == "uneven")
    yield uneven, {}
    yield uneven, {"requests": 2, "packed": True}
    if operation == "topk.paged":
        yield uneven, {"page_size": 64}
        yield uneven, {"requests": 3, "batch_idx_list": True}


class TopkFamily(Family[TopkWorkload]):
    name = "topk"
    default_model = "deepseek-v3.2"
    # It is no forward mode of a server's: it runs inside several.
    step_modes = ("topk",)
    step_kernels = "topk"
    on_request = ("topk.paged", "topk.ragged", "topk.indexer")
    served = MappingProxyType({"decode": "topk.select"})
    step_of = MappingProxyType(dict.fromkeys(("topk.select", "topk.paged", "topk.ragged", "topk.indexer"), "top-k"))
    properties = PROPERTIES

    def cost(self, workload: TopkWorkload) -> Cost:
        return costs.cost(workload)

    def memory_bytes(self, workload: TopkWorkload, page_layouts: int | None = None) -> int:
        return costs.memory_bytes(workload)

    takes_scores = True

    def captured(self, path: str) -> CapturedScores:
        return cast(CapturedScores, importlib.import_module(f"{_PACKAGE}.captured").describe(path))

    def workloads(self, model: SuiteModel, operation: str, mode: Mode, request: SuiteRequest) -> list[TopkWorkload]:
        if model.topk is None:
            return []
        indexer = {"index_heads": model.index_heads, "index_dim": model.index_dim}
        if operation == "topk.indexer":
            return _indexers(request, {"k": model.topk, "mode": mode, "page_size": _INDEXER_PAGE, **indexer})
        if request.captured is not None:
            return [TopkWorkload.of_captured(request.captured, operation, model.topk, mode, request.scores)]
        common = {"k": model.topk, "mode": mode, "distributions": request.scores}
        return [
            _workload(operation, shape, {**common, "spread": request.spread or shape.spread, **batch})
            for grid, batches in _grids(operation, request.device_kind)
            for shape in narrow(grid, request.wanted)
            for batch in batches
            if shape.batch >= (batch.get("requests") or 1)
        ]

    def checks(self, operation: str, device_kind: DeviceKind) -> list[TopkWorkload]:
        if operation == "topk.indexer":
            return []
        common = {"k": _CHECKED_K, "mode": "eager", "distributions": ALL_DISTRIBUTIONS}
        return [
            _workload(operation, shape, {**common, "spread": shape.spread, **batch})
            for shape, batch in _checked(operation, device_kind)
        ]

    def why_none(self, model: SuiteModel, operation: str) -> str:
        if model.topk is not None and operation == "topk.indexer":
            return "its config.json doesn't say what its indexer's heads are: index_n_heads, index_head_dim"
        return "it has no sparse indexer, so no top-k; deepseek-v3.2 has"

    def step_layers(self, model: SuiteModel, request: StepRequest) -> list[StepLayer]:
        """One selection, whatever the layers are."""
        if model.topk is None:
            return []
        if request.new is not None:
            raise BadField(field="new", detail="a selection has no new tokens")
        rows, width = request.batch or _ROWS, request.context or _WIDTH
        return [StepLayer(TopkWorkload.select(rows=rows, width=width, k=model.topk))]

    def why_no_step(self, model: SuiteModel) -> str:
        return "it has no sparse indexer, so no top-k"


FAMILY = TopkFamily()
