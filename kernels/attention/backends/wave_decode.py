"""Wave's paged decode for AMD GPUs: SGLang's ``--attention-backend wave``. Needs ROCm and a GPU of gfx942.

Calls were read in wave-lang 3.9.1 and in SGLang 0.5.16's ``wave_ops/decode_attention.py``. No AMD GPU has run this
file; its metadata is tested on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _metadata as metadata
from autotune_cli.kernels.attention.backends import _triton as common
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

_PACKAGE = "wave_lang"
# What torch on ROCm says of an MI300's compute capability.
_GFX942 = (9, 4)
# The kernel takes slots, not pages.
_PAGE_SIZE = 1
# Keys of a block, as SGLang sets it.
_BLOCK = 32
# Parts of a request: SGLang's --triton-attention-num-kv-splits, 8, and 16 on some GPUs.
SPLITS = (8, 16)


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g = workload.geometry
    if device.cuda:
        # Where the package isn't there, that is said first: the command names the GPU too.
        return "Wave compiles for AMD's gfx942; this GPU is NVIDIA's" if find_spec(_PACKAGE) else None
    if device.capability != _GFX942:
        found = "".join(map(str, device.capability or ()))
        return f"Wave's decode is for gfx942 (MI300), this is gfx{found}.."
    if g.dtype not in ("float16", "bfloat16") or g.cache_dtype != g.dtype:
        return f"Wave's decode takes bfloat16 or float16 throughout, not {g.dtype} on {g.cache_dtype}"
    if g.window_left is not None:
        return "Wave's decode has no window"
    if g.sinks:
        return "Wave's decode has no attention sinks"
    return None


@register(
    "attention.decode",
    name="wave.decode",
    knobs={"splits": SPLITS},
    requires=(_PACKAGE,),
    install="pip install wave-lang, on a ROCm machine with a GPU of gfx942",
    unsupported=unsupported,
    needs="an AMD GPU of gfx942 (there: pip install wave-lang)",
)
def prepare(problem: AttentionProblem, *, splits: int) -> Prepared:
    """``plan`` fills the slots of each request and the counts of its parts, for a capture and each replay alike.

    The kernel shares each request out into ``splits`` parts, whatever the counts are; SGLang makes them all the same.
    """
    import torch

    batch = common.ServedBatch.of(problem, _PAGE_SIZE)
    counts = torch.full((batch.size,), splits, dtype=torch.int32, device=problem.device)

    def plan() -> None:
        batch.fill()
        fill_counts(problem, batch, counts, splits)

    plan()
    first, second = kernels(problem, splits)
    g, pages = problem.geometry, problem.paged(_PAGE_SIZE)
    shape = (splits, batch.size, g.num_qo_heads)
    parts = torch.empty(*shape, g.head_dim, dtype=torch.float32, device=problem.device)
    sums = torch.empty(shape, dtype=torch.float32, device=problem.device)
    out = torch.empty_like(problem.q)
    # [slots, KV heads, head dim]
    k, v = pages.k[:, 0], pages.v[:, 0]
    indptr, indices = batch.buffers.kv_indptr, batch.buffers.kv_indices

    def run() -> torch.Tensor:
        first(problem.q, k, v, indptr, indices, parts, sums)
        second(parts, sums, indptr, out)
        return out

    def refill(other: AttentionProblem) -> None:
        batch.take(other)
        plan()

    return Prepared(run=run, plan=plan, refill=refill, frozen=f"{splits} parts of a request")


def fill_counts(problem: AttentionProblem, batch: common.ServedBatch, counts: torch.Tensor, splits: int) -> None:
    """``counts`` [batch]: parts of each request by SGLang's formula, right from the capture on."""
    import torch

    g, on_gpu = problem.geometry, problem.q.is_cuda
    multiprocessors = torch.cuda.get_device_properties(problem.q.device).multi_processor_count if on_gpu else 304
    metadata.fill_sglang_splits(
        counts,
        batch.buffers.kv_lens,
        batch.size,
        num_qo_heads=g.num_qo_heads,
        num_kv_heads=g.num_kv_heads,
        most=splits,
        multiprocessors=multiprocessors,
    )


def kernels(problem: AttentionProblem, splits: int) -> tuple[Any, Any]:
    """Both phases, compiled: parts, and their merge."""
    from wave_lang.kernel.wave.compile import WaveCompileOptions, wave_compile
    from wave_lang.kernel.wave.constraints import GenericDot, MMAOperand, MMAType
    from wave_lang.kernel.wave.templates.paged_decode_attention import (
        get_paged_decode_attention_kernels,
        paged_decode_attention_shape,
    )
    from wave_lang.kernel.wave.utils.general_utils import get_default_scheduling_params
    from wave_lang.kernel.wave.utils.run_utils import set_default_run_config

    g = problem.geometry
    shape = paged_decode_attention_shape(
        num_query_heads=g.num_qo_heads,
        num_kv_heads=g.num_kv_heads,
        head_size=g.head_dim,
        head_size_kv=g.head_dim,
        block_size=_BLOCK,
        num_seqs=len(problem.lengths.kv),
    )
    grouped = (MMAType.F32_16x16x16_F16, MMAType.F32_16x16x16_F16)
    alone = tuple(GenericDot(along_dim=MMAOperand.M, k_vec_size=size, k_mult=mult) for size, mult in ((4, 1), (1, 64)))
    made = get_paged_decode_attention_kernels(
        shape,
        grouped if g.group > 1 else alone,
        splits,
        input_dtype=problem.dtype,
        output_dtype=problem.dtype,
        layer_scaling=g.scale,
        logit_cap=g.softcap or 0.0,
    )
    compiled = []
    # Waves for each execution unit, and buffer instructions, as SGLang sets them for the two phases.
    for phase, (waves, buffers) in enumerate(((2, True), (4, False))):
        options = WaveCompileOptions(
            subs={**made[2 + phase], **get_default_scheduling_params()},
            canonicalize=True,
            run_bench=False,
            use_buffer_ops=buffers,
            waves_per_eu=waves,
            dynamic_symbols=made[4 + phase],
            wave_runtime=True,
        )
        compiled.append(wave_compile(set_default_run_config(options), made[phase]))
    return compiled[0], compiled[1]
