"""The kernel-development loop, run for real: tune, edit, tune again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import TINY, Autotune, Finished

Usage = Callable[..., Any]
# A repeat takes a second of the timer's time, whatever it takes of the machine's: no noise is as large as that.
KERNEL = """
import time

import torch

from autotune_cli.kernels import register

passed, real = [0], time.perf_counter_ns
time.perf_counter_ns = lambda: real() + passed[0]


@register("topk.select", name="mine.sort", knobs={"how": ("right", "wrong", "raises")}, devices=("cpu",))
def prepare(problem, how):
    def run():
        if how == "raises":
            raise NotImplementedError("no kernel yet")
        for _ in range(REPEATS):
            passed[0] += 10**9
            order = torch.sort(problem.scores, dim=1, descending=how == "right").indices
        return order[:, : problem.k].to(torch.int32)

    return run
"""


class Loop:
    """Three runs, the kernel edited in between: 20 times as slow at first, then fast, then fast in focus."""

    def __init__(self, program: Autotune) -> None:
        self.program = program
        self.first = self.tune(20)
        self.second = self.tune(1)
        self.focused = self.tune(1, "--focus", "mine")

    def tune(self, repeats: int, *options: str) -> Finished:
        (self.program.root / "kernel.py").write_text(KERNEL.replace("REPEATS", str(repeats)))
        return self.program.tune(*TINY, "--no-cache", "--kernels", "kernel.py", *options)


@pytest.fixture(scope="module")
def loop(shared: Callable[[], Autotune]) -> Loop:
    return Loop(shared())


def own(done: Finished) -> dict[str, dict[str, Any]]:
    records: Any = done.summary["own"]
    return {record["candidate"].removeprefix("mine.sort"): record for record in records}


def test_the_first_run_has_nothing_to_compare_with(loop: Loop) -> None:
    assert loop.first.summary["compared"]["path"] is None  # type: ignore[index]
    assert "no earlier run of 'cpu'" in str(loop.first.summary["compared"])
    assert {key: record["status"] for key, record in own(loop.first).items() if key != "(how=right)"} == {
        "(how=wrong)": "incorrect",
        "(how=raises)": "error",
    }
    assert all(record["change"] is None for record in own(loop.first).values())


def test_each_failure_has_its_reason(loop: Loop) -> None:
    found = own(loop.second)
    assert found["(how=wrong)"]["reason"].startswith("wrong on normal: misses")
    line = next(n for n, text in enumerate(KERNEL.splitlines(), 1) if "raise Not" in text)
    assert (
        found["(how=raises)"]["reason"]
        == f'NotImplementedError: no kernel yet, in File "kernel.py", line {line} in run'
    )


def test_twenty_times_as_fast_is_faster(loop: Loop) -> None:
    right = own(loop.second)["(how=right)"]
    assert loop.second.summary["compared"]["path"] == str(loop.first.path.relative_to(loop.program.root))  # type: ignore[index]
    assert right["change"]["verdict"] == "faster"
    assert right["change"]["ratio"] < 0.3
    assert right["default"]["candidate"].startswith("torch.topk")
    assert right["default"]["ratio"] > 0
    assert right["best_other"]["ratio"] > 0


def test_the_same_candidates_of_the_same_code_are_no_news(loop: Loop) -> None:
    assert own(loop.focused)["(how=right)"]["change"]["verdict"] not in ("only in A", "only in B", "status changed")


def test_focus_races_own_baselines_and_the_competitor(loop: Loop) -> None:
    (result,) = loop.focused.run.workloads
    whole = {candidate.backend for candidate in loop.second.run.workloads[0].candidates}
    others = {candidate.key for candidate in result.candidates if candidate.backend != "mine.sort"}
    baselines = {baseline.candidate for baseline in result.baselines if baseline.candidate}
    second = loop.second.run.workloads[0]
    timed = {one.key: one.median_us for one in second.candidates if one.median_us and one.backend != "mine.sort"}
    assert others == baselines | {min(timed, key=lambda key: timed[key] or 0.0)}
    assert len(whole) > len({candidate.backend for candidate in result.candidates})


def test_people_read_the_same(loop: Loop) -> None:
    asked = ("--kernels", "kernel.py", "--focus", "mine.sort", "--compare", loop.first.path.stem)
    done = loop.program("tune", "--device", "cpu", *TINY, "--no-cache", *asked, code=0)
    text = done.out[done.out.index("your kernels") :]
    assert f"compared with {loop.first.path.relative_to(loop.program.root)}; all candidates: " in text
    assert "kernel" in text
    assert "faster -" in text
    assert "mine.sort wrong: incorrect" in text
    assert "mine.sort raises: error: NotImplementedError: no kernel yet" in text
    # A result by any of its names.
    assert loop.program("diff", "previous", "latest", "--fail-on", "none", code=0).out.startswith("environment: ")
    assert "mine.sort" in loop.program("show", "cpu", "--all", code=0).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--focus", "mine"), "--focus: goes with --no-cache"),
        (("--focus", "mine", "--no-cache"), "--focus: mine means what --kernels registers"),
        (("--focus", " ", "--no-cache"), "--focus: is empty"),
        (("--focus", "torch.tpk", "--no-cache"), "--focus torch.tpk: fits no candidate"),
        (("--compare", "", "--no-cache"), "--compare: is empty"),
        (("--compare", "no-such", "--no-cache"), "no-such: no such file, folder or result"),
        (("--compare", "latest", "--no-cache"), "latest: no run in runs"),
    ],
)
def test_what_makes_no_sense_is_one_line(usage: Usage, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    done = usage("tune", "--device", "cpu", *TINY, *options)
    assert (done.code, done.out) == (2, "")
    assert words in done.err.splitlines()[-1]
    assert not list(tmp_path.glob("runs/*.json"))
