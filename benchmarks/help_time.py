"""How long ``autotune --help`` takes against ``python -c "import typer"``: at most 1.5 times as long is the aim.

    python benchmarks/help_time.py [repeats]

The two alternate, so that both see the same machine; each figure is the median of the repeats. Exit code 1: missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

AIM = 1.5
HELP = [str(Path(sysconfig.get_path("scripts")) / "autotune"), "--help"]
TYPER = [sys.executable, "-c", "import typer"]


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for command in (HELP, TYPER):
        seconds(command)  # from the disk
    pairs = [(seconds(HELP), seconds(TYPER)) for _ in range(repeats)]
    helping, importing = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = helping / importing
    print(f"autotune --help  {1e3 * helping:6.1f} ms")
    print(f"import typer     {1e3 * importing:6.1f} ms")
    print(f"ratio            {ratio:6.2f}    (aim: at most {AIM:g}, {repeats} repeats)")
    sys.exit(ratio > AIM)


if __name__ == "__main__":
    main()
