"""FlashAttention-3 over projected keys and values, the prefix apart and merged by log-sum-exp: SGLang's MHA_CHUNKED_KV.

The new tokens among themselves first, then each chunk of the prefix, whose projected keys needn't be held together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _fa3 as common
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.mla.plain import PlainProblem

# Keys of a chunk, of all requests: SGLang's SGLANG_MAX_KV_CHUNK_CAPACITY.
CAPACITY = 128 * 1024


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.new == workload.context:
        return "nothing is cached, so there is no prefix to attend apart"
    return common.why_not_plain(workload, device)


@register(
    "attention.mla_prefill",
    name="sgl_kernel.fa3_mla_ragged_merge",
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 9.0",
)
def prepare(problem: PlainProblem) -> Prepared:
    """Each chunk has as many tokens of every request, so that all of them are chunks of as many requests."""
    import torch
    from sgl_kernel import merge_state_v2
    from sgl_kernel.flash_attn import flash_attn_varlen_func

    prefix = [kv - qo for qo, kv in zip(*problem.lengths, strict=True)]
    width, longest = CAPACITY // len(prefix), max(prefix)
    calls = [_call(problem, prefix, list(problem.lengths.kv), causal=True)]
    for start in range(0, longest, width):
        ends = [min(tokens, start + width) for tokens in prefix]
        calls.append(_call(problem, [min(tokens, start) for tokens in prefix], ends, causal=False))
    shape = (*problem.q.shape[:2], problem.geometry.v_head_dim)
    outs = [torch.empty(shape, dtype=problem.dtype, device=problem.device) for _ in calls]
    sums = [torch.empty(shape[:2], dtype=torch.float32, device=problem.device) for _ in calls]
    # A merge reads what the one before has written, so it writes elsewhere.
    merged = [(torch.empty_like(outs[0]), torch.empty_like(sums[0])) for _ in range(2)]

    def run() -> torch.Tensor:
        for call, out, total in zip(calls, outs, sums, strict=True):
            _, lse, *_ = flash_attn_varlen_func(**call, out=out)
            # [heads, queries] is how it comes, [queries, heads] how a merge wants it.
            total.copy_(lse.T)
        result, total = outs[0], sums[0]
        for number, (out, lse) in enumerate(zip(outs[1:], sums[1:], strict=True)):
            result, total = merge_state_v2(result, total, out, lse, *merged[number % 2])
        return result

    return Prepared(run=run)


def _call(problem: PlainProblem, first: list[int], last: list[int], *, causal: bool) -> dict[str, Any]:
    """The queries on keys ``[first[i], last[i])`` of each request."""
    part = problem.part(first, last)
    return {
        "q": problem.q,
        "k": part.k,
        "v": part.v,
        "cu_seqlens_q": problem.qo_indptr.to(problem.device),
        "cu_seqlens_k": part.indptr.to(problem.device),
        "max_seqlen_q": max(problem.lengths.qo),
        "max_seqlen_k": part.longest,
        "softmax_scale": problem.geometry.scale,
        "causal": causal,
        "return_softmax_lse": True,
    }
