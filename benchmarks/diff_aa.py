"""A/A: runs of the same code compared with each other. How many pairs have a false slower, faster or choice changed?

    python benchmarks/diff_aa.py RUNS...                # files or folders: every pair of real runs
    python benchmarks/diff_aa.py RUNS... --against RUNS...    # of two GPUs: pairs and splits across them only
    python benchmarks/diff_aa.py --synthetic 15 RUN.json
    python benchmarks/diff_aa.py --calibrate RUNS...    # how much sessions differ: for comparing/statistics.py

Pairs of one session a side; then, from six runs on, 100 random splits into two sides of three sessions each.
Exit code 1 if more than 1 of 100 pairs has a false alarm.
"""

from __future__ import annotations

import itertools
import math
import random
import sys

from diff_sessions import diff, runs_from

from autotune_cli.comparing.records import Report
from autotune_cli.comparing.statistics import ENOUGH_ROUNDS
from autotune_cli.comparing.verdicts import ChangeVerdict, ChoiceVerdict
from autotune_cli.measure.statistics import median, percentile
from autotune_cli.results.schema import RunFile

SPLITS = 100
A_SIDE = 3


def false_alarms(report: Report) -> list[str]:
    """Everything that must not be said of two runs of the same code."""
    found = [
        f"{c.verdict} {c.decision.ratio:.4f} {c.workload_label} {c.label} ({c.rounds[0]}/{c.rounds[1]} rounds)"
        for c in report.comparisons
        if c.verdict in (ChangeVerdict.SLOWER, ChangeVerdict.FASTER)
    ]
    return found + [
        f"choice {c.workload_label}: {c.label_a} -> {c.label_b} ({', '.join(c.decision.reasons)})"
        for c in report.choices
        if c.decision.verdict == ChoiceVerdict.CHANGED
    ]


def count(title: str, pairs: list[tuple[list[RunFile], list[RunFile]]]) -> float:
    """Print the false alarms of the pairs, and return the share of pairs with any."""
    bad = 0
    verdicts = dict.fromkeys(
        (ChangeVerdict.SAME, ChangeVerdict.AMBIGUOUS, ChangeVerdict.SLOWER, ChangeVerdict.FASTER), 0
    )
    examples: dict[str, int] = {}
    for a, b in pairs:
        report = diff(a, b)
        alarms = false_alarms(report)
        bad += bool(alarms)
        for verdict in verdicts:
            verdicts[verdict] += report.count(verdict)
        for alarm in alarms:
            examples[alarm] = examples.get(alarm, 0) + 1
    listed = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    print(f"{title}: {bad} of {len(pairs)} pairs with a false alarm ({100 * bad / len(pairs):.1f} %); {listed}")
    for alarm in list(examples)[:10]:
        print(f"  ! {alarm}")
    return bad / len(pairs)


def calibrate(runs: list[RunFile]) -> None:
    """Print how far sessions' medians are from their mean, beyond what the rounds explain, by kernel time."""
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for run in runs:
        for result in run.workloads:
            for c in result.candidates:
                if len(c.rounds_us) >= ENOUGH_ROUNDS:
                    logs = [math.log(us) for us in c.rounds_us]
                    mean = sum(logs) / len(logs)
                    within = sum((x - mean) ** 2 for x in logs) / (len(logs) - 1) / len(logs) * math.pi / 2
                    times.setdefault((result.key, c.key), []).append((math.log(median(c.rounds_us)), within))
    buckets: dict[str, list[tuple[float, float]]] = {}
    for sessions in times.values():
        if len(sessions) < 3:
            continue
        centers = [center for center, _ in sessions]
        mean = sum(centers) / len(centers)
        seen = sum((x - mean) ** 2 for x in centers) / (len(centers) - 1)
        between = max(seen - sum(within for _, within in sessions) / len(sessions), 0.0)
        us = math.exp(mean)
        edges = (0, 10, 15, 25, 50, 100, 1000, math.inf)
        low = max(edge for edge in edges if edge <= us)
        buckets.setdefault(f"{low:>5} us and more", []).append((math.sqrt(seen), math.sqrt(between)))
    print("standard deviation between sessions, % (seen: of medians; net: without the rounds' share)")
    for name, found in sorted(buckets.items()):
        seen_all, net = ([100 * value[index] for value in found] for index in (0, 1))
        print(
            f"  {name}: {len(found):4} candidates, seen median {percentile(seen_all, 50):.3f} 95th "
            f"{percentile(seen_all, 95):.3f} largest {max(seen_all):.3f}; net median {percentile(net, 50):.3f} "
            f"root mean square {math.sqrt(sum(x * x for x in net) / len(net)):.3f}"
        )


def across(first: list[RunFile], second: list[RunFile]) -> float:
    """The share of pairs with a false alarm, each side from another GPU."""
    share = count("one session a side, across", [([a], [b]) for a, b in itertools.product(first, second)])
    if min(len(first), len(second)) < A_SIDE:
        return share
    generator = random.Random(0)
    splits = [(generator.sample(first, A_SIDE), generator.sample(second, A_SIDE)) for _ in range(SPLITS)]
    return max(share, count(f"{A_SIDE} sessions a side, across (resampled)", splits))


def main() -> None:
    """All pairs, then splits."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--calibrate"]
    if "--against" in arguments:
        cut = arguments.index("--against")
        sys.exit(1 if across(runs_from(arguments[:cut]), runs_from(arguments[cut + 1 :])) > 0.01 else 0)
    runs = runs_from(arguments)
    if "--calibrate" in sys.argv:
        calibrate(runs)
        return
    share = count("one session a side", [([a], [b]) for a, b in itertools.combinations(runs, 2)])
    if len(runs) >= 2 * A_SIDE:
        generator = random.Random(0)
        picks = [generator.sample(runs, 2 * A_SIDE) for _ in range(SPLITS)]
        title = f"{A_SIDE} sessions a side (resampled from {len(runs)} runs)"
        share = max(share, count(title, [(pick[:A_SIDE], pick[A_SIDE:]) for pick in picks]))
    sys.exit(1 if share > 0.01 else 0)


if __name__ == "__main__":
    main()
