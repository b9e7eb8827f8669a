"""torch's scaled_dot_product_attention, one request at a time: the baseline, and what there is on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.trees import is_chain
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

# cuDNN's isn't among them: torch 2.11 makes a plan for each length, 30 ms each on an H200 (4.1 s for a decode step of
# 128 requests), and a server's lengths are new in each step.
_KERNELS = {"cpu": ("flash", "math"), "cuda": ("flash", "efficient", "math")}
# The math kernel holds all scores of a request in float32; beyond this it is no candidate.
_MAX_SCORES_BYTES = 4 << 30


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``kernel``: the one of torch's SDPA kernels to use."""
    for kernel in _KERNELS.get(device.kind, ()):
        yield {"kernel": kernel}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g, kernel = workload.geometry, knobs["kernel"]
    if g.softcap is not None:
        return "scaled_dot_product_attention has no softcap"
    if g.sinks:
        return "scaled_dot_product_attention has no attention sinks"
    if g.dtype == "float8_e4m3fn":
        return "scaled_dot_product_attention takes no FP8 queries"
    if kernel == "math":
        scores = max(qo * kv for qo, kv in zip(*workload.lengths, strict=True)) * g.num_qo_heads * 4
        if scores > _MAX_SCORES_BYTES:
            return f"its scores of one request would take {scores / 2**30:.0f} GiB"
    if device.kind == "cuda" and kernel == "flash":
        if g.dtype == "float32":
            return "the flash kernel takes bfloat16 or float16"
        if g.window_left is not None and workload.operation != "attention.decode":
            return "a window needs a mask, which the flash kernel doesn't take"
        if workload.eagle_topk is not None and workload.eagle_topk > 1:
            return "a tree of drafts needs a mask, which the flash kernel doesn't take"
    return None


@register(
    "attention.decode",
    "attention.prefill",
    "attention.extend",
    "attention.verify",
    "attention.cross",
    name="torch.sdpa",
    knobs=knobs,
    devices=("cuda", "cpu"),
    unsupported=unsupported,
)
def prepare(problem: AttentionProblem, *, kernel: str) -> Prepared:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    }[kernel]
    out = torch.empty_like(problem.q)
    # The efficient kernel knows no GQA: its keys and values are repeated, a copy that it pays for.
    repeat = problem.geometry.group if kernel == "efficient" else 1

    def calls(of: AttentionProblem) -> list[_RequestCall]:
        return [_RequestCall(of, kernel, index, repeat) for index in range(len(of.lengths.qo))]

    requests = calls(problem)

    def run() -> torch.Tensor:
        with sdpa_kernel([backend]):
            for request in requests:
                out[request.rows] = request.attend()
        return out

    def refill(other: AttentionProblem) -> None:
        requests[:] = calls(other)

    # A capture holds the calls for the lengths that it was made with.
    return Prepared(run=run, refill=None if problem.graph else refill)


class _RequestCall:
    """What one request's call needs, made once."""

    def __init__(self, problem: AttentionProblem, kernel: str, index: int, repeat: int) -> None:
        qo = problem.lengths.qo[index]
        start = int(problem.qo_indptr[index])
        self.rows = slice(start, start + qo)
        self._q = problem.q[self.rows].transpose(0, 1)[None]
        self._load, seen = key_value_source(problem, index, self.rows)
        self._repeat = repeat
        self._call, masked = _masked(problem, kernel, index, seen)
        self._options: dict[str, Any] = {"scale": problem.geometry.scale, **masked}
        if repeat == 1 and problem.geometry.group > 1:
            self._options["enable_gqa"] = True

    def attend(self) -> torch.Tensor:
        """[queries, heads, head dim]"""
        k, v = (part.transpose(0, 1)[None] for part in self._load())
        if self._repeat > 1:
            k, v = k.repeat_interleave(self._repeat, dim=1), v.repeat_interleave(self._repeat, dim=1)
        return self._call(self._q, k, v, **self._options)[0].transpose(0, 1)


def key_value_source(
    problem: AttentionProblem, index: int, rows: slice
) -> tuple[Callable[[], tuple[torch.Tensor, torch.Tensor]], int]:
    """How to load a request's keys and values [tokens, KV heads, head dim] in the model's dtype; how many they are.

    A prefill reads the ragged new tokens. Others gather from the pages (of size 1), as they would have to in a server,
    and only what lies in the window.
    """
    if problem.workload.operation == "attention.prefill":
        ragged = problem.k[rows], problem.v[rows]
        return lambda: ragged, len(ragged[0])
    pages = problem.paged(1)
    qo, kv, window = problem.lengths.qo[index], problem.lengths.kv[index], problem.geometry.window_left
    first = 0 if window is None else max(0, kv - qo - window)
    indices = pages.tables[index][first:].to(problem.device)

    def load() -> tuple[torch.Tensor, torch.Tensor]:
        k, v = (gather(cache, indices, problem.dtype) for cache in (pages.k, pages.v))
        return (k, v) if problem.geometry.q_dtype is None else (k * problem.k_scale, v * problem.v_scale)

    return load, kv - first


