"""DeepGEMM's ``fp8_paged_mqa_logits`` and a selection from what it returns: an indexer's decode step.

Read in SGLang 0.5.23 (``dsa_indexer.py``, ``dsa_topk_backend.py``), which runs its JIT kernel after it, or FlashInfer's
transform with ``--dsa-topk-backend flashinfer``. Its schedule is made once a forward pass, for all layers, as the JIT
kernel's plan is. Not run on a GPU yet.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.registry import Device, Knob, Prepared, register
from autotune_cli.kernels.topk.backends import _flashinfer, sglang_topk_v2

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

# What DeepGEMM compiles, on an NVIDIA GPU.
PAGE, HEADS, DIM = 64, (32, 64), 128
INSTALL = "pip install sgl-deep-gemm"


def _unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if (device.capability or (0, 0))[0] not in (9, 10):
        return "needs compute capability 9.0 or 10.0"
    if workload.page_size != PAGE:
        return f"reads pages of {PAGE} keys, these have {workload.page_size}"
    if workload.index_dim != DIM or workload.index_heads not in HEADS:
        known = " or ".join(map(str, HEADS))
        return f"is made for {known} heads of {DIM}, these are {workload.index_heads} of {workload.index_dim}"
    return None


def _unsupported_sglang(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return _unsupported(workload, device, knobs) or sglang_topk_v2.unsupported(workload, device, knobs)


def _unsupported_flashinfer(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return _unsupported(workload, device, knobs) or _flashinfer.why_no_page_table(workload, device, knobs)


@dataclass(frozen=True)
class _Logits:
    """DeepGEMM's scores of a batch, in a new tensor each time."""

    problem: TopkProblem
    library: Any
    schedule: torch.Tensor

    @classmethod
    def of(cls, problem: TopkProblem) -> _Logits:
        library = importlib.import_module("deep_gemm")
        return cls(problem, library, cls._schedule(library, problem))

    @staticmethod
    def _schedule(library: Any, problem: TopkProblem) -> torch.Tensor:
        import torch

        multiprocessors = torch.cuda.get_device_properties(problem.scores.device).multi_processor_count
        made: torch.Tensor = library.get_paged_mqa_logits_metadata(problem.lengths[:, None], PAGE, multiprocessors)
        return made

    def refresh(self) -> None:
        self.schedule.copy_(self._schedule(self.library, self.problem))

    def __call__(self) -> torch.Tensor:
        """float32 [rows, width], rows at multiples of 16 bytes; what lies behind a row's length is anything."""
        problem, inputs, layout = self.problem, self.problem.indexer, self.problem.layout
        assert inputs is not None
        assert layout is not None
        logits: torch.Tensor = self.library.fp8_paged_mqa_logits(
            inputs.q[:, None],
            inputs.cache,
            inputs.weights,
            problem.lengths[:, None],
            layout.page_table,
            self.schedule,
            problem.workload.width,
            clean_logits=False,
        )
        return logits[:, : problem.workload.width]


@register(
    "topk.indexer",
    name="deep_gemm.indexer_sglang",
    requires=("deep_gemm", f"{sglang_topk_v2.NOW}:topk_transform_paged_v2"),
    install=f"{INSTALL} sglang",
    unsupported=_unsupported_sglang,
    build=sglang_topk_v2.compile_all(sglang_topk_v2.NOW),
)
def prepare_sglang(problem: TopkProblem) -> Prepared:
    """As SGLang 0.5.23 runs a decode step."""
    logits = _Logits.of(problem)
    sglang = importlib.import_module(sglang_topk_v2.NOW)
    layout, lengths, k = problem.layout, problem.lengths, problem.k
    assert layout is not None
    table, plan = layout.page_table, sglang.plan_topk_v2(lengths)

    def refresh() -> None:
        logits.refresh()
        plan.copy_(sglang.plan_topk_v2(lengths))

    def run() -> torch.Tensor:
        found = lengths.new_empty((len(lengths), k))
        sglang.topk_transform_paged_v2(logits(), lengths, table, found, PAGE, plan)
        return found

    return Prepared(run, refresh)


@register(
    "topk.indexer",
    name="deep_gemm.indexer_flashinfer",
    knobs=_flashinfer.knobs,
    requires=("deep_gemm", "flashinfer"),
    install=f"{INSTALL} 'kernel-autotune[cuda]'",
    unsupported=_unsupported_flashinfer,
    modules=_flashinfer.modules,
    launch_knobs=("algorithm",),
    forget=_flashinfer.forget_buffers,
)
def prepare_flashinfer(
    problem: TopkProblem,
    algorithm: str,
    deterministic: bool = False,
    tie_break: str = "none",
    dsa_graph_safe: bool = False,
) -> Prepared:
    """FlashInfer's transform takes no rows with gaps: scores whose rows have such are copied, as SGLang does."""
    import flashinfer

    logits = _Logits.of(problem)
    layout, lengths, k = problem.layout, problem.lengths, problem.k
    assert layout is not None
    table = layout.page_table

    def run() -> torch.Tensor:
        with _flashinfer.chosen(algorithm):
            slots: torch.Tensor = flashinfer.top_k_page_table_transform(
                logits().contiguous(),
                table,
                lengths,
                k,
                deterministic=deterministic,
                tie_break=_flashinfer.TIE_BREAKS[tie_break],
                dsa_graph_safe=dsa_graph_safe,
                page_size=PAGE,
            )
        return slots

    return Prepared(run, logits.refresh)
