"""FlashAttention-3 and FlashInfer in one result file: geometric means of time ratios by operation.

    autotune tune --model llama-3.1-8b
    python benchmarks/fa3_against_flashinfer.py llama-3.1-8b

Columns: SGLang with --attention-backend flashinfer over its true default; the default over the winner; FlashInfer's
best over FA3's best. Above 1, the first of the two is slower. What left the race early counts with its rough time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from autotune_cli.measure.statistics import geometric_mean
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import MEASURED, WorkloadResult

FLASHINFER = "sglang --attention-backend flashinfer"


def best(result: WorkloadResult, library: str) -> float | None:
    """The lowest time of a library's right candidates, in microseconds."""
    times = [
        candidate.median_us or candidate.rough_us
        for candidate in result.candidates
        if candidate.status in MEASURED and candidate.backend.startswith(library)
    ]
    return min((us for us in times if us), default=None)


def of(result: WorkloadResult, name: str) -> float | None:
    """A baseline's time."""
    baseline = result.baseline(name)
    if baseline is None or baseline.missing is not None or baseline.candidate is None:
        return None
    return result.candidate(baseline.candidate).median_us


def main(arguments: Sequence[str]) -> int:
    """Print a Markdown table for each device of the file."""
    run = read_run(find_all(arguments[:1])[0])
    ratios: dict[str, dict[str, list[tuple[float | None, ...]]]] = defaultdict(lambda: defaultdict(list))
    for result in run.workloads:
        default, flashinfer = of(result, "sglang"), of(result, FLASHINFER)
        if default is None or result.choice is None:
            continue
        winner = result.candidate(result.choice.winner).median_us
        pairs = (
            (flashinfer, default),
            (default, winner),
            (best(result, "flashinfer."), best(result, "sgl_kernel.fa3")),
        )
        found = tuple(a / b if a and b else None for a, b in pairs)
        ratios[run.environments[result.environment].device][result.workload.operation].append(found)
    for device, operations in ratios.items():
        print(f"{device}, {run.name}:\n")
        print("| geometric mean | `--attention-backend flashinfer` over fa3 page 1 | fa3 page 1 over the winner | best "
              "FlashInfer over best FA3 |")  # fmt: skip
        print("| --- | --- | --- | --- |")
        for operation, rows in operations.items():
            cells = []
            for column in zip(*rows, strict=True):
                mean = geometric_mean([value for value in column if value is not None])
                cells.append("-" if mean is None else f"{mean.value:.2f}")
            print(f"| {operation}, {len(rows)} workloads | {' | '.join(cells)} |")
        print()
    return 0


if __name__ == "__main__":
    from starting import start

    start(main, __doc__, least=1)
