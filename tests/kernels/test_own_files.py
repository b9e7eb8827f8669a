"""Which files a user's kernel file is made of: found in its sources, and seen while they are loaded."""

from __future__ import annotations

import _ctypes
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from autotune_cli.kernels import source_references
from autotune_cli.kernels.own_files import closure, digest, file_digest, is_own, name_of


def k(text: str, changed: str, **others: str) -> tuple[dict[str, str], str]:
    """A kernel file, the file that changes, and others: ``pkg__a`` is pkg/a.py."""
    files = {"mine.py": text, changed: ""} if changed != "mine.py" else {"mine.py": text}
    return {**files, **{f"{name.replace('__', '/')}.py": content for name, content in others.items()}}, changed


EXTENSION = "ops.cpython-311-x86_64-linux-gnu.so"
# By kind: the files, the first of which is the kernel file, and the one whose change must show.
COUNTED: dict[str, tuple[dict[str, str], str]] = {
    "itself": k("x = 1", "mine.py"),
    "an imported module": k("import helper", "helper.py"),
    "what that imports": k("import helper", "deeper.py", helper="from deeper import f"),
    "imported inside a function": k("def prepare(p):\n    import late", "late.py"),
    "a package": k("import pkg.a.b", "pkg/a/b.py"),
    "a package's __init__": k("from pkg import a", "pkg/__init__.py", pkg__a=""),
    "a name that is a module": k("from pkg import a", "pkg/a.py"),
    "a relative import": k("import pkg.a", "pkg/b.py", pkg__a="from .b import f"),
    "a relative import of a module": k("import pkg.a", "pkg/c.py", pkg__a="from . import c"),
    "a relative import from above": k("import pkg.deep.a", "pkg/up.py", pkg__deep__a="from ..up import f"),
    "a namespace package": k("import space.a", "space/a.py"),
    "a folder put on the path": k("sys.path.insert(0, 'lib')\nimport far", "lib/far.py"),
    "a folder beside it": k("sys.path.insert(0, here + '../lib')\nimport far", "../lib/far.py"),
    "a folder nobody names": k("sys.path.insert(0, where())\nimport far.off", "some/lib/far/off.py"),
    "by importlib": k("importlib.import_module('helper')", "helper.py"),
    "by importlib, dotted": k("import_module('pkg.a')", "pkg/a.py"),
    "by its file": k("spec_from_file_location('x', here / 'sibling.py')", "sibling.py"),
    "what such a file imports": k("load('x', here / 'parts' / 'a.py')", "parts/other.py", parts__a="import other"),
    "by a name in a table": k("for n in ('fast', 'slow'): load(n)", "slow.py", fast=""),
    "run as text": k("exec(open('code.txt').read())", "code.txt"),
    "a table": k("json.load(open(here / 'data' / 'table.json'))", "data/table.json"),
    "a table of many": k("open(here / f'table_{dim}.json')", "table_64.json"),
    "a pattern": k("here.glob('*.npy')", "w.npy"),
    "CUDA beside it": k("x = 1", "kernel.cu"),
    "CUDA below it": k("x = 1", "csrc/include/tile.cuh"),
    "an extension beside it": k("x = 1", EXTENSION),
    "an extension of a helper": k("import pkg.a", "pkg/_C.so", pkg__a=""),
    "a library by its name": k("ctypes.CDLL(here / 'lib' / 'libk.so')", "lib/libk.so"),
    "PTX": k("x = 1", "k.ptx"),
    "cubins": k("x = 1", "k.cubin"),
    "a syntax that can't be read": ({"mine.py": "import broken", "broken.py": "def f(:"}, "broken.py"),
}
NOT_COUNTED: dict[str, tuple[dict[str, str], str]] = {
    "another kernel beside it": ({"mine.py": "x = 1", "other.py": ""}, "other.py"),
    "its own results": ({"mine.py": "here.glob('*.json')", "runs/a.json": ""}, "runs/a.json"),
    "a virtual environment": ({"mine.py": "x = 1", "venv/pyvenv.cfg": "", "venv/include/a.h": ""}, "venv/include/a.h"),
    "a library in a build folder": ({"mine.py": "x = 1", "build/k.so": ""}, "build/k.so"),
    "notes": ({"mine.py": "x = 1", "README.md": ""}, "README.md"),
}


def made(root: Path, files: Mapping[str, str]) -> Path:
    """The files; returns the first."""
    root = root / "own"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / next(iter(files))


def hash_of(path: Path) -> str:
    return digest(closure([path]), path.parent)


@pytest.mark.parametrize("kind", COUNTED)
def test_a_change_shows(tmp_path: Path, kind: str) -> None:
    files, changed = COUNTED[kind]
    path = made(tmp_path, files)
    before = hash_of(path)
    assert hash_of(path) == before
    (path.parent / changed).write_text("# edited")
    assert hash_of(path) != before


@pytest.mark.parametrize("kind", NOT_COUNTED)
def test_what_is_not_loaded_may_change(tmp_path: Path, kind: str) -> None:
    files, changed = NOT_COUNTED[kind]
    path = made(tmp_path, files)
    before = hash_of(path)
    (path.parent / changed).write_text("# edited")
    assert hash_of(path) == before


