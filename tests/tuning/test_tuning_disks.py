"""Folders that can't be written, and a disk that is full in the middle of a run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import TINY, Autotune, Finished


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a memory file system with these options."""
    folder = tmp_path / "disk"

    def mounted(options: str) -> Path:
        folder.mkdir(exist_ok=True)
        action = "remount," if os.path.ismount(folder) else ""
        command = ["mount", "-t", "tmpfs", "-o", action + options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"can't mount a file system here: {done.stderr.strip()}")
        return folder

    yield mounted
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("option", ["--cache", "--no-cache"])
def test_a_read_only_root(usage: Callable[..., Finished], mount: Callable[[str], Path], option: str) -> None:
    root = mount("ro,size=1m")
    finished = usage("tune", *TINY, option, "--root", root)
    assert finished.code == 4
    assert finished.err.splitlines()[-1] == f"error: can't write {root}/runs: read-only file system"


def test_a_root_below_a_file(usage: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finished = usage("tune", *TINY, "--root", tmp_path / "file" / "root")
    assert finished.code == 4
    assert finished.err.splitlines()[-1] == f"error: can't write {tmp_path}/file/root/cache/cpu.json: not a directory"


def test_a_full_disk_loses_nothing_that_was_measured(autotune: Autotune, mount: Callable[[str], Path]) -> None:
    """16 KiB hold the journal's header and a few records."""
    root = mount("size=16k")
    command = ("tune", *TINY, "--json", "--root", root)
    finished = autotune(*command, code=4)
    assert finished.out == ""
    last = finished.err.splitlines()[-1]
    assert last.startswith("error: can't write ")
    assert last.endswith("no space left on device")
    (journal,) = root.glob("runs/.*.journal")
    records = journal.read_bytes()
    assert records.count(b'"record": "vetted"') >= 1
    assert records.endswith(b"\n")
    mount("size=10m")
    resumed = autotune(*command, "--resume", code=0)
    assert resumed.run.complete
    assert not list(root.glob("runs/.*.journal"))
    assert list(root.rglob("*.tmp")) == []
