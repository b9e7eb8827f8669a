"""The same rounds judged by other tools' rules: how many false alarms, how many misses?

    python benchmarks/diff_side_by_side.py RUNS_FOLDER
    python benchmarks/diff_side_by_side.py --synthetic 10 RUN.json

- benchstat: Mann-Whitney's U at 0.05 on the rounds, exact, no correction for the number of comparisons.
- pyperf: Student's pooled t on the rounds' means, two-sided 0.05 (pyperf compare_to's is_significant).
- plain 5 %: the medians differ by more.
- autotune diff: as shipped; one session a side, and three.

False alarms: pairs of runs of the same code with any 'slower' or 'faster' among raced candidates over 10 us. Misses: of
slow-downs of 1, 2 and 5 % put into one candidate. The rules of others are rebuilt here from their documentation.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Callable, Sequence

from diff_power import raced
from diff_sessions import diff, injected, runs_from

from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.measure.statistics import median
from autotune_cli.measure.student import two_sided_p
from autotune_cli.results.schema import RunFile

CASES = 100
SIZES = (0.01, 0.02, 0.05)
Rule = Callable[[Sequence[float], Sequence[float]], bool]


def mann_whitney_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Exact two-sided p of the rank sum under all ways to deal the pooled values out, ties as midranks."""
    pooled = sorted([*a, *b])
    # Twice the midrank, so that it is whole.
    rank = {value: 2 * pooled.index(value) + pooled.count(value) + 1 for value in set(pooled)}
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in a)]
    for value in pooled:
        for chosen in range(len(a), 0, -1):
            for total, number in ways[chosen - 1].items():
                ways[chosen][total + rank[value]] = ways[chosen].get(total + rank[value], 0) + number
    seen = sum(rank[value] for value in a)
    middle = len(a) * (len(pooled) + 1)
    extreme = sum(number for total, number in ways[-1].items() if abs(total - middle) >= abs(seen - middle))
    return extreme / sum(ways[-1].values())


def student_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p of Student's t with pooled variance."""
    n, m = len(a), len(b)
    means = sum(a) / n, sum(b) / m
    squares = sum((x - means[0]) ** 2 for x in a) + sum((x - means[1]) ** 2 for x in b)
    error = math.sqrt(squares / (n + m - 2) * (1 / n + 1 / m))
    if error == 0.0:
        return 1.0 if means[0] == means[1] else 0.0
    return two_sided_p((means[1] - means[0]) / error, n + m - 2)


RULES: dict[str, Rule] = {
    "benchstat (Mann-Whitney)": lambda a, b: mann_whitney_p(a, b) < 0.05,
    "pyperf (Student's t)": lambda a, b: student_p(a, b) < 0.05,
    "plain 5 %": lambda a, b: abs(median(b) / median(a) - 1.0) > 0.05,
}


def rounds(run: RunFile, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Rounds of those candidates."""
    wanted = set(keys)
    return {(r.key, c.key): c.rounds_us for r in run.workloads for c in r.candidates if (r.key, c.key) in wanted}


def changed(rule: str, a: list[RunFile], b: list[RunFile]) -> set[tuple[str, str]]:
    """Candidates that a rule calls slower or faster."""
    keys = raced([*a, *b])
    if rule in RULES:
        left, right = rounds(a[0], keys), rounds(b[0], keys)
        return {key for key in keys if RULES[rule](left[key], right[key])}
    report = diff(a, b)
    found = {
        (c.workload, c.candidate)
        for c in report.comparisons
        if c.verdict in (ChangeVerdict.SLOWER, ChangeVerdict.FASTER)
    }
    return found & set(keys)


def main() -> None:
    """Print the table."""
    runs = runs_from(sys.argv[1:])
    pairs = list(itertools.combinations(runs, 2))
    generator = random.Random(2)
    pairs = generator.sample(pairs, min(CASES, len(pairs)))
    ours = [(f"autotune diff, {k} session{'s' if k > 1 else ''}", k) for k in (1, 3) if 2 * k <= len(runs)]
    print(f"{'rule':28} pairs with a false alarm   false ones a pair   missed: 1 %     2 %     5 %")
    for rule, sessions in [*((name, 1) for name in RULES), *ours]:
        generator = random.Random(3)
        sides = [([a], [b]) for a, b in pairs]
        if sessions > 1:
            picks = [generator.sample(runs, 2 * sessions) for _ in range(CASES)]
            sides = [(pick[:sessions], pick[sessions:]) for pick in picks]
        alarms = [len(changed(rule, a, b)) for a, b in sides]
        missed = []
        for size in SIZES:
            misses = 0
            for _ in range(CASES):
                picked = generator.sample(runs, 2 * sessions)
                key = generator.choice(raced(picked))
                slow = [injected(run, *key, 1.0 + size) for run in picked[sessions:]]
                misses += key not in changed(rule, picked[:sessions], slow)
            missed.append(f"{100 * misses / CASES:6.1f} %")
        share = 100 * sum(map(bool, alarms)) / len(alarms)
        mean = sum(alarms) / len(alarms)
        print(f"{rule:28} {share:6.1f} % of {len(alarms):3}          {mean:8.2f}            {'  '.join(missed)}")


if __name__ == "__main__":
    main()
