"""Result files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from result_builders import result, run_file

from autotune_cli.errors import CannotWrite
from autotune_cli.results import atomic
from autotune_cli.results.atomic import remove_temporaries, write_atomic
from autotune_cli.results.files import dump_run, read_run

GOOD = run_file(result())
TEXT = dump_run(GOOD)


def test_write_makes_folders_and_keeps_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a" / "b" / "x.json", "1")
    finally:
        os.umask(old)
    assert (tmp_path / "a" / "b" / "x.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    if step == "write":
        monkeypatch.setattr(atomic, "open", lambda descriptor, _mode: _Full(descriptor, code), raising=False)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(CannotWrite) as caught:
        write_atomic(path, "new")
    monkeypatch.undo()
    assert str(caught.value) == f"can't write {path}: {os.strerror(code)[0].lower()}{os.strerror(code)[1:]}"
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


class _Full:
    """A stream whose write fails after a part, as on a full disk."""

    def __init__(self, descriptor: int, code: int) -> None:
        self._descriptor, self._code = descriptor, code

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        os.write(self._descriptor, data[:1])
        raise OSError(self._code, os.strerror(self._code))


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    """As root, a rename would replace even /dev/null. A node of our own: a failing test must not harm the machine."""
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes device nodes; the pipe below shows the same")
    with pytest.raises(CannotWrite, match="not a regular file"):
        write_atomic(device, "x")
    assert device.is_char_device()
    assert os.listdir(tmp_path) == ["null"]


def test_ctrl_c_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.json").write_text("old")

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "x.json", "new")
    assert os.listdir(tmp_path) == ["x.json"]
    assert (tmp_path / "x.json").read_text() == "old"


def test_targets_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for path, detail in [
        (tmp_path / "folder", "is a directory"),
        (tmp_path / "file" / "x.json", "not a directory"),
        (tmp_path / "loop", "too many levels of symbolic links"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / ("x" * 300), "file name too long"),
    ]:
        with pytest.raises(CannotWrite, match=detail):
            write_atomic(path, "new")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "loop", "pipe"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "x.json")
    for text in ("first", "second"):  # dangling at first
        write_atomic(tmp_path / "link", text)
        assert (tmp_path / "real" / "x.json").read_text() == text
    assert (tmp_path / "link").is_symlink()


def test_the_file_and_its_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def noting_sync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    write_atomic(tmp_path / "x.json", "1")
    assert calls == ["file", "rename", "folder"]


def test_temporaries_of_the_dead_are_removed(tmp_path: Path) -> None:
    mine = ".x.json.0123456789abcdef.tmp"
    others = [".x.json.json.0123456789abcdef.tmp", ".x.json.tmp", "x.json", ".y.json.0123456789abcdef.tmp"]
    for name in (mine, *others):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path / "x.json")
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, TEXT)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            write_atomic(path, TEXT)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(150):
            assert read_run(path) == GOOD
    finally:
        stop.set()
        for writer in writers:
            writer.join()
