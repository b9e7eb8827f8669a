"""Tables and progress, drawn to text at several widths."""

from __future__ import annotations

import io
import re
import threading
import time
from typing import Any

import pytest
from render_builders import (
    BRACKETS,
    CPU,
    ENVIRONMENT,
    SETTINGS,
    candidate,
    decode,
    failed,
    result,
    run_file,
    topk,
    wrong,
)
from rich.cells import cell_len
from rich.console import Console

from autotune_cli.render.summary import print_run
from autotune_cli.render.watch_lines import Lines
from autotune_cli.render.watch_table import LiveTable
from autotune_cli.results.schema import Conditions, RunFile
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.progress import BuildsState
from autotune_cli.tuning.race import Race


def console(width: int = 160, height: int = 40, **options: Any) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, color_system=None, **options)


def text_of(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


ALL = run_file(
    result(
        decode(),
        candidate("fast", 134.0),
        candidate("slow", 171.3, default=True),
        candidate("out", 300.0, status="eliminated", reason="2.2 times"),
        candidate("twin", None, status="duplicate", same_as="fast", reason="fires the same kernels", rough_us=134.0),
        wrong(BRACKETS),
        failed("missing", "unavailable", "x is not installed", fix="pip install 'x[cuda]'"),
        *[failed(status, status, BRACKETS) for status in ("error", "timeout", "crashed", "out_of_memory", "skipped")],
    ),
    result(topk(), failed("bad", "crashed", BRACKETS, default=True), winner=None),
    environment=CPU,
)


def drawn(run: RunFile, width: int, every: bool = False) -> str:
    target = console(width)
    print_run(target, run, every)
    return text_of(target)


def test_every_status_is_drawn_as_it_is_written() -> None:
    shown = drawn(ALL, 200, every=True)
    assert "AMD [bold]EPYC" in shown
    for status in ("ok", "eliminated", "duplicate", "incorrect", "unavailable", "out of memory", "timeout", "skipped"):
        assert status in shown
    assert shown.count(BRACKETS) >= 7
    assert "get it: pip install 'x[cuda]'" in shown
    assert "winner" in shown


def test_one_row_a_workload() -> None:
    lines = drawn(ALL, 200).splitlines()
    row = next(line for line in lines if line.startswith("attention.decode"))
    assert row.split() == ["attention.decode", "64", "≤8192", "graph", "fast", "134.0", "±", "0.5", "171.3",
                           "1.278", "±", ".003", "61", "%", "-"]  # fmt: skip
    row = next(line for line in lines if line.startswith("topk.select"))
    assert row.split()[:6] == ["topk.select", "16", "262144", "eager", "none", "-"]
    assert "  ! topk.select 16 x 262144: bad (the default) is crashed" in "\n".join(lines)


def test_a_kernel_above_its_floor_is_in_red() -> None:
    target = Console(file=io.StringIO(), width=300, force_terminal=True, color_system="standard")
    print_run(target, run_file(result(decode(), candidate("fast", 100.0), floor_us=104.0)))
    assert "\x1b[31m104 %" in text_of(target)
    assert "\x1b[31m  ! attention.decode 64 x ≤8192: fast stands at 104.0 % of the floor" in text_of(target)
    target = Console(file=io.StringIO(), width=300, force_terminal=True, color_system="standard")
    print_run(target, run_file(result(decode(), candidate("fast", 100.0), floor_us=100.4)))
    assert "100 %" in text_of(target)
    assert "\x1b[31m" not in text_of(target)


def test_the_winner_has_its_clock() -> None:
    readings = tuple(Conditions(round=i, sm_clock_mhz=clock) for i, clock in enumerate((1980, 1755, 990)))
    winner = candidate("fast", 134.0, rounds=(0, 1), rounds_us=(134.0, 134.0))
    shown = drawn(run_file(result(decode(), winner, candidate("slow", 171.3), conditions=readings)), 200, every=True)
    (row,) = [line for line in shown.splitlines() if line.startswith("fast ")]
    assert row.endswith("winner; SM clock 1980 MHz")
    assert shown.count("SM clock") == 1
    assert "SM clock" not in drawn(run_file(result()), 200, every=True)


@pytest.mark.parametrize("width", [20, 40, 80, 120])
@pytest.mark.parametrize("every", [False, True])
def test_narrow_terminals_get_narrow_tables(width: int, every: bool) -> None:
    """Only what is for copying may be longer than the terminal is wide."""
    tables = [line for line in drawn(ALL, width, every).splitlines() if not line.startswith("  ! ")]
    assert max(cell_len(line) for line in tables) <= width


def test_an_empty_run_is_drawn() -> None:
    assert "0 workloads" in drawn(run_file(), 80)


# --- plain lines -----------------------------------------------------------------------------------------------------


def test_lines_tell_beginning_and_end_of_each_workload() -> None:
    target = console()
    lines = Lines(target)
    lines.begin(ENVIRONMENT, SETTINGS, ["a", "b", "c"])
    lines.note("driver 580.1 -> 580.2 [x]")
    for reused, workload in ((False, decode(1)), (True, decode(2)), (False, decode(3))):
        if not reused:
            lines.open(workload.key, [], ["x", "y"])
            lines.phase(workload.key, "build", "flashinfer [jit]")
            lines.phase(workload.key, "build", "flashinfer [jit]")
            lines.phase(workload.key, "vet", "flashinfer [jit]")
        lines.done(result(workload, reused=reused))
    lines.end()
    shown = text_of(target).splitlines()
    assert shown[0] == "tuning 3 workloads on NVIDIA H200"
    assert shown[1] == "note: driver 580.1 -> 580.2 [x]"
    assert shown[2] == f"[1/3] {decode(1).key}: 2 candidates"
    assert shown[3] == "  building flashinfer [jit]"
    assert shown[4].startswith(f"[1/3] {decode(1).key}: fast 134.0 ± 0.5 us, 1.28x over sglang; about 0 s left")
    assert shown[5].startswith(f"[2/3] {decode(2).key}: fast 134.0 ± 0.5 us, 1.28x over sglang (cache)")
    assert shown[-1] == f"[3/3] {decode(3).key}: fast 134.0 ± 0.5 us, 1.28x over sglang"


def test_lines_say_no_winner() -> None:
    target = console()
    lines = Lines(target)
    lines.begin(ENVIRONMENT, SETTINGS, ["a"])
    lines.done(result(None, failed("bad", "error"), winner=None))
    assert text_of(target).rstrip().endswith("no winner")


def test_lines_tell_each_build() -> None:
    target = console(80)
    lines = Lines(target)
    lines.begin(ENVIRONMENT, SETTINGS, ["a"])
    now = time.monotonic()
    lines.builds(BuildsState(3))
    lines.builds(BuildsState(3, {"fa3 [x]": now}))
    lines.builds(BuildsState(3, {"fa3 [x]": now, "top-k": now}))
    lines.builds(BuildsState(3, {"fa3 [x]": now, "cascade": now}, failed={"top-k": f"building top-k: {BRACKETS}"}))
    lines.builds(BuildsState(3, {"fa3 [x]": now}, {"cascade": 9.6}, {"top-k": f"building top-k: {BRACKETS}"}))
    lines.builds(BuildsState(3, {}, {"cascade": 9.6, "fa3 [x]": 71.2}, {"top-k": f"building top-k: {BRACKETS}"}))
    assert text_of(target).splitlines()[1:] == [
        "building 3 modules that candidates need",
        "  building fa3 [x]",
        "  building top-k",
        f"building top-k: {BRACKETS}",
        "  building cascade",
        "  built cascade in 10 s (2 of 3)",
        "  built fa3 [x] in 71 s (3 of 3)",
    ]


# --- the live table --------------------------------------------------------------------------------------------------


def race(keys: list[str], rounds: int) -> Race:
    made = Race(RacePolicy(), keys, keys[0])
    for number in range(rounds):
        made.add(number, {key: 10.0 + i / 1000 for i, key in enumerate(keys)}, 10.0)
    return made


def table(width: int = 120, height: int = 30, works: int = 1, results: int = 3) -> tuple[LiveTable, Console]:
    """In the middle of a run: workloads in work on several GPUs, each with 12 vetted candidates."""
    target = console(width, height)
    live = LiveTable(target)
    live.total = works + results + 2
    for number in range(results):
        live.done(result(decode(100 + number)))
    for number in range(works):
        key = f"work {number}"
        names = [f"candidate {i}" for i in range(12)]
        live.open(key, [], [*names, "left"])
        for name in names[:-2]:
            live.vetted(key, candidate(name, rough_us=10.0, default=name == names[0]))
        live.vetted(key, wrong(BRACKETS))
        live.vetted(key, failed("hung", "timeout", "no answer"))
        live.round(key, race(names[:-2], 3))
        live.phase(key, "round", names[1])
    return live, target


def shown(live: LiveTable, target: Console) -> list[str]:
    target.print(live._render())
    return text_of(target).splitlines()


def test_live_table_shows_results_candidates_and_progress() -> None:
    lines = shown(*table())
    text = "\n".join(lines)
    assert len(re.findall("graph +fast", text)) == 3
    assert "work 0" in text
    assert "timing candidate 1" in text
    assert "10.00 ± 0.00" in text
    assert BRACKETS in text
    assert "default" in text
    assert "3 of 6 workloads" in lines[-1]


LONG = "xqa bf16/fp8 d128 group 16 page 16 window and what else there may be"


def building(width: int, height: int) -> tuple[LiveTable, Console]:
    """Twelve modules in work, three done, one that can't be built; results from the cache besides."""
    live, target = table(width, height, works=0, results=5)
    running = {f"{LONG} {number}": time.monotonic() - 41.0 for number in range(12)}
    live.builds(BuildsState(20, running, {"cascade": 9.6, "top-k": 207.0}))
    live.builds(BuildsState(20, running, {"cascade": 9.6, "top-k": 207.0}, {"decode": f"building decode: {BRACKETS}"}))
    return live, target


def test_live_table_shows_what_is_built() -> None:
    lines = shown(*building(100, 40))
    text = "\n".join(lines)
    assert lines[0] == f"building decode: {BRACKETS}"
    assert "built 2 of 20 modules, 1 failed" in text
    assert re.search(r"xqa bf16/fp8 d128 group 16 page 16 window and what .* 4[12] +building", text)
    assert re.search("top-k +207 +built", text)
    assert text.count("  graph: fast") + len(re.findall("graph +fast", text)) == 5
    assert "of 7 workloads" in lines[-1]


@pytest.mark.parametrize("height", [10, 15, 24, 50])
@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_builds_fit_on_the_terminal(width: int, height: int) -> None:
    lines = shown(*building(width, height))[1:]  # the reason of a failed one is above the table
    assert max(cell_len(line) for line in lines) <= width
    if width >= 80:  # titles and headings wrap otherwise
        assert len(lines) < height
        assert any(line.endswith("building") for line in lines)


def test_no_builds_no_table() -> None:
    live, target = table()
    assert "building" not in "\n".join(shown(live, target))
    live, target = table()
    live.builds(BuildsState(1, {}, {"cascade": 1.0}))
    assert "modules" not in "\n".join(shown(live, target))


def test_time_left_does_not_count_the_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.render import watch

    lines = Lines(console())
    now = lines.started
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    now += 200.0
    lines.builds(BuildsState(1, {}, {"fa3": 199.0}))
    now += 10.0
    lines.total, lines.results = 3, [result(decode(1))]
    assert lines.time_left() == "about 20 s left"


@pytest.mark.parametrize("height", [10, 15, 24, 50])
@pytest.mark.parametrize("works", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("results", [0, 3, 60])
def test_live_table_fits_the_terminal_so_that_the_bar_is_seen(height: int, works: int, results: int) -> None:
    live, target = table(height=height, works=works, results=results)
    lines = shown(live, target)
    assert len(lines) < height
    assert f"{results} of {works + results + 2} workloads" in lines[-1]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_live_table_in_a_narrow_terminal(width: int) -> None:
    live, target = table(width=width, works=2)
    assert max(cell_len(line) for line in shown(live, target)) <= width


def test_live_table_on_a_terminal_from_begin_to_end() -> None:
    """The refreshing thread draws while others report."""
    target = console(100, 30, force_terminal=True)
    live = LiveTable(target)
    live.begin(ENVIRONMENT, SETTINGS, [decode(n).key for n in range(1, 5)])

    def work(first: int) -> None:
        for n in (first, first + 1):
            live.open(decode(n).key, [], ["fast", "slow"])
            for name in ("fast", "slow"):
                live.phase(decode(n).key, "vet", name)
                live.vetted(decode(n).key, candidate(name, rough_us=5.0))
            made = race(["fast", "slow"], 0)
            for number in range(50):
                made.add(number, {"fast": 5.0, "slow": 5.01}, 5.0)
                live.round(decode(n).key, made)
                live._live.refresh()
            live.done(result(decode(n)))

    threads = [threading.Thread(target=work, args=(first,)) for first in (1, 3)]
    for thread in threads:
        thread.start()
    live.note("a note in the middle")
    for thread in threads:
        thread.join()
    live.end()
    assert not live.open_ones
    assert len(live.results) == 4
    assert "note: a note in the middle" in text_of(target)


def test_nothing_prints_while_it_holds_the_lock_that_drawing_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes rich's lock, then ours: whoever printed under ours would wait for the other for ever."""
    live = LiveTable(console(100, 30, force_terminal=True))
    free = []

    def drawing() -> None:
        free.append(live.lock.acquire(timeout=1.0))
        if free[-1]:
            live.lock.release()

    def printed(*texts: object, **options: object) -> None:
        thread = threading.Thread(target=drawing)
        thread.start()
        thread.join()

    monkeypatch.setattr(live.console, "print", printed)
    live.note("a note")
    live.builds(BuildsState(1, failed={"module": "nvcc was killed"}))
    monkeypatch.setattr(live._live, "start", lambda: None)
    live.begin(ENVIRONMENT, SETTINGS, [])
    assert len(free) > 2
    assert all(free)


def test_ending_without_beginning_is_fine() -> None:
    LiveTable(console()).end()


@pytest.mark.parametrize(("seconds", "words"), [(10.0, "about 20 s left"), (600.0, "about 20 min left")])
def test_time_left_comes_from_what_was_measured(seconds: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.render import watch

    lines = Lines(console())
    monkeypatch.setattr(watch.time, "monotonic", lambda: lines.started + seconds)
    lines.total = 4
    assert lines.time_left() == ""
    lines.results = [result(decode(1), reused=True), result(decode(2))]
    assert lines.time_left() == words
