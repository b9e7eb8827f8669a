"""FlashAttention-4 (CuTe DSL) on new tokens that have no prefix, keys and values not in pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flash_attn_cute as common
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    for pack_gqa in common.pack_choices(workload.geometry):
        yield {"pack_gqa": pack_gqa}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not(workload, device, paged=False)


def call_arguments(
    geometry: Geometry,
    lengths: Lengths,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens: torch.Tensor,
    sinks: torch.Tensor | None = None,
    *,
    pack_gqa: bool | None,
) -> dict[str, Any]:
    """Arguments of ``flash_attn_varlen_func``.

    Args:
        q, k, v: [tokens, heads, head dim].
        cu_seqlens: [batch + 1] int32, where each request begins.
        sinks: [query heads] bfloat16 (all that 4.0.0b18 takes), a logit beside the keys' for each head.
    """
    return {
        "q": q,
        "k": k,
        "v": v,
        "cu_seqlens_q": cu_seqlens,
        "cu_seqlens_k": cu_seqlens,
        "learnable_sink": sinks,
        "pack_gqa": pack_gqa,
        **common.layer_arguments(geometry, lengths),
    }


def run_arguments(problem: AttentionProblem, *, pack_gqa: bool | None) -> dict[str, Any]:
    """Arguments of ``flash_attn_varlen_func`` on a problem."""
    cu_seqlens = problem.qo_indptr.to(problem.device)
    return call_arguments(
        problem.geometry,
        problem.lengths,
        problem.q,
        problem.k,
        problem.v,
        cu_seqlens,
        common.sinks_of(problem),
        pack_gqa=pack_gqa,
    )


def fake_calls(workload: AttentionWorkload, *, pack_gqa: bool | None) -> Iterable[dict[str, Any]]:
    """The calls that vetting will make, the timed one and the edge case's, on tensors of their shapes."""
    import torch

    from autotune_cli.kernels.attention.edges import edge_lengths

    g = workload.geometry
    dtype = getattr(torch, g.dtype)
    for lengths in (workload.lengths, edge_lengths(workload)):
        tokens = sum(lengths.qo)
        yield call_arguments(
            g,
            lengths,
            torch.empty(tokens, g.num_qo_heads, g.head_dim, dtype=dtype, device="cuda"),
            torch.empty(tokens, g.num_kv_heads, g.head_dim, dtype=dtype, device="cuda"),
            torch.empty(tokens, g.num_kv_heads, g.head_dim, dtype=dtype, device="cuda"),
            torch.empty(len(lengths.qo) + 1, dtype=torch.int32, device="cuda"),
            torch.empty(g.num_qo_heads, dtype=torch.bfloat16, device="cuda") if g.sinks else None,
            pack_gqa=pack_gqa,
        )


def build(workload: AttentionWorkload, *, pack_gqa: bool | None) -> None:
    common.compile_ahead(lambda: fake_calls(workload, pack_gqa=pack_gqa))


@register(
    "attention.prefill",
    name="flash_attn.fa4_ragged",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    build=build,
)
def prepare(problem: AttentionProblem, *, pack_gqa: bool | None) -> Prepared:
    return Prepared(run=common.runner(run_arguments(problem, pack_gqa=pack_gqa)))
