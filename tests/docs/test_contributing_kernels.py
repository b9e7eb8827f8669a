"""docs/contributing.md on kernels: toys in exactly the files that it names, used by the command line on the CPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys"
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
LINE = '    Library("toylib", ("toylib",), ("TOYLIB_",)),\n'
ADDED = {
    "Adding a backend": ["kernels/topk/backends/toylib_sort.py"],
    "Adding an operation": [
        "kernels/sums/__init__.py",
        "kernels/sums/backends/__init__.py",
        "kernels/sums/backends/torch_sum.py",
        "kernels/sums/family.py",
        "kernels/sums/problem.py",
        "kernels/sums/workload.py",
    ],
    "Adding a model": ["kernels/models/toy-1b.toml"],
}


def named(section: str) -> list[str]:
    """Files in the first column of a section's table."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def fits(path: str, pattern: str) -> bool:
    return re.fullmatch(re.sub(r"<[a-z]+>", "[^/]+", re.escape(pattern)), path) is not None


@pytest.mark.parametrize("section", ADDED)
def test_the_page_names_every_file_of_a_toy_and_no_other(section: str) -> None:
    new = [pattern for pattern in named(section) if "<" in pattern]
    for path in ADDED[section]:
        assert any(fits(path, pattern) for pattern in new), path
    for pattern in new:
        assert any(fits(path, pattern) for path in ADDED[section]), pattern
    # What isn't new is one file, to which a line is added.
    assert [path for path in named(section) if "<" not in path] == (
        ["kernels/libraries.py"] if section == "Adding a backend" else []
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with the toys in it, and toylib beside it."""
    folder = tmp_path_factory.mktemp("toys") / "project"
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("autotune_cli", "kernels"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    # A toy is a new file, never another one.
    for path in (path for paths in ADDED.values() for path in paths):
        assert not (folder / path).exists()
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOYS / path, folder / path)
    assert sorted(path.name for path in TOYS.rglob("*.*") if path.suffix in (".py", ".toml")) == sorted(
        Path(path).name for paths in ADDED.values() for path in paths
    )
    libraries = folder / "kernels" / "libraries.py"
    text = libraries.read_text(encoding="utf-8")
    begin = "LIBRARIES = (\n"
    assert begin in text
    libraries.write_text(text.replace(begin, begin + LINE), encoding="utf-8")
    (folder / "toylib.py").write_text("def sort(scores):\n    return scores.sort(1, descending=True).indices\n")
    return folder


def autotune(project: Path, *words: str) -> str:
    """What the copy prints; the checkout's own package must not be in its way."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTOTUNE_")}
    environment |= {"PYTHONPATH": str(project), "TOYLIB_MODE": "fast", "COLUMNS": "160"}
    command = [sys.executable, "-m", "autotune_cli", *words]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_toys_are_tuned_shown_and_compared(project: Path) -> None:
    words = ("--model", "toy-1b", "--op", "rows,topk", "--batch", "2", "--context", "4096", "--scores", "normal")
    found = autotune(project, "tune", *words, "--rounds", "3", "--no-cache", "--keep-noisy", "--all")
    rows = {line.split("  ")[0].strip(): line for line in found.splitlines()}
    # The model's name, and its top-k.
    assert "wrote runs/toy-1b." in found
    assert "topk.select" in found
    # The operation: its cells, its judge.
    assert re.search(r"^sums\.rows toy +2 +4096 +eager +torch\.sum whole", found, re.MULTILINE)
    assert re.search(r"incorrect.*wrong on uniform: is off by", rows["torch.sum whole off"])
    # The backend, and its reason why not.
    assert re.search(r" (ok|eliminated|duplicate) ", rows["toylib.sort large"])
    assert "toylib sorts at most 1000 scores" in rows["toylib.sort large off"]
    assert re.search(r"^sums\.rows toy +2 +4096 ", autotune(project, "show", "latest"), re.MULTILINE)
    # The library's version and its variables are in the identity.
    (path,) = (project / "runs").glob("toy-1b.*.json")
    text = path.read_text(encoding="utf-8")
    assert '"variable TOYLIB_MODE": "fast"' in text
    assert "sums.rows 2 x 4096 eager" in autotune(project, "diff", str(path), str(path), "--format", "json")


def contracts(project: Path) -> tuple[bool, str]:
    """Are the rules on imports kept? And what import-linter says."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    return done.returncode == 0, done.stdout + done.stderr


def test_import_contracts_know_the_new_library_and_family(project: Path) -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install import-linter")
    for name in (".importlinter", "tests/packaging/import_contracts.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    kept, said = contracts(project)
    assert kept, said
    with (project / "kernels/models/catalog.py").open("a") as text:
        text.write("\n\ndef f() -> None:\n    import toylib\n")
    with (project / "kernels/sums/family.py").open("a") as text:
        text.write("\n\ndef f() -> None:\n    import torch\n")
    kept, said = contracts(project)
    assert not kept
    assert "autotune_cli.kernels.models.catalog -> toylib" in said
    assert "autotune_cli.kernels.sums.family -> torch" in said
