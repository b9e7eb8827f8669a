"""Two runs of the same suite, each in processes of its own: do winners and medians agree?

    autotune tune --no-cache --model M; autotune tune --no-cache --model M
    python benchmarks/noise.py previous latest

A winner that differs is no news if both winners are in the tie set of either run. Medians of kernels over 10 us of
all candidates that both runs raced are compared.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autotune_cli.errors import EXIT_USAGE
from autotune_cli.measure.statistics import percentile
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import WorkloadResult

SHORTEST_US = 10.0


def agrees(a: WorkloadResult, b: WorkloadResult) -> bool:
    """Same winner, or a difference inside a tie set."""
    if a.choice is None or b.choice is None:
        return a.choice is b.choice
    both = {a.choice.winner, b.choice.winner}
    return both <= set(a.choice.tie_set) or both <= set(b.choice.tie_set)


def main(arguments: Sequence[str]) -> int:
    """Print the workloads that disagree and the distribution of the medians' differences."""
    first, second = (read_run(path) for path in find_all(arguments[:2]))
    # A cache file holds several devices.
    other = {(result.key, second.environments[result.environment].device): result for result in second.workloads}
    differences: list[float] = []
    same = tied = 0
    apart = []
    for result in first.workloads:
        twin = other.get((result.key, first.environments[result.environment].device))
        if twin is None:
            continue
        if result.choice and twin.choice and result.choice.winner == twin.choice.winner:
            same += 1
        elif agrees(result, twin):
            tied += 1
        else:
            apart.append(result.key)
        medians = {candidate.key: candidate.median_us for candidate in twin.candidates if candidate.status == "ok"}
        for candidate in result.candidates:
            median = medians.get(candidate.key)
            if candidate.status == "ok" and candidate.median_us and median and candidate.median_us >= SHORTEST_US:
                differences.append(abs(median / candidate.median_us - 1.0))
    if not same + tied + len(apart):
        print("no workload in common", file=sys.stderr)
        return EXIT_USAGE
    print(f"winners: {same} the same, {tied} within a tie set, {len(apart)} apart {apart or ''}")
    within = sum(difference <= 0.005 for difference in differences)
    print(
        f"medians over {SHORTEST_US:g} us: {within} of {len(differences)} within 0.5 %; median difference "
        f"{100 * (percentile(differences, 50) or 0):.3f} %, 95th percentile "
        f"{100 * (percentile(differences, 95) or 0):.3f} %, largest {100 * max(differences, default=0.0):.3f} %"
    )
    print(f"noise bands recorded: {first.noise_floor:.4f}, {second.noise_floor:.4f}")
    return 1 if apart else 0


if __name__ == "__main__":
    from starting import start

    start(main, __doc__, least=2)
