"""The top-k family: the selections of a model's sparse indexer, their names and what they cost. Imports no torch."""

from __future__ import annotations

import importlib
from typing import cast

from autotune_cli.errors import BadField
from autotune_cli.kernels.base import ALL_DISTRIBUTIONS, CapturedScores, Cost, DeviceKind, Mode, Spread
from autotune_cli.kernels.family import Family, SuiteModel, SuiteRequest
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


# On which backends are checked: full rows, rows of which only the GPU knows the lengths, and rows of 1,048,576. At
# least four rows, where some kinds have more of their best scores than k in one row and fewer in the next.
_CHECKED: dict[DeviceKind, Grid] = {
    "cuda": (_rows(16, 65536), _rows(16, 65536, "uneven"), _rows(4, 1 << 20)),
    "cpu": (_rows(4, 16384), _rows(6, 16384, "uneven"), _rows(1, 1 << 20)),
}
_CHECKED_K = 2048

# A step unless the user says otherwise.
_ROWS, _WIDTH = 16, 65536


class TopkFamily(Family[TopkWorkload]):
    name = "topk"
    default_model = "deepseek-v3.2"
    # It is no forward mode of a server's: it runs inside several.
    step_modes = ("topk",)
    step_kernels = "topk"

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
        if request.captured is not None:
            return [TopkWorkload.of_captured(request.captured, operation, model.topk, mode, request.scores)]
        return [
            TopkWorkload(
                operation="topk.select",
                rows=shape.batch,
                width=shape.context,
                k=model.topk,
                mode=mode,
                spread=request.spread or shape.spread,
                distributions=request.scores,
            )
            for shape in narrow(GRIDS[request.device_kind], request.wanted)
        ]

    def checks(self, operation: str, device_kind: DeviceKind) -> list[TopkWorkload]:
        return [
            TopkWorkload(
                operation="topk.select",
                rows=shape.batch,
                width=shape.context,
                k=_CHECKED_K,
                mode="eager",
                spread=shape.spread,
                distributions=ALL_DISTRIBUTIONS,
            )
            for shape in _CHECKED[device_kind]
        ]

    def why_none(self, model: SuiteModel, operation: str) -> str:
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
