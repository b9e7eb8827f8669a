"""Our own paged decode in Triton: the keys of a request split over programs, then merged by log-sum-exp."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.attention.backends import _triton as common
from autotune_cli.kernels.attention.backends import _triton_build
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

# SGLang's --triton-attention-num-kv-splits; its blocks of 32 keys, 4 warps and 2 stages (decode_attention.py).
SGLANG_SPLITS = 8
SGLANG = "sglang"
_SGLANG: dict[str, Knob] = {"block": 32, "warps": 4, "stages": 2, "splits": SGLANG}
# tl.dot wants 16 rows; of a larger group, 64 heads share a tile.
_LEAST_ROWS, _MOST_ROWS = 16, 64
# Parts of a request, at most: the merge reads them all.
_MOST_SPLITS = 128
_USUAL_BLOCK = 64
# Parts that the merge adds up at once.
_CHUNK = 16
# Block, warps and stages: an odd number of stages, as a block takes two of them (see common.fits). The others are tried
# at one split only, the middle or the largest one, as they were best on an H100: each with each split would be a
# hundred candidates.
_USUAL = (_USUAL_BLOCK, 4, 5)
_AT_MIDDLE, _AT_MOST = ((64, 4, 3), (32, 4, 5)), ((128, 8, 3), (32, 2, 7))


def rows(group: int) -> int:
    """Rows of a tile: the heads of a group, filled up to a power of 2 that tl.dot takes."""
    return min(_MOST_ROWS, max(_LEAST_ROWS, 1 << (group - 1).bit_length()))


def splits(workload: AttentionWorkload, device: Device) -> list[int]:
    """Parts of the longest request worth trying: those that give each multiprocessor about 1, 2 and 4 programs.

    Where the batch fills the GPU without, 2 and 4 parts even out requests of different lengths.
    """
    g = workload.geometry
    programs = workload.batch * g.num_kv_heads * -(-g.group // rows(g.group))
    seen = max(workload.lengths.kv)
    if g.window_left is not None:
        seen = min(seen, g.window_left + 1)
    most = max(1, min(_MOST_SPLITS, -(-seen // _USUAL_BLOCK)))
    multiprocessors = device.multiprocessors or 132
    wanted = [-(-multiprocessors * share // programs) for share in (1, 2, 4)]
    if wanted[-1] <= 4:
        wanted = [1, 2, 4]
    return sorted({min(most, count) for count in wanted})


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``block``: keys loaded at once. ``splits``: parts of the longest request; ``sglang``: as SGLang counts them.

    SGLang's own setting comes first, once for each page size.
    """
    for page_size in common.PAGE_SIZES:
        yield {"page_size": page_size, **_SGLANG}
    tried = splits(workload, device)
    tile = rows(workload.geometry.group)
    block, warps, stages = _USUAL
    # A head dim of 256 in a large group has no room for as many blocks in flight.
    while not common.fits(workload, tile, block, stages):
        stages -= 2
    for page_size, count in itertools.product((1, 64), tried):
        yield {"page_size": page_size, "block": block, "warps": warps, "stages": stages, "splits": count}
    usual, middle = (block, warps, stages), tried[len(tried) // 2]
    for other, count in (*((each, middle) for each in _AT_MIDDLE), *((each, tried[-1]) for each in _AT_MOST)):
        block, warps, stages = other
        if other != usual and common.fits(workload, tile, block, stages):
            yield {"page_size": 64, "block": block, "warps": warps, "stages": stages, "splits": count}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not(workload, device)


def modules(workload: AttentionWorkload, **own: Knob) -> tuple[Module, ...]:
    """What all settings are compiled to: the number of parts is not a part of that, but whether there are any."""
    small = _triton_build.small(workload)
    found = {
        (*(each[name] for name in ("page_size", "block", "warps", "stages")), each["splits"] == SGLANG): each
        for each in knobs(small, Device("cuda", ""))
    }
    block, warps, stages = _USUAL
    whole: list[dict[str, Knob]] = [
        {"page_size": page_size, "block": block, "warps": warps, "stages": stages, "splits": 1} for page_size in (1, 64)
    ]
    return _triton_build.modules(prepare, small, [*found.values(), *whole], title=_triton_build.title("decode", small))


def split_counter(
    problem: AttentionProblem, batch: common.ServedBatch, splits: int | str, block: int, multiprocessors: int
) -> tuple[int, torch.Tensor, Callable[[], None]]:
    """Most parts of a request, the buffer of each one's parts ([batch] int32), and what fills it from ``kv_lens``."""
    import torch

    counts = torch.ones(batch.size, dtype=torch.int32, device=problem.device)
    lengths, g = batch.buffers.kv_lens, problem.geometry
    if isinstance(splits, int):
        return (
            splits,
            counts,
            lambda: batch.fillers.fill_equal_parts(counts, lengths, batch.size, splits=splits, block=block),
        )
    return (
        SGLANG_SPLITS,
        counts,
        lambda: batch.fillers.fill_sglang_splits(
            counts,
            lengths,
            batch.size,
            num_qo_heads=g.num_qo_heads,
            num_kv_heads=g.num_kv_heads,
            most=SGLANG_SPLITS,
            multiprocessors=multiprocessors,
        ),
    )


@register(
    "attention.decode",
    name="triton.decode",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(
    problem: AttentionProblem, *, page_size: int, block: int, warps: int, stages: int, splits: int | str
) -> Prepared:
    """The grid has room for the most parts; programs beyond a request's own return, so a graph holds for any batch."""
    import torch

    from autotune_cli.kernels.attention.backends import _triton_kernels as kernels

    on_gpu = problem.q.is_cuda
    multiprocessors = torch.cuda.get_device_properties(problem.q.device).multi_processor_count if on_gpu else 132
    g, batch = problem.geometry, common.ServedBatch.of(problem, page_size)
    most, counts, fill_counts = split_counter(problem, batch, splits, block, multiprocessors)

    def plan() -> None:
        batch.fill()
        fill_counts()

    plan()
    out = torch.empty_like(problem.q)
    shape = (batch.size, g.num_qo_heads, most)
    part_out = torch.empty(*shape, g.head_dim, dtype=torch.float32, device=out.device) if most > 1 else out
    part_lse = torch.empty(shape, dtype=torch.float32, device=out.device) if most > 1 else out
    tile, layer = rows(g.group), common.tensors(problem, batch)
    grid = (g.num_kv_heads * -(-g.group // tile), batch.size, most)
    compiled = {**common.constants(problem, page_size), "ROWS": tile, "BLOCK": block, "SPLIT": most > 1}
    sinks, out_scale = layer["sinks"], layer["out_scale"]
    merged = {"HEADS": g.num_qo_heads, "DIM": g.head_dim, "CHUNK": _CHUNK, "SINKS": g.sinks}

    def run() -> torch.Tensor:
        kernels.paged_decode_kernel[grid](
            **layer, out=out, part_out=part_out, part_lse=part_lse, num_splits=counts, most=most, **compiled,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
        if most > 1:
            kernels.decode_split_merge_kernel[g.num_qo_heads, batch.size](
                part_out, part_lse, sinks, out, counts, out_scale, most, **merged, num_warps=4
            )
        return out

    def refill(other: AttentionProblem) -> None:
        batch.take(other)
        plan()

    return Prepared(run=run, plan=plan, refill=refill, frozen=f"at most {most} parts of a request")
