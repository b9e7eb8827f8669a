"""docs/contributing.md on formats, export targets and timers: its files, in a copy of the package, are all it takes.

One measurement uses both: a run with the page's timer, printed in the page's format.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from contributing import Copy, blocks_of, files_of, fits
from recorded import recorded
from running import TINY

FORMAT, TIMER = "autotune_cli/render/formats/tsv.py", "autotune_cli/measure/timers/cpu_time.py"
TARGET = "autotune_cli/exporting/targets/winners.py"
ADDED = (("Adding an output format", FORMAT), ("Adding a timer", TIMER), ("Adding an export target", TARGET))

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def autotune(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The program of a copy of the package, to which the page's files were added and nothing else was done."""
    copy = Copy(tmp_path_factory.mktemp("contributed"))
    for title, _ in ADDED:
        for path, text in blocks_of(title).items():
            copy.create(path, text)
    return copy.autotune


def test_each_is_one_file() -> None:
    for title, path in ADDED:
        assert list(blocks_of(title)) == [path]
        (named,) = files_of(title)
        assert fits(path, named)


def test_a_run_is_measured_by_the_timer_and_printed_in_the_format(autotune: Call) -> None:
    done = autotune("tune", "--device", "cpu", "--no-cache", *TINY, "--timer", "cpu_time", "--format", "tsv")
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head == "workload\twinner\ttime_us"
    key, winner, us = row.split("\t")
    assert key.startswith("topk.select 2 x 4096")
    assert winner.startswith("torch.")
    assert float(us) > 0.0
    # The same result again, with the timer's words.
    assert autotune("show", "--format", "tsv").stdout == done.stdout
    assert "warm caches, processor time (of all threads together), " in autotune("show").stdout
    written = autotune("show", "--format", "tsv", "--output", "run.tsv")
    assert written.returncode == 0, written.stderr
    assert written.stdout == ""


def test_help_and_messages_know_both(autotune: Call) -> None:
    words = " ".join(autotune("tune", "--help").stdout.split())
    assert "cupti, events (GPU) or cpu_clock, cpu_time. Default: the best one." in words
    assert re.search(r"\btsv\b", words)
    message = autotune("show", "--format", "tvs").stderr
    assert "unknown format 'tvs'; did you mean 'tsv'? (known: table, " in message
    message = autotune("tune", "--device", "cpu", "--timer", "cpu_tim").stderr
    assert "unknown timer 'cpu_tim'; did you mean 'cpu_time'? (known: cpu_clock, cpu_time)" in message
    # Of a comparison the page's format shows nothing, so it isn't one of its formats.
    assert "unknown format 'tsv'" in autotune("diff", "latest", "latest", "--format", "tsv").stderr


def test_a_result_is_exported_to_the_target(autotune: Call) -> None:
    done = autotune("export", str(recorded("gpt-oss-120b")), "--to", "winners")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "note: 27 workloads\n"
    lines = done.stdout.splitlines()
    assert len(lines) == 27
    assert lines[0].startswith("attention.decode 1 x 1024 graph h64/8 d64 bfloat16 sinks: ")
    assert "winners" in autotune("export", str(recorded("gpt-oss-120b")), "--to", "winner").stderr
