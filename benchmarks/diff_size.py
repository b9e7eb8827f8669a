"""Size: two runs of 10,000 candidates each. How long does ``autotune diff`` take, against json.load of both and pandas?

    python benchmarks/diff_size.py RUN.json [CANDIDATES]

The run is the pattern, repeated with other batch sizes. Processes are timed as a user would, start included: the least
of three. Aim: at most 3 times.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from diff_sessions import synthetic

from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import RunFile

AIM = 3.0
REPEATS = 3
# Up to and with pandas' import; the interpreter's start counts on both sides.
BASELINE = "import json, sys, pandas\nfor path in sys.argv[1:]:\n with open(path, encoding='utf-8') as f: json.load(f)"


def large(base: RunFile, candidates: int) -> RunFile:
    """Copies of the workloads of ``base`` with other batch sizes, until there are that many candidates."""
    workloads = []
    number = copy = 0
    while True:
        for result in base.workloads:
            size = "rows" if hasattr(result.workload, "rows") else "batch"
            workload = result.workload.model_copy(update={size: getattr(result.workload, size) + 1000 * copy})
            workloads.append(result.model_copy(update={"workload": workload, "key": workload.key}))
            number += len(result.candidates)
            if number >= candidates:
                return base.model_copy(update={"workloads": tuple(workloads)})
        copy += 1


def seconds(command: list[str]) -> float:
    """The least of a few runs' times."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode not in (0, 1):
            sys.exit(done.stderr.decode())
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Write both runs, time both commands."""
    base = read_run(find_all(sys.argv[1:2])[0])
    run = large(base, int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{name}.json") for name in "ab"]
        for number, path in enumerate(paths):
            Path(path).write_text(dump_run(synthetic(run, number)), encoding="utf-8")
        megabytes = Path(paths[0]).stat().st_size / 1e6
        total = sum(len(result.candidates) for result in run.workloads)
        baseline = seconds([sys.executable, "-c", BASELINE, *paths])
        ours = seconds([sys.executable, "-m", "autotune_cli", "diff", *paths])
    print(
        f"{total} candidates in {len(run.workloads)} workloads, {megabytes:.0f} MB a file: json.load of both and "
        f"pandas {baseline:.2f} s, autotune diff {ours:.2f} s: {ours / baseline:.2f} times (aim {AIM:g})"
    )
    sys.exit(1 if ours > AIM * baseline else 0)


if __name__ == "__main__":
    main()
