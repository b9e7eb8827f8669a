"""Tuned against default: geometric mean of the speed-up by suite and by operation, from result files.

    python benchmarks/speedup.py cache/*.json

Checks that no workload's winner is slower than its default.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from autotune_cli.measure.statistics import geometric_mean
from autotune_cli.results.files import read_run


def row(name: str, ratios: list[float], slower: int, undecided: int) -> str:
    """One line of the table; the interval is a 95 % bootstrap over workloads."""
    mean = geometric_mean(ratios)
    if mean is None:
        return f"| {name} | 0 | - | - | - | {slower} | {undecided} |"
    spread = f"{mean.low:.2f} .. {mean.high:.2f}"
    extremes = f"{min(ratios):.2f} .. {max(ratios):.2f}"
    return f"| {name} | {len(ratios)} | {mean.value:.2f} | {spread} | {extremes} | {slower} | {undecided} |"


def main() -> None:
    """Print a Markdown table; exit 1 if a winner is slower than its default."""
    groups: dict[str, list[float]] = defaultdict(list)
    slower: dict[str, int] = defaultdict(int)
    undecided: dict[str, int] = defaultdict(int)
    for path in sys.argv[1:]:
        run = read_run(Path(path))
        for result in run.workloads:
            names = (run.name, result.workload.operation, "all")
            choice = result.choice
            for name in names:
                groups[name] += [choice.speedup] if choice and choice.speedup else []
                undecided[name] += not (choice and choice.speedup)
                slower[name] += bool(choice and choice.speedup and choice.speedup < 1.0)
    print("| suite or operation | workloads | mean | 95 % interval | least .. most | slower | no right default |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, ratios in groups.items():
        print(row(name, ratios, slower[name], undecided[name]))
    sys.exit(1 if slower["all"] else 0)


if __name__ == "__main__":
    main()
