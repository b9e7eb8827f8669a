"""How much faster several GPUs of one machine tune a suite, and whether they come to the same winners:

    python benchmarks/gpus.py [--gpus 4,2,1] [--no-warm-up] [--root FOLDER] [options of autotune tune]

Each number of GPUs is a run of ``autotune tune --no-cache --gpus 0,1,...``, the suite Llama-3.1-8B's unless ``--model``
or ``--config`` says otherwise; results stay where ``--root`` says so. One run on the most GPUs goes ahead and isn't
counted, as it compiles what isn't (``--no-warm-up``: all is compiled). Times are of the whole command, from its start
to its end.

The aim: 4 GPUs take a 3.6th of one's time. Exit code 1: missed, or a winner outside of both tie sets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from noise import agrees

from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

AIM = {4: 3.6}


def timed(count: int, options: list[str], root: str) -> tuple[float, RunFile]:
    """Seconds and result of a run on that many GPUs.

    Raises:
        SystemExit: it fails; its own words are on stderr.
    """
    gpus = ",".join(map(str, range(count)))
    command = [sys.executable, "-m", "autotune_cli", "tune", "--no-cache", "--json", "--gpus", gpus, *options]
    begin = time.monotonic()
    done = subprocess.run([*command, "--root", root], capture_output=True, text=True)
    seconds = time.monotonic() - begin
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(done.returncode)
    return seconds, read_run(Path(json.loads(done.stdout)["path"]))


def winners(first: RunFile, other: RunFile) -> tuple[int, int, list[str]]:
    """Workloads with the same winner, with another one within a tie set, and the keys of the rest."""
    twins = {result.key: result for result in other.workloads}
    same, tied, apart = 0, 0, []
    for result in first.workloads:
        twin = twins.get(result.key)
        if twin is None or not agrees(result, twin):
            apart.append(result.key)
        elif result.choice is None or twin.choice is None or result.choice.winner == twin.choice.winner:
            same += 1
        else:
            tied += 1
    return same, tied, apart


def table(runs: dict[int, tuple[float, RunFile]]) -> tuple[list[str], bool]:
    """Markdown lines, fewest GPUs first; and whether all is as it should be. Speed-ups are over the fewest."""
    least = min(runs)
    base_s, base = runs[least]
    lines = [
        f"| GPUs | time s | speed-up | cards with work | winners as with {least}: same, tied, apart |",
        "| --- | --- | --- | --- | --- |",
    ]
    notes, is_good = [], True
    for count, (seconds, run) in sorted(runs.items()):
        same, tied, apart = winners(base, run)
        cards, speedup = len({result.card for result in run.workloads}), base_s / seconds
        lines.append(f"| {count} | {seconds:.1f} | {speedup:.2f} | {cards} | {same}, {tied}, {len(apart)} |")
        notes += [f"{count} GPUs have another winner: {key}" for key in apart]
        is_good &= not apart and (least > 1 or speedup >= AIM.get(count, 0.0))
    return [*lines, *notes], is_good


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", default="4,2,1", help="numbers of GPUs, commas between, in the order of the runs")
    parser.add_argument("--no-warm-up", action="store_true", help="everything is compiled")
    parser.add_argument("--root", metavar="FOLDER", help="where results stay")
    mine, options = parser.parse_known_args()
    counts = [int(part) for part in mine.gpus.split(",")]
    if not {"--model", "--config"} & {option.partition("=")[0] for option in options}:
        options = ["--model", "llama-3.1-8b", *options]
    runs = {}
    with tempfile.TemporaryDirectory(prefix="gpus-") as folder:
        root = mine.root or folder
        if not mine.no_warm_up:
            print(f"warm-up on {max(counts)}: {timed(max(counts), options, root)[0]:.1f} s", flush=True)
        for count in counts:
            runs[count] = timed(count, options, root)
            print(f"{count}: {runs[count][0]:.1f} s", flush=True)
    lines, is_good = table(runs)
    print("\n" + "\n".join(lines))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
