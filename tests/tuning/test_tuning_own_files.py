"""A cached result and the files that a kernel file loads: real runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import TINY, Autotune, Finished, candidates

from autotune_cli.results.files import read_run
from autotune_cli.results.journal import Journal

KEY = "topk.select 2 x 4096"
MINE = """
import importlib, os, subprocess, torch
from autotune_cli.kernels import register

@register("topk.select", name="mine.select", devices=("cpu",))
def prepare(problem):
    helper = importlib.import_module("hel" + "per")
    if os.path.exists("edit"):
        os.remove("edit")
        subprocess.run(["sh", "-c", "echo '# edited' >> '" + __file__ + "'"], check=True)
    return lambda: torch.topk(problem.scores, problem.k, largest=helper.LARGEST).indices.int()
"""


def notes(finished: Finished) -> list[str]:
    return [line for line in finished.err.splitlines() if line.startswith("note: ")]


def mine(finished: Finished) -> str:
    (result,) = finished.run.workloads
    return candidates(result)["mine.select"].status


def test_an_edit_of_what_a_kernel_file_loads_is_measured_again(autotune: Autotune) -> None:
    """The helper's name is in no source, and it is imported when the kernel is prepared."""
    file, helper = autotune.root / "mine.py", autotune.root / "helper.py"
    file.write_text(MINE)
    helper.write_text("LARGEST = True\n")
    options = (*TINY, "--kernels", file, "--backend", "mine")
    first = autotune.tune(*options)
    assert mine(first) in ("ok", "eliminated")
    assert {"file helper.py", "file mine.py"} <= set(first.run.workloads[0].identity)
    helper.write_text("LARGEST = False  # wrong and just as fast\n")
    second = autotune.tune(*options)
    assert mine(second) == "incorrect"
    (note,) = notes(second)
    assert re.fullmatch(rf"note: {KEY} .*: measured again: file helper\.py [0-9a-f]{{16}} -> [0-9a-f]{{16}}", note), (
        note
    )
    before = (autotune.root / "cache" / "cpu.json").read_bytes()
    third = autotune.tune(*options)
    assert [workload["reused"] for workload in third.summary["workloads"]] == [True]  # type: ignore[attr-defined]
    assert (autotune.root / "cache" / "cpu.json").read_bytes() == before
    assert not list(autotune.root.glob("runs/*"))


def test_an_edit_while_it_is_measured_is_noticed(autotune: Autotune) -> None:
    file = autotune.root / "mine.py"
    file.write_text(MINE)
    (autotune.root / "helper.py").write_text("LARGEST = True\n")
    (autotune.root / "edit").touch()
    options = (*TINY, "--kernels", file, "--backend", "mine")
    (note,) = notes(autotune.tune(*options))
    assert note.endswith("a file of --kernels changed while it was measured; its result will not be reused")
    (note,) = notes(autotune.tune(*options))
    assert "files changed while it was measured -> as they are now" in note
    assert "source mine.select " in note


def test_a_finished_workload_is_not_resumed_when_its_files_changed(
    usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed after the file was written and before its journal was removed: the same file, with what holds now."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "helper.py").write_text("LARGEST = True\n")
    options = ("tune", "--device", "cpu", *TINY, "--kernels", "mine.py", "--backend", "mine", "--no-cache")
    with monkeypatch.context() as killed:
        killed.setattr(Journal, "finish", lambda journal: sys.exit(9))
        assert usage(*options).code == 9
    (path,) = tmp_path.glob("runs/*.json")
    before = read_run(path)
    (tmp_path / "helper.py").write_text("LARGEST = False\n")
    resumed = usage(*options, "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert f"{before.workloads[0].key}: measured again: file helper.py" in resumed.err
    assert resumed.path == path
    assert mine(resumed) == "incorrect"
    assert list((tmp_path / "runs").iterdir()) == [path]