def test_a_package_installed_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip install -e does it: its folder is on sys.path."""
    path = made(tmp_path, {"mine.py": "def prepare(p):\n    from my_ops.core import f"})
    made(tmp_path, {"../src/my_ops/__init__.py": "", "../src/my_ops/core.py": "import torch, numpy.linalg"})
    monkeypatch.syspath_prepend(tmp_path / "src")
    names = [name_of(file, path.parent) for file in closure([path])]
    assert names == ["mine.py", "../src/my_ops/__init__.py", "../src/my_ops/core.py"]


def test_a_checkout_elsewhere_has_the_same_hash(tmp_path: Path) -> None:
    a, b, c = (
        hash_of(made(tmp_path / folder, {"mine.py": "import helper", "helper.py": text}))
        for folder, text in (("a", "y = 2"), ("b", "y = 2"), ("c", "y = 3"))
    )
    assert a == b != c


def test_what_cannot_be_read_equals_nothing(tmp_path: Path) -> None:
    gone = [tmp_path / "gone.py"]
    assert digest(gone, tmp_path) != digest(gone, tmp_path)
    assert file_digest(gone[0]) == ""


def test_installed_packages_and_this_program_are_not_the_users(tmp_path: Path) -> None:
    import autotune_cli.kernels.registry as registry

    for file in (json.__file__, pytest.__file__, registry.__file__, os.path.realpath(registry.__file__)):
        assert not is_own(Path(file)), file
    assert is_own(tmp_path / "mine.py")


def test_a_large_folder_is_not_searched_to_its_end(tmp_path: Path) -> None:
    path = made(tmp_path, {"mine.py": "import helper", "helper.py": ""})
    deep = path.parent
    for _ in range(12):
        deep /= "d"
        deep.mkdir()
        (deep / "k.cu").touch()
    assert {"mine.py", "helper.py"} < {file.name for file in closure([path])}
    assert len(closure([path])) < 10


LOADS = """
import ctypes, importlib, importlib.util, json, os, sys, time
from pathlib import Path
from autotune_cli.kernels import own_files
own_files.watch(time.time())
here = sys.argv[1]
sys.path.append(here)
sys.path.append(here + "/packed.zip")
exec(compile(open(here + "/mine.py").read(), here + "/mine.py", "exec"))
names = {own_files.name_of(path, here): text for path, text in own_files.loaded({Path(here)}).items()}
print(json.dumps(names))
"""
MINE = """
importlib.import_module("computed" + "_name")
spec = importlib.util.spec_from_file_location("late", here + "/parts/la" + "te.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))
sys.modules["late"] = importlib.util.module_from_spec(spec)
import zipped
open(here + "/da" + "ta.bin", "rb").read()
os.close(os.open(here + "/raw.bin", os.O_RDONLY))
open(here + "/.hidden", "rb").read()
open(here + "/out.txt", "w").write("1")
open(here + "/out.txt").read()
open(here + "/made.bin").read()
ctypes.CDLL(here + "/lib" + "k.so")
"""


def loaded_by(folder: Path) -> dict[str, str]:
    command = [sys.executable, "-c", LOADS, str(folder)]
    names = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert isinstance(names, dict)
    return names


def test_what_is_loaded_is_seen_however_it_is_named(tmp_path: Path) -> None:
    names = ("computed_name.py", "parts/late.py", "data.bin", "raw.bin", ".hidden")
    folder = made(tmp_path, {"mine.py": MINE, **dict.fromkeys(names, "")}).parent
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.writestr("zipped.py", "x = 1")
    (folder / "libk.so").write_bytes(Path(_ctypes.__file__).read_bytes())
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (folder / "made.bin").write_text("compiled in this run")
    os.utime(folder / "made.bin", (4e9, 4e9))
    found = loaded_by(folder)
    assert sorted(found) == [
        "computed_name.py", "data.bin", "libk.so", "mine.py", "packed.zip", "parts/late.py", "raw.bin",
    ]  # fmt: skip
    assert found["data.bin"] == file_digest(folder / "data.bin")


def test_what_compilers_keep_is_not_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and libraries from caches: hidden ones, those that a variable names, the folder for temporary files."""
    places = {"hidden": ".cache/a", "kept": "kept/b", "scratch": "scratch/c"}
    text = "".join(f"sys.path.append(here + '/../{place}'[:-1])\n" for place in places.values())
    text = "for n in ('.cache/a', 'kept/b', 'scratch/c'):\n    sys.path.append(here + '/../' + n)\n"
    text += "import hidden, kept, scratch\n"
    folder = made(tmp_path, {"mine.py": text}).parent
    for name, place in places.items():
        made(tmp_path, {f"../{place}/{name}.py": ""})
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    assert list(loaded_by(folder)) == ["mine.py"]
    monkeypatch.delenv("TRITON_CACHE_DIR")
    assert list(loaded_by(folder)) == ["../kept/b/kept.py", "mine.py"]


def test_a_kernel_file_among_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others put below that folder, compilers among them, is not its."""
    path = made(tmp_path, {"mine.py": "import helper", "helper.py": "", "inductor/a/k.cpp": "", "k.cu": ""})
    monkeypatch.setattr(source_references, "temporary", lambda: str(path.parent))
    assert [file.name for file in closure([path])] == ["helper.py", "k.cu", "mine.py"]
    monkeypatch.setenv("TMPDIR", str(path.parent))
    path.write_text("import sys\nsys.path.append(here + '/inductor/a')\nimport helper, made")
    (path.parent / "inductor" / "a" / "made.py").touch()
    assert sorted(loaded_by(path.parent)) == ["helper.py", "mine.py"]


def test_a_module_that_is_newer_than_the_process_was_changed(tmp_path: Path) -> None:
    folder = made(tmp_path, {"mine.py": "import helper", "helper.py": ""}).parent
    os.utime(folder / "helper.py", (4e9, 4e9))
    assert loaded_by(folder)["helper.py"] == "changed while it was measured"
