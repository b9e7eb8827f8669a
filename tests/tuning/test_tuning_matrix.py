"""Every backend against every kind of input, in a real worker: what one kernel does costs no other one its verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from clocks import HangClock, ticking
from running import Autotune, Finished

from autotune_cli.commands.kernels import checked_workloads
from autotune_cli.errors import BadKernels, EmptySuite
from autotune_cli.kernels.shapes import Shape
from autotune_cli.kernels.topk import family
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.cells import Cell
from autotune_cli.tuning.check_process import CheckProcess
from autotune_cli.tuning.matrix import check_matrix
from autotune_cli.worker.protocol import WorkerSettings

FILE = str(Path(__file__).with_name("checked_kernels.py"))
TIMEOUT_S = 90
KINDS = ("normal", "plateau")


def workload(rows: int, **fields: object) -> TopkWorkload:
    given = {"operation": "topk.select", "rows": rows, "width": 4096, "k": 64, "mode": "eager", "distributions": KINDS}
    return TopkWorkload(**(given | fields))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, str], Cell]:
    """By backend, rows and case."""
    clock = HangClock(tmp_path_factory.mktemp("hangs") / "hangs", 100.0)
    worker = CheckProcess(WorkerSettings("cpu", kernel_files=(FILE,)), variables={"CHECKED_HANGS": str(clock.file)})
    told: list[int] = []
    try:
        with ticking(clock):
            found = check_matrix(
                worker,
                [workload(2), workload(3)],
                TIMEOUT_S,
                ("checked", "torch.topk", "sgl_kernel"),
                (FILE,),
                lambda each: told.append(each.rows),  # type: ignore[attr-defined]
            )
    finally:
        worker.kill()
    assert told == [2, 3]
    by_place = {(cell.candidate.key, cell.workload.rows, cell.case): cell for cell in found}  # type: ignore[attr-defined]
    assert len(by_place) == len(found)
    return by_place


RIGHT = ["checked.right", "checked.comes_after_it", "torch.topk(sorted=true)", "torch.topk(sorted=false)"]


@pytest.mark.parametrize("backend", RIGHT)
def test_a_right_backend_is_right_whatever_others_do(cells: dict[tuple[str, int, str], Cell], backend: str) -> None:
    for rows in (2, 3):
        for case in KINDS:
            cell = cells[backend, rows, case]
            assert (cell.status, cell.is_wrong) == ("ok", False), cell
            assert cell.checked.evidence is not None
            assert cell.checked.evidence.error == 0.0


def test_a_wrong_one_is_told_by_how_much_on_which_kind(cells: dict[tuple[str, int, str], Cell]) -> None:
    for rows in (2, 3):
        assert cells["checked.misses_three_on_a_plateau", rows, "normal"].status == "ok"
        wrong = cells["checked.misses_three_on_a_plateau", rows, "plateau"]
        evidence = wrong.checked.evidence
        assert evidence is not None
        # One of the three is the missing one of the plateau, the others repeat it.
        assert (wrong.status, evidence.error, evidence.limit) == ("incorrect", 5.0, 0.0), wrong
        assert "misses 3 of 64, repeats 2 in row 1" in (wrong.checked.reason or "")


def test_a_crash_is_told_of_its_case_only(cells: dict[tuple[str, int, str], Cell]) -> None:
    for rows in (2, 3):
        assert cells["checked.ends_its_process_on_a_plateau", rows, "normal"].status == "ok"
        crashed = cells["checked.ends_its_process_on_a_plateau", rows, "plateau"]
        assert crashed.status == "crashed"
        assert "SIGSEGV" in (crashed.checked.reason or "")


def test_what_hung_once_is_tried_no_more(cells: dict[tuple[str, int, str], Cell]) -> None:
    first, *others = (cells["checked.hangs", rows, case] for rows in (2, 3) for case in KINDS)
    assert first.status == "timeout"
    assert "no answer within 90 s" in (first.checked.reason or "")
    assert {cell.status for cell in others} == {"skipped"}
    assert {cell.checked.reason for cell in others} == {"not tried: it hung before"}


def test_other_failures(cells: dict[tuple[str, int, str], Cell]) -> None:
    for rows in (2, 3):
        for case in KINDS:
            assert cells["checked.raises", rows, case].status == "error"
            changed = cells["checked.overwrites_its_input", rows, case]
            assert changed.status == "incorrect"
            assert changed.checked.reason == "it changes its inputs"


def test_what_cannot_run_here_is_one_cell(cells: dict[tuple[str, int, str], Cell]) -> None:
    absent = cells["sgl_kernel.fast_topk_v2", 2, ""]
    assert absent.status == "unsupported"
    assert absent.checked.reason == "needs cuda, this is cpu"
    assert ("sgl_kernel.fast_topk_v2", 2, "normal") not in cells


def test_refusals(tmp_path: Path) -> None:
    worker = CheckProcess(WorkerSettings("cpu"))
    try:
        with pytest.raises(EmptySuite, match=r"backend 'nobody' has no candidate for these operations; those"):
            check_matrix(worker, [workload(1)], TIMEOUT_S, ("nobody",))
    finally:
        worker.kill()
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from autotune_cli.kernels import register\n"
        "@register('topk.select', name='mine.odd', knobs=lambda workload, device: 1 / 0)\n"
        "def prepare(problem): ...\n"
    )
    worker = CheckProcess(WorkerSettings("cpu", kernel_files=(str(mine),)))
    try:
        with pytest.raises(BadKernels, match=r"mine\.py: asked for its candidates: ZeroDivisionError"):
            check_matrix(worker, [workload(1)], TIMEOUT_S, kernel_files=(str(mine),))
    finally:
        worker.kill()


@pytest.fixture(scope="module")
def small() -> object:
    """The command's shapes, small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "_CHECKED", {"cpu": (Shape(5, 5000, spread="uneven"),), "cuda": ()})
        yield


