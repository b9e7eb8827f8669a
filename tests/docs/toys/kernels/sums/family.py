"""A toy family: the suite of its one operation, and what it costs."""

from __future__ import annotations

from autotune_cli.kernels.sums.workload import SumsWorkload

from autotune_cli.kernels.base import Cost, Mode
from autotune_cli.kernels.family import Family, SuiteModel, SuiteRequest
from autotune_cli.kernels.shapes import Shape, narrow
from autotune_cli.kernels.steps import StepLayer, StepRequest

GRID = (Shape(2, 4096), Shape(8, 1024))


class SumsFamily(Family[SumsWorkload]):
    name = "sums"
    default_model = "llama-3.1-8b"
    short_names = ("rows",)
    step_modes = ("sums",)
    step_kernels = "benign"

    def cost(self, workload: SumsWorkload) -> Cost:
        written = 4.0 * workload.rows
        return Cost(written * workload.width + written, 0.0, written)

    def memory_bytes(self, workload: SumsWorkload, page_layouts: int | None = None) -> int:
        return 4 * workload.rows * (workload.width + 3)

    def workloads(self, model: SuiteModel, operation: str, mode: Mode, request: SuiteRequest) -> list[SumsWorkload]:
        return [
            SumsWorkload(operation="sums.rows", rows=shape.batch, width=shape.context, mode=mode)
            for shape in narrow(GRID, request.wanted)
        ]

    def why_none(self, model: SuiteModel, operation: str) -> str:
        return "nothing to sum"

    def step_layers(self, model: SuiteModel, request: StepRequest) -> list[StepLayer]:
        rows, width = request.batch or 2, request.context or 4096
        return [StepLayer(SumsWorkload(operation="sums.rows", rows=rows, width=width, mode="eager"))]


FAMILY = SumsFamily()
