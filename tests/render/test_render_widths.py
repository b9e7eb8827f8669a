"""Terminals of 60 to 200 columns: every winner, time and verdict is there whole, and no line is wider than they are."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from render_builders import candidate, decode, extend, failed, held, result, run_file, topk
from rich.cells import cell_len

from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.exit_status import exit_status, fail_on
from autotune_cli.comparing.loading import load_side
from autotune_cli.comparing.report import compare
from autotune_cli.comparing.verdicts import Tone
from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.readers.finding import find_trace, read_trace
from autotune_cli.render.backends import backends_view
from autotune_cli.render.console import Console
from autotune_cli.render.diff_rows import rows_of as diff_lines
from autotune_cli.render.diff_table import print_diff
from autotune_cli.render.profile_listing import listing, print_listing
from autotune_cli.render.summary import print_run
from autotune_cli.render.text import with_interval
from autotune_cli.render.watch_table import LiveTable
from autotune_cli.results.files import dump_run
from autotune_cli.results.identity import environment_key
from autotune_cli.results.schema import RunFile, WorkloadResult
from autotune_cli.tuning.messages import BackendInfo

WIDTHS = (60, 80, 100, 120, 200)
# As long as real names are.
NAMES = (
    "sgl_kernel.fa3 page 128 num splits 16 scheduler metadata",
    "flashinfer.top_k_ragged_transform auto deterministic dsa graph safe",
    "mine",
)
REASON = "1.021 times the best one's time or more, after 3 rounds"


def results() -> list[WorkloadResult]:
    """Long and short names, wide intervals, a window, a default that is wrong, no candidate that is right."""
    layer = extend().model_copy(update={"spread": "uneven", "batch": 128, "new": 16384, "context": 131072})
    windowed = layer.geometry.model_copy(update={"window_left": 127})
    found = []
    for number, workload in enumerate((decode(), layer.model_copy(update={"geometry": windowed}), topk(256))):
        us = (98.7, 123456.0, 5.25)[number]
        winner = candidate(NAMES[number], us, interval_us=(0.7 * us, 1.3 * us))
        default = candidate("flashinfer.ragged_paged_merge fa3 fa2 page 1", 1.2 * us, default=True)
        out = candidate("flashinfer.paged", 3 * us, status="eliminated", reason=REASON)
        bad = failed(
            f"{NAMES[number]} broken", "crashed", "killed by SIGSEGV while it computed the first of its inputs"
        )
        baselines = (held(default, speedup=1.2, speedup_interval=(0.9, 10.25)),)
        found.append(result(workload, winner, default, out, bad, winner=NAMES[number], baselines=baselines))
    found.append(result(topk(1), failed("a kernel of one's own", "error", "an illegal memory access"), winner=None))
    return found


def drawn(width: int, draw: Callable[[Console], object]) -> str:
    """What a terminal of that width shows; no line is wider, and nothing is cut."""
    console = Console(file=io.StringIO(), width=width, height=50, force_terminal=True, color_system=None)
    draw(console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    fits(text, width)
    return text


def fits(text: str, width: int) -> None:
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def whole(text: str, wanted: str, width: int) -> bool:
    """Is it on one line, or, where no line is long enough, on lines one below the other?"""
    if cell_len(wanted) + 2 <= width:
        return wanted in text
    return " ".join(wanted.split()) in " ".join(text.split())


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_winner_time_and_speedup_is_whole(width: int, every: bool) -> None:
    found = results()
    text = drawn(width, lambda console: print_run(console, run_file(*found), every))
    for each in found:
        if each.choice is None:
            assert "none" in text
            continue
        winner = each.candidate(each.choice.winner)
        assert whole(text, winner.label, width)
        assert with_interval(winner.median_us, winner.interval_us) in text
    rows = [line for line in text.splitlines() if "1.200 ± 9.050" in line]
    assert len(rows) == 3
    # Times and speed-ups side by side.
    for time, row in zip(("98.70 ± 29.61", "123456 ± 37037", "5.25 ± 1.58"), rows, strict=True):
        assert time in row
    for name in ("batch", "context", "time us", "speed-up", "floor"):
        assert name in text


@pytest.mark.parametrize("width", WIDTHS)
def test_every_candidate_has_its_time_its_status_and_its_reason(width: int) -> None:
    found = results()
    text = drawn(width, lambda console: print_run(console, run_file(*found), True))
    words = " ".join(text.split())
    for each in found:
        for one in each.candidates:
            assert whole(text, one.label, width)
            assert one.status in text
            if one.median_us is not None:
                assert with_interval(one.median_us, one.interval_us) in text
            if one.reason is not None and width < 200:
                assert one.reason in words


@pytest.mark.parametrize("width", WIDTHS)
def test_the_live_table_keeps_winners_and_times(width: int) -> None:
    """While it runs: of the candidates in work a long name gives way, their times don't."""

    def draw(console: Console) -> None:
        live = LiveTable(console)
        live.total = 4
        for each in results()[:3]:
            live.done(each)
        live.open("work", [], [])
        live.vetted("work", candidate(NAMES[0], rough_us=123456.0))
        console.print(live._render())

    console = Console(file=io.StringIO(), width=width, height=50, force_terminal=True, color_system=None)
    draw(console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for name in NAMES:
        assert whole(text, name, width)
    assert "~123456" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_shows_every_verdict_and_number(width: int, tmp_path: Path) -> None:
    report = compared(tmp_path)
    judged = exit_status(report, fail_on("slower"))
    text = drawn(width, lambda console: print_diff(console, report, judged, True))
    rows = diff_lines(report, True)
    assert {(row.word, row.tone) for row in rows} >= {("slower", Tone.WORSE), ("choice", Tone.NEWS)}
    for row in rows:
        assert re.search(rf"^(?i:{row.word}) +{re.escape(row.workload)}", text, re.MULTILINE)
        for part in (row.times, row.change):
            assert part in text
        for name in re.split(r" -> | \(", row.what):
            assert whole(text, name, width)
    assert whole(text, f"exit 1: {judged.words}", width)


def compared(folder: Path) -> Any:
    """Of two files: all times of B are larger, and the winner of the first workload is another."""
    a = results()[:3]
    slower = [scaled(each, 1.5) for each in a]
    first = slower[0]
    assert first.choice is not None
    other = "flashinfer.ragged_paged_merge fa3 fa2 page 1"
    choice = first.choice.model_copy(update={"winner": other, "tie_set": (other,), "best": other})
    worse = [scaled_candidate(each, 3.0) if each.key == first.choice.winner else each for each in first.candidates]
    slower[0] = first.model_copy(update={"choice": choice, "candidates": tuple(worse)})
    sides = []
    for name, found in (("a", a), ("b", slower)):
        path = folder / f"{name}.json"
        path.write_text(dump_run(run_file(*found)))
        sides.append(load_side([path]))
    return compare(sides[0], sides[1], DecisionRule(), frozenset())


def scaled(each: WorkloadResult, factor: float) -> WorkloadResult:
    return each.model_copy(update={"candidates": tuple(scaled_candidate(one, factor) for one in each.candidates)})


def scaled_candidate(one: Any, factor: float) -> Any:
    if one.median_us is None:
        return one
    low, high = one.interval_us
    return one.model_copy(
        update={
            "median_us": factor * one.median_us,
            "rounds_us": tuple(factor * us for us in one.rounds_us),
            "interval_us": (factor * low, factor * high),
        }
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_backends(width: int) -> None:
    operations = ("attention.decode", "attention.prefill", "attention.extend")
    pip = "pip install 'kernel-autotune[cuda]'"
    found = [
        BackendInfo("flashinfer.ragged_paged_merge", operations, "ragged, paged, page_size", "flashinfer", pip,
                    ("cuda",), "s"),
        BackendInfo("torch.sdpa", operations, "by workload", None, "", ("cuda", "cpu"), "s"),
        BackendInfo("wave.decode", operations[:1], "splits", None, "", ("cuda",), "s", needs="an AMD GPU"),
    ]  # fmt: skip
    for kind, missing, amd in (
        ("cpu", "needs an NVIDIA GPU", "needs an AMD GPU"),
        ("cuda", f"flashinfer is not installed; get it: {pip}", "ready on an AMD GPU"),
    ):
        text = drawn(width, lambda console, kind=kind: console.print(backends_view(found, kind, width)))  # type: ignore[misc]
        assert missing in " ".join(text.split())
        assert amd in " ".join(text.split())
        assert "ready" in text
        for each in found:
            assert whole(text, each.name, width)
        # What is not installed says nothing where nothing installed would help.
        assert ("pip" in text) == (kind == "cuda")


# --- a real terminal -------------------------------------------------------------------------------------------------


def on_terminal(width: int, *arguments: str) -> str:
    """What ``autotune`` writes to a terminal of that width, without colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    line = [sys.executable, "-m", "autotune_cli", *arguments]
    process = Popen(line, stdin=slave, stdout=slave, stderr=slave, env={**variables, "TERM": "xterm"})
    os.close(slave)
    text = b"".join(pieces(master)).decode()
    os.close(master)
    process.wait()
    # A bar that is gone again is no part of what stays.
    shown = re.split("\x1b\\[2K", text)[-1].replace("\r", "")
    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", shown)


def pieces(master: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            return
        if not piece:
            return
        yield piece


def written(folder: Path, run: RunFile) -> str:
    path = folder / "run.json"
    # Under its hash: a file whose environment has another one is told to be somebody's.
    key = environment_key(run.device)
    workloads = tuple(each.model_copy(update={"environment": key}) for each in run.workloads)
    changes = {"environments": {key: run.device}, "environment": key, "workloads": workloads}
    path.write_text(dump_run(run.model_copy(update=changes)))
    return str(path)


@pytest.mark.parametrize("width", WIDTHS)
def test_show_on_a_terminal(width: int, tmp_path: Path) -> None:
    found = results()
    text = on_terminal(width, "show", written(tmp_path, run_file(*found)))
    fits(text, width)
    for each in found[:3]:
        assert each.choice is not None
        winner = each.candidate(each.choice.winner)
        assert whole(text, winner.label, width)
        assert with_interval(winner.median_us, winner.interval_us) in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_profile_on_a_terminal(width: int) -> None:
    text = on_terminal(width, "profile", "--paged", "--from-trace", "example-ragged")
    fits(text, width)
    for wanted in ("FAIL", "ragged", "cascade merge", "121.3", "47.71"):
        assert wanted in text
    # In the table, where it is a problem, and in the verdict.
    assert text.count("BatchPrefillWithRaggedKVCacheKernel") == 3
    assert "FAIL: 1 ragged kernel in eager" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_list_of_what_fired(width: int) -> None:
    trace = find_trace(Path("example-ragged"), None)
    recording = split_into_phases(read_trace(trace), load_classifier(()), (), None)
    text = drawn(width, lambda console: print_listing(console, recording))
    for row in listing(recording):
        assert whole(text, row.kernel, width)
        assert row.time_us in text
        assert row.library in text
    assert "LISTED, not judged: 4 kernels in 1 phase" in text
