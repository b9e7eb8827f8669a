"""FlashInfer's own autotuner in a run: what it chooses, where that is kept, and what the run says of it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import TINY, Autotune

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, decode, result, run_file

from autotune_cli.render.run_markdown import run_markdown
from autotune_cli.results.schema import FlashinferChoices
from autotune_cli.tuning.flashinfer_choices import FlashinferFiles, join
from autotune_cli.worker import flashinfer_tuner
from autotune_cli.worker.flashinfer_tuner import tuned_by_flashinfer
from autotune_cli.worker.protocol import WorkerSettings

HERE = Path(__file__).parent
KEY = "('gemm', 'FakeRunner', ((1, 2),), (torch.bfloat16,))"
MINE = ("--kernels", HERE / "flashinfer_kernels.py", "--backend", "flashinfer.mine", *TINY)


def document(gpu: str = "a card", **choices: Any) -> dict[str, Any]:
    return {"_metadata": {"flashinfer_version": "0.6.18", "gpu": gpu}, **choices}


def of_runner(tactic: int) -> list[object]:
    return ["FakeRunner", tactic]


@pytest.fixture(scope="module")
def program(shared: Callable[[], Autotune]) -> Autotune:
    program = shared()
    log = program.root / "tactics"
    program.variables |= {"PYTHONPATH": str(HERE / "fake_flashinfer"), "FLASHINFER_LOG": str(log)}
    return program


def tactics(program: Autotune) -> list[int]:
    """Those that calls of the tunable candidate had since the last look."""
    log = program.root / "tactics"
    found = [int(line) for line in log.read_text().split()]
    log.unlink()
    return found


def test_what_flashinfer_can_tune_is_tuned_before_it_is_timed(program: Autotune) -> None:
    done = program.tune(*MINE)
    assert done.run.flashinfer == FlashinferChoices(file="cache/cpu.flashinfer.json", choices=1, new=1)
    kept = json.loads((program.root / "cache" / "cpu.flashinfer.json").read_text())
    assert kept == document(**{KEY: of_runner(3)})
    # Edge cases first, with the fallback, or tuned from the first call on.
    seen = tactics(program)
    assert seen[-1] == 3
    assert seen.index(3) < len(seen) // 2
    shown = program("show", done.path).out
    assert "FlashInfer's own autotuner: 1 choice, 1 of them new, in cache/cpu.flashinfer.json" in shown
    assert "1 choice, 1 of them new" in program("show", done.path, "--format", "markdown").out


def test_the_next_run_begins_with_what_is_kept(program: Autotune) -> None:
    file = program.root / "cache" / "cpu.flashinfer.json"
    file.write_text(json.dumps(document(**{KEY: of_runner(1)})))
    done = program.tune(*MINE, "--batch", "3")
    assert done.run.flashinfer == FlashinferChoices(file="cache/cpu.flashinfer.json", choices=1, new=0)
    assert set(tactics(program)) == {1}


def test_without_the_cache_the_file_is_the_runs(program: Autotune) -> None:
    kept = (program.root / "cache" / "cpu.flashinfer.json").read_text()
    (program.root / "cache" / "cpu.flashinfer.json").write_text(kept.replace("3", "2"))
    done = program.tune(*MINE, "--no-cache")
    found = done.run.flashinfer
    assert found is not None
    assert found.file == f"runs/{done.path.stem}.flashinfer.json"
    assert json.loads((program.root / found.file).read_text()) == document(**{KEY: of_runner(3)})
    # Neither read nor written.
    assert (program.root / "cache" / "cpu.flashinfer.json").read_text() == kept.replace("3", "2")
    assert 2 not in tactics(program)
    # No result, for those who look for results.
    listed = program("list").out
    assert "flashinfer" not in listed
    assert program("show", "runs").code == 0
    assert program("diff", program.root / found.file, program.root / found.file).code == 0


def test_where_nothing_is_tunable_the_run_says_so_and_names_no_file(tmp_path: Path) -> None:
    files = FlashinferFiles(None)
    try:
        ours = result(decode(), candidate("fast", 20.0, backend="flashinfer.decode"))
        other = result(decode(), candidate("fast", 20.0, backend="torch.sdpa"))
        for results, found in (((ours, other), FlashinferChoices()), ((other,), None), ((), None)):
            assert files.save(tmp_path / "x.flashinfer.json", tmp_path, results, pytest.fail) == found
        assert not list(tmp_path.iterdir())
    finally:
        files.close()
    run = run_file(ours).model_copy(update={"flashinfer": FlashinferChoices()})
    assert "FlashInfer's own autotuner found nothing to tune in these operations" in run_markdown(run)
    assert "autotuner" not in run_markdown(run_file(ours)).replace("### autotune", "")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake in this process, where no other test finds it."""
    monkeypatch.syspath_prepend(str(HERE / "fake_flashinfer"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "flashinfer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(flashinfer_tuner, "_usable", set())
    yield importlib.import_module("flashinfer.autotuner").AutoTuner.get()
    for name in ("flashinfer", "flashinfer.autotuner"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("content", [json.dumps(document("another card", **{KEY: of_runner(1)})), "{", None])
def test_a_worker_begins_anew_where_its_choices_cant_be_used(tmp_path: Path, fake: Any, content: str | None) -> None:
    """Else FlashInfer, which doesn't write over a file of another environment, would keep nothing."""
    path = tmp_path / "0.json"
    if content is not None:
        path.write_text(content)
    for _ in range(2):
        with tuned_by_flashinfer(str(path)):
            assert fake.choose_one("gemm", 4) == 3
    assert fake.choose_one("gemm", 4) == 3
    assert fake.choose_one("moe", 4) == -1
    assert json.loads(path.read_text()) == {**document(**{KEY: of_runner(3)}), "_generation": "sum"}


def test_a_fault_inside_is_raised_and_ends_the_tuning(tmp_path: Path, fake: Any) -> None:
    with pytest.raises(ValueError, match="mine"), tuned_by_flashinfer(str(tmp_path / "0.json")):
        raise ValueError("mine")
    assert fake.choose_one("gemm", 4) == -1


def test_a_full_disk_is_no_fault_of_the_candidate(tmp_path: Path, fake: Any) -> None:
    with tuned_by_flashinfer(str(tmp_path / "missing" / "0.json")):
        fake.choose_one("gemm", 4)
    assert fake.choose_one("gemm", 4) == 3


def test_choices_of_another_environment_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "x.flashinfer.json"
    target.write_text(json.dumps(document("another card", **{KEY: of_runner(1)})))
    files = FlashinferFiles(target)
    said: list[str] = []
    try:
        path = files.settings(WorkerSettings("cpu"), 0).flashinfer_choices
        assert path is not None
        Path(path).write_text(json.dumps(document(**{KEY: of_runner(3)})))
        found = files.save(target, tmp_path, (), said.append)
    finally:
        files.close()
    assert found == FlashinferChoices(file="x.flashinfer.json", choices=1, new=1)
    assert json.loads(target.read_text()) == document(**{KEY: of_runner(3)})
    assert said == [f"{target}: FlashInfer's choices of another environment (gpu) are replaced"]


def test_files_of_several_workers_are_joined(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "x.flashinfer.json"
    files = FlashinferFiles(None)
    try:
        paths = [files.settings(WorkerSettings("cpu"), number).flashinfer_choices for number in range(3)]
        assert len({*paths}) == 3
        for path, choices in zip(paths, ({"(1)": of_runner(1)}, {"(2)": of_runner(2)}, None), strict=True):
            if choices is not None and path is not None:
                Path(path).write_text(json.dumps({**document(**choices), "_generation": path}))
        said: list[str] = []
        found = files.save(target, tmp_path, (), said.append)
        assert found == FlashinferChoices(file="runs/x.flashinfer.json", choices=2, new=2)
        assert json.loads(target.read_text()) == document(**{"(1)": of_runner(1), "(2)": of_runner(2)})
        # What another run has added meanwhile stays.
        target.write_text(json.dumps(document(**{"(2)": of_runner(9), "(3)": of_runner(3)})))
        files.save(target, tmp_path, (), said.append)
        choices = {"(1)": of_runner(1), "(2)": of_runner(2), "(3)": of_runner(3)}
        assert json.loads(target.read_text()) == document(**choices)
        assert said == []
    finally:
        files.close()
    assert not any(path and Path(path).exists() for path in paths)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema_version": 2}', '{"(1)": 5}'])
def test_a_file_that_is_none_of_flashinfers_is_no_choice(tmp_path: Path, content: str) -> None:
    known = tmp_path / "known.json"
    known.write_text(content)
    files = FlashinferFiles(known)
    try:
        path = files.settings(WorkerSettings("cpu"), 0).flashinfer_choices
        assert path is not None
        assert not Path(path).exists()
        Path(path).write_text(content)
        assert files.save(tmp_path / "x.json", tmp_path, (), pytest.fail) is None
    finally:
        files.close()


def test_of_metadata_that_differs_the_later_choices_count() -> None:
    old, new = document("old", **{"(1)": of_runner(1)}), document("new", **{"(2)": of_runner(2)})
    assert join([old, new]) == new
    assert join([old, document("*", **{"(2)": of_runner(2)})]) == {**old, **document("*"), "(2)": of_runner(2)}
    records = {"_records": {"a": {"x": 1}}}, {"_records": {"b": {"y": 2}}}
    assert join([old | records[0], old | records[1]])["_records"] == {"a": {"x": 1}, "b": {"y": 2}}
