"""No folder for temporary files: on a full disk, a read-only one, with a TMPDIR that isn't there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from running import TINY, Autotune, Finished

from autotune_cli.worker import temporary

# As where neither /tmp nor the current folder can be written. The tests may run as root, who can.
NOWHERE = """
import os, tempfile
tempfile._candidate_tempdir_list = lambda: [os.environ[name] for name in ("TMPDIR",) if name in os.environ]
"""


def test_memory_stands_in_for_a_folder(autotune: Autotune, tmp_path: Path) -> None:
    """Also in the worker: torch looks for one when it is imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOWHERE)
    gone = {"PYTHONPATH": str(tmp_path / "site"), "TMPDIR": str(tmp_path / "gone")}
    finished = autotune.with_variables(**gone).tune(*TINY, "--no-cache", "--backend", "torch.topk")
    assert finished.run.complete
    assert finished.run.workloads[0].choice is not None


def test_nothing_can_be_written_anywhere(
    usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    monkeypatch.setattr(temporary, "_MEMORY", str(tmp_path / "gone"))
    finished = usage("tune", "--device", "cpu", *TINY, "--no-cache")
    assert finished.code == 4
    (line,) = finished.err.splitlines()
    assert line.startswith("error: can't write temporary files: neither TMPDIR nor /tmp nor the current folder")
