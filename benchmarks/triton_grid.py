"""Our Triton decode against the best of all other backends, over batches, keys and heads.

    python benchmarks/triton_grid.py run [BUDGET]        on the GPU: 27 workloads in one run, 150s unless told otherwise
    python benchmarks/triton_grid.py table [RUN.json]    the Markdown table of a run, by default the newest

All backends over pages take part, in pages of 64 tokens; torch, which gathers them and launches kernels a request,
takes up to six times as long. A decode step is replayed from a CUDA graph. ``ratio`` is our time over the best other
one: the aim is up to 1.1 in every cell, and below 1 in a third. Of the time that a run has by default, building
FlashInfer's modules for head dim 64 takes 25 s on 16 cores.
"""

from __future__ import annotations

import itertools
import sys

from racing import backends, command_line, head, measured, race, row, us

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.results.schema import RunFile, WorkloadResult
from autotune_cli.tuning.request import RunOutcome

NAME = "triton-grid"
OURS = "triton."
BATCHES, KEYS = (1, 8, 64), (1024, 8192, 32768)
HEADS = ((32, 8, 128), (8, 1, 128), (64, 8, 64))
PAGES = (64,)
ROUNDS = 3
AIM = 1.1


def workloads() -> list[AttentionWorkload]:
    """The cells, heads by heads, as what is compiled depends on them."""
    return [
        AttentionWorkload(
            operation="attention.decode",
            geometry=Geometry(num_qo_heads=queries, num_kv_heads=keys, head_dim=dim),
            batch=batch,
            context=context,
            mode="graph",
        )
        for (queries, keys, dim), batch, context in itertools.product(HEADS, BATCHES, KEYS)
    ]


def table(run: RunFile) -> str:
    """The table and, below it, what the aim comes to."""
    known = {result.key: result for result in run.workloads}
    names = ("heads", "batch x keys", "floor us", "best other us", "by", "ours us", "knobs", "ratio")
    lines, ratios, late = [f"{run.device.device}, {run.name}:\n", head(*names)], {}, 0
    for workload in workloads():
        cells, ratio = _cells(known.get(workload.key))
        g = workload.geometry
        heads = f"{g.num_qo_heads}/{g.num_kv_heads} D{g.head_dim}"
        lines.append(row(heads, f"{workload.batch} x {workload.context}", *cells))
        if workload.key in known:
            late += any(one.status == "skipped" for one in known[workload.key].candidates)
        if ratio is not None:
            ratios[f"{heads}, {workload.batch} x {workload.context}"] = ratio
    if ratios:
        worst = max(ratios, key=lambda cell: ratios[cell])
        fastest = sum(ratio < 1.0 for ratio in ratios.values())
        near = sum(ratio <= AIM for ratio in ratios.values())
        lines.append(
            f"\nOurs is the fastest in {fastest} of {len(ratios)} cells, and takes at most {AIM} times the best "
            f"other's time in {near}. The worst ratio is {ratios[worst]:.2f} ({worst})."
        )
    if late:
        lines.append(f"In {late} cells the time was over before every candidate was measured.")
    return "\n".join(lines)


def _cells(result: WorkloadResult | None) -> tuple[list[str], float | None]:
    """From the floor on, and the ratio."""
    if result is None:
        return ["-"] * 6, None
    found = measured(result)
    ours = next((one for one in found if one.backend.startswith(OURS)), None)
    other = next((one for one in found if not one.backend.startswith(OURS)), None)
    ratio = us(ours) / us(other) if ours and other else None
    return [
        "-" if result.floor_us is None else f"{result.floor_us:.1f}",
        *(("-", "-") if other is None else (f"{us(other):.1f}", other.label)),
        *(("-", "-") if ours is None else (f"{us(ours):.1f}", ours.label.partition(" ")[2])),
        "-" if ratio is None else f"{ratio:.2f}",
    ], ratio


def run(budget: str) -> RunOutcome:
    """The grid, in one run."""
    first = workloads()[0]
    # What is loaded and compiled once for all of them takes the time of a workload that isn't shown.
    warm = first.model_copy(update={"context": first.context // 2})
    names = backends("attention.decode")
    return race(NAME, [warm, *workloads()], rounds=ROUNDS, backends=names, page_sizes=PAGES, budget=budget)


def main(arguments: list[str]) -> int:
    """The command line of the docstring above."""
    return command_line(arguments, __doc__, NAME, run, table, "150s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
