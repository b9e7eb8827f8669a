"""A base install, without torch: what it holds is what pyproject.toml declares, and nothing else can be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging_project import ROOT, build, copy_of_the_project, install, run

pytest.importorskip("packaging", reason="the package packaging is not installed")
pytest.importorskip("build", reason="the package build is not installed: pip install build")
from packaging.requirements import Requirement

DATA = ROOT / "tests" / "data" / "diff"
SIDES = (DATA / "h200.20261121_073639.json", DATA / "h200.20261121_073656.json")
HEAVY = ("torch", "pandas", "triton", "scipy", "matplotlib", "flashinfer", "sgl_kernel")


def closure(requirements: list[str]) -> set[str]:
    """The distributions that requirements without extras bring, as far as they are installed here."""
    found: set[str] = set()
    open_ones = [Requirement(text) for text in requirements]
    while open_ones:
        requirement = open_ones.pop()
        if requirement.name in found or (requirement.marker is not None and not requirement.marker.evaluate()):
            continue
        found.add(requirement.name)
        open_ones += [Requirement(text) for text in distribution(requirement.name).requires or ()]
    return found


@pytest.fixture(scope="module")
def autotune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a base install in an environment of its own."""
    folder = tmp_path_factory.mktemp("base")
    project = copy_of_the_project(folder / "project")
    python = folder / "environment" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", folder / "environment", cwd=folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in closure(declared):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    build(project, folder / "built", "--wheel")
    install(python, *(folder / "built").glob("*.whl"))
    return python.with_name("autotune")


def call(program: Path, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run far from the checkout, as a user without any variable of the developer's."""
    done = subprocess.run(
        [program, *map(str, words)], cwd=program.parent, env={"PATH": "/usr/bin"}, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


@pytest.mark.parametrize("name", HEAVY)
def test_nothing_heavy_is_there(autotune: Path, name: str) -> None:
    ask = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert run(autotune.with_name("python"), "-c", ask, cwd=autotune.parent).strip() == "None"


@pytest.mark.parametrize("form", ["table", "markdown", "json", "csv"])
def test_diff_works(autotune: Path, form: str) -> None:
    assert "attention.decode" in call(autotune, "diff", *SIDES, "--format", form).stdout


def test_diff_of_repeated_sessions_works(autotune: Path) -> None:
    sides = ("--base", DATA / "*_0736*.json", "--new", DATA / "*_0737*.json")
    assert "repeated sessions" in call(autotune, "diff", *sides).stdout


def test_show_works(autotune: Path, tmp_path: Path) -> None:
    assert "attention.decode" in call(autotune, "show", SIDES[0], "--all", "--svg", tmp_path / "x.svg").stdout
    assert (tmp_path / "x.svg").stat().st_size > 1000


def test_a_run_is_read_in_python_and_a_frame_names_the_extra(autotune: Path) -> None:
    code = f"""
from autotune_cli import MissingPackage, read_run
run = read_run({str(SIDES[0])!r})
print(len(run.workloads))
try:
    run.frame()
except MissingPackage as error:
    print(error)
"""
    count, message = run(autotune.with_name("python"), "-c", code, cwd=autotune.parent).splitlines()
    assert int(count) == 4
    assert message == "a frame needs pandas, which is not installed; get it: pip install 'kernel-autotune[pandas]'"


def test_a_report_names_the_extra(autotune: Path, tmp_path: Path) -> None:
    done = call(autotune, "report", SIDES[0], "-o", tmp_path / "report.html", code=2)
    assert done.stderr == (
        "error: a report needs jinja2, which is not installed; get it: pip install 'kernel-autotune[report]'\n"
    )


def test_profile_of_a_trace_works(autotune: Path) -> None:
    assert "PASS" in call(autotune, "profile", "--from-trace", "example", "--paged").stdout
    done = call(autotune, "profile", "--from-trace", "example-ragged", "--paged", "--format", "json", code=1)
    assert json.loads(done.stdout)["exit_code"] == 1


@pytest.mark.parametrize("words", [["tune", "--device", "cpu"], ["kernels", "--device", "cpu"]], ids=lambda w: w[0])
def test_what_runs_kernels_names_the_command_that_brings_torch(autotune: Path, words: list[str]) -> None:
    done = call(autotune, *words, code=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: running kernels needs torch, which is not installed; get it: uv pip install ")
    assert set(re.findall(r"kernel-autotune\[(\w+)\]", line)) == {"cpu"}
    assert not list(autotune.parent.glob("runs*"))


def test_a_mistake_is_told_before_torch_is_missed(autotune: Path) -> None:
    assert "no-such" in call(autotune, "tune", "--device", "cpu", "--model", "no-such", code=2).stderr


def test_on_a_gpu_the_other_extra_is_named() -> None:
    from autotune_cli.commands.devices import _TORCH

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for kind, text in _TORCH.items():
        assert f"kernel-autotune[{kind}]" in text
        assert kind in extras
