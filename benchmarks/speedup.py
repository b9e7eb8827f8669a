"""What tuning gains over each baseline: geometric means by suite and operation, from result files.

    python benchmarks/speedup.py cache
    python benchmarks/speedup.py latest llama-3.1-8b   # results as 'autotune show' takes them

One table a device and baseline. Exit 1 if a winner is slower than a baseline, beyond the interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from autotune_cli.measure.statistics import geometric_mean
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import BaselineResult

Groups = dict[str, list[BaselineResult]]


def row(name: str, found: list[BaselineResult]) -> str:
    """One line of the table; the interval is a 95 % bootstrap over workloads."""
    ratios = [baseline.speedup for baseline in found if baseline.speedup is not None]
    mean, lost = geometric_mean(ratios), len(found) - len(ratios)
    if mean is None:
        return f"| {name} | 0 | - | - | - | 0 | {lost} |"
    spread, extremes = f"{mean.low:.2f} .. {mean.high:.2f}", f"{min(ratios):.2f} .. {max(ratios):.2f}"
    return f"| {name} | {len(ratios)} | {mean.value:.2f} | {spread} | {extremes} | {slower(found)} | {lost} |"


def slower(found: list[BaselineResult]) -> int:
    """Workloads whose winner is slower than the baseline, and not by chance."""
    return sum(baseline.speedup_interval is not None and baseline.speedup_interval[1] < 1.0 for baseline in found)


def main(arguments: Sequence[str]) -> int:
    """Print the Markdown tables."""
    tables: dict[tuple[str, str], Groups] = defaultdict(lambda: defaultdict(list))
    for path in find_all(arguments):
        run = read_run(path)
        for result in run.workloads:
            device = run.environments[result.environment].device
            for baseline in result.baselines:
                for name in (run.name, f"`{result.workload.operation}`", "all"):
                    tables[device, baseline.name][name].append(baseline)
    bad = 0
    for (device, name), groups in tables.items():
        if not any(baseline.speedup for baseline in groups["all"]):
            continue
        print(f"{device}, over `{name}`:\n")
        print("| suite or operation | workloads | mean | 95 % interval | least .. most | slower | missing or wrong |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for group in [*(key for key in groups if key != "all"), "all"]:
            print(row(group, groups[group]))
        print()
        bad += slower(groups["all"])
    return 1 if bad else 0


if __name__ == "__main__":
    from starting import start

    start(main, __doc__, least=1)
