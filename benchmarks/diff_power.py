"""Power: slow-downs of 1, 2 and 5 % are put into one candidate of real runs. How many are found?

    python benchmarks/diff_power.py RUNS_FOLDER
    python benchmarks/diff_power.py --synthetic 10 RUN.json

Each case: two sides of different runs, one raced candidate over 10 us of side B multiplied in all its rounds, choices
made anew. Found: that candidate is 'slower'. Aims: 80, 95 and 100 %.
"""

from __future__ import annotations

import random
import sys

from diff_sessions import SHORTEST_US, diff, injected, runs_from

from autotune_cli.comparing.statistics import ENOUGH_ROUNDS
from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.results.schema import RunFile

CASES = 200
AIMS = {0.01: 0.80, 0.02: 0.95, 0.05: 1.0}
SESSIONS = (1, 3)


def raced(sides: list[RunFile]) -> list[tuple[str, str]]:
    """Candidates over 10 us that stayed in the race in all runs."""
    found: dict[tuple[str, str], int] = {}
    for run in sides:
        for result in run.workloads:
            for c in result.candidates:
                if len(c.rounds_us) >= ENOUGH_ROUNDS and (c.median_us or 0.0) >= SHORTEST_US:
                    found[result.key, c.key] = found.get((result.key, c.key), 0) + 1
    return [key for key, number in found.items() if number == len(sides)]


def main() -> None:
    """Print a line for each size and number of sessions."""
    runs = runs_from(sys.argv[1:])
    missed = False
    for sessions in SESSIONS:
        if 2 * sessions > len(runs):
            continue
        for size, aim in AIMS.items():
            generator = random.Random(1)
            found = others = 0
            for _ in range(CASES):
                sides = generator.sample(runs, 2 * sessions)
                workload, candidate = generator.choice(raced(sides))
                slow = [injected(run, workload, candidate, 1.0 + size) for run in sides[sessions:]]
                report = diff(sides[:sessions], slow)
                slower = {(c.workload, c.candidate) for c in report.comparisons if c.verdict == ChangeVerdict.SLOWER}
                found += (workload, candidate) in slower
                others += bool(slower - {(workload, candidate)})
            enough = found / CASES >= aim
            missed |= not enough
            print(
                f"{100 * size:.0f} %, {sessions} session(s) a side: found {100 * found / CASES:5.1f} % of {CASES} "
                f"(aim {100 * aim:.0f} %){'' if enough else '  MISSED'}; another one called slower in {others}"
            )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
