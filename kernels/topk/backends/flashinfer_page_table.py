"""``flashinfer.top_k_page_table_transform``: selection and page table in one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.topk.backends import _flashinfer

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@_flashinfer.backend("topk.paged", "flashinfer.top_k_page_table_transform", _flashinfer.why_no_page_table)
def prepare(
    problem: TopkProblem,
    algorithm: str,
    deterministic: bool = False,
    tie_break: str = "none",
    dsa_graph_safe: bool = False,
) -> Callable[[], torch.Tensor]:
    """As SGLang 0.5.23 calls it (``dsa_topk_backend.py``): scores' windows begin at ``row_starts``, those of the page
    table at its rows' beginnings; up to 0.5.16 it passed one start for both. ``row_to_batch``, which SGLang makes on
    every call from the requests' lengths, is there already. ``page_size`` is an argument from FlashInfer 0.6.18 on, so
    it is left out for pages of one key.
    """
    import flashinfer
    import torch

    layout = problem.layout
    assert layout is not None
    scores, lengths, k, table = problem.scores, problem.lengths, problem.k, layout.page_table
    given: dict[str, object] = {"deterministic": deterministic, "dsa_graph_safe": dsa_graph_safe}
    given["tie_break"] = _flashinfer.TIE_BREAKS[tie_break]
    if problem.workload.requests is not None or layout.batch_idx_list is not None:
        given["row_to_batch"] = layout.row_to_table
    if layout.row_starts is not None:
        given["row_starts"] = layout.row_starts
        given["page_table_row_starts"] = torch.zeros_like(layout.row_starts)
    if problem.workload.page_size > 1:
        given["page_size"] = problem.workload.page_size

    def run() -> torch.Tensor:
        with _flashinfer.chosen(algorithm):
            slots: torch.Tensor = flashinfer.top_k_page_table_transform(scores, table, lengths, k, **given)
        return slots

    return run