@pytest.fixture(scope="module")
def judged(small: object, shared: Callable[[], Autotune]) -> Finished:
    """The command on our reference and a kernel that is wrong."""
    program = shared()
    (program.root / "mine.py").write_text(
        "import torch\n"
        "from autotune_cli.kernels import register\n"
        "@register('topk.select', name='mine.first', devices=('cpu',))\n"
        "def prepare(problem):\n"
        "    first = torch.arange(problem.k, dtype=torch.int32).expand(problem.workload.rows, -1)\n"
        "    return lambda: first.contiguous()\n"
    )
    words = ("kernels", "--check", "topk.select", "--kernels", "mine.py", "--backend", "mine,torch,flashinfer")
    return program(*words, "--device", "cpu", "--format", "json", code=1)


def test_the_command_judges_every_kind(judged: Finished) -> None:
    document = json.loads(judged.out)
    assert document["exit_code"] == 1
    by_backend: dict[str, dict[str, str]] = {}
    for row in document["checks"]:
        by_backend.setdefault(row["backend"], {})[row["case"]] = row["status"]
    kinds = {*by_backend["torch.topk"]}
    assert len(kinds) == 20  # the 19 kinds of scores, and lengths
    assert {*by_backend["torch.topk"].values(), *by_backend["torch.two_stage"].values()} == {"ok"}
    assert by_backend["mine.first"].keys() == kinds
    assert by_backend["mine.first"]["normal"] == "incorrect"
    # The best come first there, or all are equal: the judge looks at values, not at how they were found.
    assert by_backend["mine.first"]["descending"] == by_backend["mine.first"]["equal"] == "ok"
    assert by_backend["flashinfer.top_k"] == {None: "unsupported"}
    assert document["right"] + document["wrong"] == 20 * 4


def test_a_family_is_checked_where_it_has_kinds_of_input() -> None:
    """``--check topk``: of the family's operations one, an indexer's, has none."""
    assert {each.operation for each in checked_workloads("topk", "cpu")} == {"topk.select", "topk.paged", "topk.ragged"}
    assert {each.operation for each in checked_workloads("topk.paged", "cpu")} == {"topk.paged"}


def test_the_command_refuses_what_makes_no_sense(usage: Callable[..., Finished]) -> None:
    for words, said in (
        (("--check", "decode"), r"--check: attention\.decode has no kinds of input to check; those that have: topk\."),
        (("--check", "topk.indexer"), r"--check: topk\.indexer has no kinds of input to check"),
        (("--check", "attention"), r"--check: attention has no kinds of input to check; those that have: topk\."),
        (("--check", " "), r"--check: is empty"),
        (("--check", "topkk"), r"unknown operation 'topkk'"),
        (("--backend", "torch"), r"--backend: goes with --check"),
        (("--check", "topk", "--backend", "nobody"), r"unknown backend 'nobody'"),
        (("--check", "topk", "--format", "svg"), r"unknown format 'svg'"),
    ):
        done = usage("kernels", "--device", "cpu", *words)
        assert done.code == 2
        assert re.search(said, done.err), done.err
