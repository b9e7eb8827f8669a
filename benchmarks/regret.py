"""Regret and cost of the race against an exhaustive, independent measurement of the same suite.

    autotune tune --no-cache --model M                 # the race
    autotune tune --no-cache --model M --exhaustive    # every candidate to full precision, in a process of its own
    python benchmarks/regret.py previous latest    # RACE EXHAUSTIVE [EXHAUSTIVE ...], as 'autotune show' takes results

Regret: the winner's time over the best right candidate's, both as the exhaustive run measured them. Cost: device
seconds of the race (its vetting included) over those of the exhaustive run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autotune_cli.errors import EXIT_USAGE
from autotune_cli.measure.statistics import geometric_mean
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all


def main(arguments: Sequence[str]) -> int:
    """Print a line a workload and the two figures."""
    race, *exhaustive = (read_run(path) for path in find_all(arguments))
    # A run that was cut off has judged its last workload with a few rounds only.
    judged = {result.key: result for run in exhaustive for result in run.workloads if result.stopped != "interrupted"}
    regrets = []
    print("| workload | winner of the race | regret | device s, race | exhaustive |")
    print("| --- | --- | --- | --- | --- |")
    spent = full = 0.0
    for result in race.workloads:
        other = judged.get(result.key)
        if other is None or result.choice is None or other.choice is None:
            continue
        winner = other.candidate(result.choice.winner)
        best = other.candidate(other.choice.best)
        spent += result.device_s
        full += other.device_s
        if winner.median_us is None or best.median_us is None:
            print(f"| {result.key} | {winner.label} | {winner.status} there | | |")
            continue
        regret = winner.median_us / best.median_us
        regrets.append(regret)
        print(
            f"| {result.key} | {winner.label} | {100 * (regret - 1):.2f} % | {result.device_s:.2f} "
            f"| {other.device_s:.2f} |"
        )
    mean = geometric_mean(regrets)
    if mean is None:
        print("no workload in common", file=sys.stderr)
        return EXIT_USAGE
    print(
        f"\nregret: geometric mean {100 * (mean.value - 1):.3f} %, worst {100 * (max(regrets) - 1):.2f} % "
        f"of {len(regrets)} workloads"
    )
    print(f"cost: {spent:.1f} s of {full:.1f} s = {spent / full:.3f}")
    return 0


if __name__ == "__main__":
    from starting import start

    start(main, __doc__, least=2)
