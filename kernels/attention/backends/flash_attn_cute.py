"""FlashAttention-4 (CuTe DSL) over a paged cache: one causal call for decode, prefill and extend. Hopper, Blackwell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flash_attn_cute as common
from autotune_cli.kernels.attention.backends import _refill
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem

# 128 is a key tile of most head dims, and so the size whose pages come by TMA.
PAGE_SIZES = (1, 16, 64, 128, 256)
# 0: FA4's choice, one part up to 4 tiles of keys (``num_splits_heuristic`` [S]).
SPLITS = (0, 4, 16, 64)


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``num_splits``: parts of the keys; more than one is for compute capability 10.x and 11.x only.

    Without packing a decode reads the keys once for each query head, so there it isn't tried. ``scheduler_metadata`` is
    no knob: only split calls use it, and they make their own.
    """
    g = workload.geometry
    decode = workload.operation == "attention.decode"
    splits: tuple[int, ...] = (1,)
    if (device.capability or (0, 0))[0] in (10, 11):
        seen = workload.context if g.window_left is None else min(workload.context, g.window_left + workload.new)
        tiles = -(-seen // common.tile_keys(g, device))
        # Long extends and prefills have blocks enough, and each split costs a copy of the output in float32.
        if workload.new * g.group <= 128:
            splits += tuple(count for count in SPLITS if max(count, 4) < tiles)
    for page_size in PAGE_SIZES:
        for num_splits in splits:
            for pack_gqa in (None,) if decode else common.pack_choices(g):
                yield {"page_size": page_size, "num_splits": num_splits, "pack_gqa": pack_gqa}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    reason = common.why_not(workload, device, paged=True)
    if reason is not None:
        return reason
    g = workload.geometry
    tile = common.tile_keys(g, device)
    if g.head_dim % 16 and knobs["page_size"] != tile:
        return f"FA4 gathers pages for head dims in steps of 16, not {g.head_dim}; pages of {tile} come by TMA"
    return None


def call_arguments(
    geometry: Geometry,
    lengths: Lengths,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    seqused_k: torch.Tensor,
    page_table: torch.Tensor,
    sinks: torch.Tensor | None = None,
    *,
    num_splits: int,
    pack_gqa: bool | None,
) -> dict[str, Any]:
    """Arguments of ``flash_attn_varlen_func``.

    Args:
        q: [tokens, query heads, head dim].
        k, v: [pages, page size, KV heads, head dim].
        cu_seqlens_q: [batch + 1] int32, where each request's queries begin.
        seqused_k: [batch] int32, keys of each request.
        page_table: [batch, most pages] int32.
        sinks: [query heads] bfloat16 (all that 4.0.0b18 takes), a logit beside the keys' for each head.
    """
    return {
        "q": q,
        "k": k,
        "v": v,
        "cu_seqlens_q": cu_seqlens_q,
        "seqused_k": seqused_k,
        "page_table": page_table,
        "learnable_sink": sinks,
        "num_splits": num_splits,
        "pack_gqa": pack_gqa,
        **common.layer_arguments(geometry, lengths),
    }


def run_arguments(
    problem: AttentionProblem, pages: PagedKV, *, num_splits: int, pack_gqa: bool | None
) -> dict[str, Any]:
    """Arguments of ``flash_attn_varlen_func`` on a problem. The kernel itself skips what lies before a window."""
    return call_arguments(
        problem.geometry,
        problem.lengths,
        problem.q,
        pages.k,
        pages.v,
        problem.qo_indptr.to(problem.device),
        _refill.own(problem, pages.seq_lens),
        _refill.own(problem, pages.block_tables),
        common.sinks_of(problem),
        num_splits=num_splits,
        pack_gqa=pack_gqa,
    )


def fake_calls(
    workload: AttentionWorkload, *, page_size: int, num_splits: int, pack_gqa: bool | None
) -> Iterable[dict[str, Any]]:
    """The calls that vetting will make, the timed one and the edge case's, on tensors of their shapes."""
    import torch

    from autotune_cli.kernels.attention.edges import edge_lengths

    g = workload.geometry
    dtype = getattr(torch, g.dtype)
    for lengths in (workload.lengths, edge_lengths(workload)):
        batch = len(lengths.qo)
        counts = [-(-length // page_size) for length in lengths.kv]
        cache = (1 + sum(counts), page_size, g.num_kv_heads, g.head_dim)
        yield call_arguments(
            g,
            lengths,
            torch.empty(sum(lengths.qo), g.num_qo_heads, g.head_dim, dtype=dtype, device="cuda"),
            torch.empty(cache, dtype=dtype, device="cuda"),
            torch.empty(cache, dtype=dtype, device="cuda"),
            torch.empty(batch + 1, dtype=torch.int32, device="cuda"),
            torch.empty(batch, dtype=torch.int32, device="cuda"),
            torch.empty(batch, max(counts), dtype=torch.int32, device="cuda"),
            torch.empty(g.num_qo_heads, dtype=torch.bfloat16, device="cuda") if g.sinks else None,
            num_splits=num_splits,
            pack_gqa=pack_gqa,
        )


def build(workload: AttentionWorkload, *, page_size: int, num_splits: int, pack_gqa: bool | None) -> None:
    common.compile_ahead(lambda: fake_calls(workload, page_size=page_size, num_splits=num_splits, pack_gqa=pack_gqa))


@register(
    "attention.decode",
    "attention.prefill",
    "attention.extend",
    name="flash_attn.fa4",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    build=build,
)
def prepare(problem: AttentionProblem, *, page_size: int, num_splits: int, pack_gqa: bool | None) -> Prepared:
    pages = problem.paged(page_size)
    arguments = run_arguments(problem, pages, num_splits=num_splits, pack_gqa=pack_gqa)
    splits = "no splits" if num_splits == 1 else f"splits for {arguments['max_seqlen_k']} keys"

    def refill(other: AttentionProblem) -> None:
        _refill.fill_tables(arguments["page_table"], arguments["seqused_k"], other.paged(page_size))
        # Of the next call; a capture has its own.
        arguments["max_seqlen_k"] = max(other.lengths.kv)

    return Prepared(run=common.runner(arguments), refill=refill, frozen=splits)
