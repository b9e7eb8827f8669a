"""Mutated files of every type that the program reads: does each end in a result or in one clear line?

    python benchmarks/fuzz.py [--count 10000] [--seed 1] [--workers 2] [--kind KIND] [--keep FOLDER]

Each input goes through ``main()`` as a command line would (caches and journals, which only ``tune`` reads, through
their readers and the same handling of errors), in processes forked from one that has imported everything. Counted
against the program: an exception nobody foresaw (exit code 70, a traceback, exit code 1 without a verdict, any
undocumented code, a refusal without its line), more than 10 s, more than 1 GB, a file in the folder that was changed.
Exit code 1: there was one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import fuzz_inputs
from fuzz_trial import path_of
from fuzz_workers import fuzz

FAULTS = ("traceback", "hang", "memory", "changed")


@dataclass
class Tally:
    """What became of the inputs of a kind."""

    read: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    most_mb: float = 0.0


def table(tallies: dict[str, Tally]) -> str:
    """The counts, in Markdown."""
    head = ("file", "tried", "read", "refused", *(f"{fault}" for fault in FAULTS), "slowest", "most memory")
    rows = [head, tuple("---" if column == 0 else "---:" for column in range(len(head)))]
    whole = Tally()
    for kind, tally in sorted(tallies.items()):
        rows.append(_row(kind, tally))
        whole.read += tally.read
        whole.refused += tally.refused
        whole.faults += tally.faults
        whole.slowest_s = max(whole.slowest_s, tally.slowest_s)
        whole.most_mb = max(whole.most_mb, tally.most_mb)
    rows.append(_row("all", whole))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(kind: str, tally: Tally) -> tuple[str, ...]:
    faults = [str(tally.faults[fault]) for fault in FAULTS]
    tried = tally.read + tally.refused + tally.faults.total()
    return (
        kind, str(tried), str(tally.read), str(tally.refused), *faults, f"{tally.slowest_s:.1f} s",
        f"{tally.most_mb:.0f} MB",
    )  # fmt: skip


def keep(folder: Path, index: int, seed: int, kind: str) -> Path:
    """Write an input again, to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{index}.{path_of(kind, folder).name.lstrip('.')}"
    path.write_bytes(fuzz_inputs.mutated(kind, random.Random(f"{seed} {index}")))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=fuzz_inputs.kinds(), action="append")
    parser.add_argument("--keep", type=Path, help="write inputs that met a fault into this folder")
    options = parser.parse_args()
    kinds = tuple(options.kind or fuzz_inputs.kinds())
    tallies = {kind: Tally() for kind in kinds}
    start = time.monotonic()
    for found in fuzz(options.count, options.seed, options.workers, kinds):
        tally = tallies[found["kind"]]
        tally.slowest_s = max(tally.slowest_s, found["seconds"])
        tally.most_mb = max(tally.most_mb, found["peak"] / 1e6)
        if found["fault"] is None:
            tally.read += found["accepted"]
            tally.refused += not found["accepted"]
            continue
        tally.faults[found["fault"][0]] += 1
        print(f"{found['index']} {found['kind']}: {': '.join(found['fault'])} | {found['command']}", file=sys.stderr)
        if options.keep is not None:
            keep(options.keep, found["index"], options.seed, found["kind"])
    faults = sum(tally.faults.total() for tally in tallies.values())
    print(table(tallies))
    print(f"\n{options.count} inputs, seed {options.seed}, {faults} faults, {time.monotonic() - start:.0f} s")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