def gather(cache: torch.Tensor, indices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[tokens, KV heads, head dim] of a cache with page size 1, widened if it is FP8 (which torch can't index)."""
    import torch

    flat = cache[:, 0]
    if cache.dtype == torch.float8_e4m3fn:
        return flat.view(torch.uint8).index_select(0, indices).view(cache.dtype).to(dtype)
    return flat.index_select(0, indices)


def seen(problem: AttentionProblem, index: int, loaded: int) -> torch.Tensor:
    """[new tokens, loaded] bool of a request: which of its last ``loaded`` keys each new token sees."""
    qo, window = problem.lengths.qo[index], problem.geometry.window_left
    if not problem.workload.causal:
        import torch

        return torch.ones(qo, loaded, dtype=torch.bool, device=problem.device)
    if problem.trees is None:
        return visible(qo, loaded, window, problem.device)
    from autotune_cli.kernels.attention.masks import seen_keys

    keys = problem.lengths.kv[index]
    return seen_keys(problem.trees[index], keys - qo, window, problem.device, keys - loaded)


def visible(qo: int, seen: int, window: int | None, device: str) -> torch.Tensor:
    """[qo, seen] bool: causal, aligned to the end, within the window."""
    import torch

    own = torch.arange(seen - qo, seen, device=device)[:, None]
    key = torch.arange(seen, device=device)[None, :]
    mask = key <= own
    return mask if window is None else mask & (key >= own - window)


def _masked(
    problem: AttentionProblem, kernel: str, index: int, loaded: int
) -> tuple[Callable[..., torch.Tensor], dict[str, Any]]:
    """The function that computes a request, and the cheapest way to tell it the mask: none, ``is_causal``, or a matrix;
    or the kernel's own operator, which knows a mask aligned to the end.
    """
    from torch.nn.functional import scaled_dot_product_attention

    qo, kv, window = problem.lengths.qo[index], problem.lengths.kv[index], problem.geometry.window_left
    if qo == 1 or not problem.workload.causal:
        return scaled_dot_product_attention, {}
    if problem.trees is not None and not is_chain(problem.trees[index]):
        return scaled_dot_product_attention, {"attn_mask": seen(problem, index, loaded)}
    if window is None or kv <= window + 1:
        if qo == loaded:
            return scaled_dot_product_attention, {"is_causal": True}
        if problem.device == "cuda" and kernel in _AT_END and problem.geometry.head_dim % 8 == 0:
            return _AT_END[kernel], {}
    return scaled_dot_product_attention, {"attn_mask": visible(qo, loaded, window, problem.device)}


def _flash_at_end(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float, enable_gqa: bool = False
) -> torch.Tensor:
    """As ``torch.nn.attention.bias.causal_lower_right`` has it computed, whose import takes 2 s, as it brings
    TorchDynamo along. Flash attention aligns its causal mask to the end, and takes fewer heads of keys.
    """
    import torch

    flash = torch.ops.aten._scaled_dot_product_flash_attention
    found: torch.Tensor = flash(q, k, v, 0.0, is_causal=True, return_debug_mask=False, scale=scale)[0]
    return found


def _efficient_at_end(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float) -> torch.Tensor:
    """The same of the efficient kernel, which takes [batch, tokens, heads, head dim]."""
    import torch

    forward = torch.ops.aten._efficient_attention_forward
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    found: torch.Tensor = forward(
        q, k, v, bias=None, cu_seqlens_q=None, cu_seqlens_k=None, max_seqlen_q=None, max_seqlen_k=None, dropout_p=0.0,
        custom_mask_type=_LOWER_RIGHT, compute_log_sumexp=False, scale=scale, seqlen_k=None,
    )[0]  # fmt: skip
    return found.transpose(1, 2)


# torch's CausalVariant.LOWER_RIGHT.
_LOWER_RIGHT = 2
_AT_END: Mapping[str, Callable[..., torch.Tensor]] = {"flash": _flash_at_end, "efficient": _efficient_at_end}
