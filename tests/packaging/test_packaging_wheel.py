"""What is built, what is installed from it, and that nothing called ``kernels`` is."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from packaging_project import build, copy_of_the_project, install, run

from autotune_cli import __version__

pytest.importorskip("build", reason="the package build is not installed: pip install build")

# What every installation of the package must print, run far from the checkout: where the kernels come from.
WHERE = """
import importlib.util, pathlib
import autotune_cli.kernels, autotune_cli.kernels.models as models
assert importlib.util.find_spec("kernels") is None, "a top-level module kernels is importable"
assert "llama-3.1-8b" in models.model_names()
assert models.load_model("mistral-7b-v0.1").layers  # reads the tables of models/known
print(pathlib.Path(autotune_cli.kernels.__file__).resolve())
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for reading and building, in a folder whose name has a space."""
    return copy_of_the_project(tmp_path_factory.mktemp("packaging") / "the project")


@pytest.fixture(scope="session")
def built(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The wheel of the checkout, the sdist, and the wheel that is made from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    build(project, folder / "direct", "--wheel")
    build(project, folder / "through")
    (direct,), (through,) = (list((folder / name).glob("*.whl")) for name in ("direct", "through"))
    (sdist,) = (folder / "through").glob("*.tar.gz")
    return direct, sdist, through


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="session")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to all that is installed here, but for this project and anything called ``kernels``."""
    folder = tmp_path_factory.mktemp("dependencies")
    for place in map(Path, sys.path):
        if place.is_dir() and any(place.glob("*.dist-info")):
            for entry in place.iterdir():
                ours = entry.name.startswith(("autotune_cli", "kernel_autotune", "kernels", "__editable__"))
                if not ours and entry.suffix != ".pth" and not (folder / entry.name).is_symlink():
                    (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def environment(dependencies: Path, tmp_path: Path) -> Path:
    """A new environment's Python, to which our dependencies are known."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "environment", cwd=tmp_path)
    python = tmp_path / "environment" / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(site) / "dependencies.pth").write_text(f"{dependencies}\n")
    return python


def test_a_wheel_has_one_package(built: tuple[Path, Path, Path]) -> None:
    top = {name.split("/")[0] for name in names(built[0])}
    assert top == {"autotune_cli", f"kernel_autotune-{__version__}.dist-info"}


def test_a_wheel_has_every_file_once(built: tuple[Path, Path, Path], project: Path) -> None:
    found = Counter(names(built[0]))
    assert set(found.values()) == {1}
    wanted = {str(path.relative_to(project)) for path in (project / "autotune_cli").glob("**/*.py")}
    wanted = {path for path in wanted if not path.startswith("autotune_cli/kernels/")}
    wanted |= {f"autotune_cli/{path.relative_to(project)}" for path in (project / "kernels").glob("**/*.py")}
    models = [f"autotune_cli/{path.relative_to(project)}" for path in (project / "kernels/models").glob("**/*.toml")]
    assert len(models) >= 8
    engines = [f"autotune_cli/{path.relative_to(project)}" for path in (project / "kernels/engines").glob("*.toml")]
    assert len(engines) >= 3
    engines += [str(path.relative_to(project)) for path in (project / "autotune_cli/traffic/engines").glob("*.toml")]
    assert len(engines) >= 5
    servers = [str(path.relative_to(project)) for path in (project / "autotune_cli/planning").glob("servers/*.toml")]
    assert len(servers) >= 3
    cuda = [f"autotune_cli/{path.relative_to(project)}" for path in (project / "kernels").glob("**/*.cu*")]
    assert len(cuda) >= 5
    profiling = project / "autotune_cli/profiling"
    data = [path for kind in ("rules/*.toml", "presets/*.toml", "examples/*.json.gz") for path in profiling.glob(kind)]
    assert len(data) >= 15
    data += (project / "autotune_cli/report/assets").iterdir()
    wanted |= {
        "autotune_cli/py.typed",
        *cuda,
        *models,
        *engines,
        *servers,
        *(str(path.relative_to(project)) for path in data),
    }
    assert {name for name in found if ".dist-info/" not in name} == wanted


def test_a_wheel_made_from_the_sdist_is_the_same(built: tuple[Path, Path, Path]) -> None:
    direct, sdist, through = built
    assert sorted(names(through)) == sorted(names(direct))
    with tarfile.open(sdist) as archive:
        members = archive.getnames()
    assert len(members) == len(set(members))
    assert not [name for name in members if "/autotune_cli/kernels" in name]


def test_an_installed_wheel_runs(built: tuple[Path, Path, Path], environment: Path, tmp_path: Path) -> None:
    install(environment, built[0])
    where = Path(run(environment, "-c", WHERE, cwd=tmp_path).strip())
    assert where.is_relative_to(environment.parents[1])
    autotune = environment.with_name("autotune")
    assert run(autotune, "--version", cwd=tmp_path).strip() == f"kernel-autotune {__version__}"
    assert "tune" in run(autotune, "--help", cwd=tmp_path)
    assert run(environment, "-m", "autotune_cli", "--version", cwd=tmp_path).strip().endswith(__version__)


def test_an_editable_install_runs_the_checkout(environment: Path, tmp_path: Path) -> None:
    own_project = copy_of_the_project(tmp_path / "project")
    install(environment, "--editable", own_project)
    where = Path(run(environment, "-c", WHERE, cwd=tmp_path).strip())
    assert where == own_project / "kernels" / "__init__.py"
    with (own_project / "kernels" / "registry.py").open("a") as file:
        file.write("\nEDITED = True\n")
    ask = "from autotune_cli.kernels.registry import EDITED; print(EDITED)"
    assert run(environment, "-c", ask, cwd=tmp_path).strip() == "True"


# A registered function stays what it was.
ASKS = """
from autotune_cli.kernels.registry import Device, register

reveal_type(Device("cpu", "a CPU").capability)

@register("topk.select", name="a.b", knobs={"block": (1, 2)})
def prepare(problem: bytes, *, block: int) -> str:
    return ""

reveal_type(prepare)
"""


@pytest.mark.parametrize("place", ["checkout", "wheel"])
def test_mypy_knows_the_kernels(
    built: tuple[Path, Path, Path], project: Path, environment: Path, tmp_path: Path, place: str
) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
    (tmp_path / "asks.py").write_text(ASKS)
    if place == "wheel":
        install(environment, built[0])
    cwd = project if place == "checkout" else tmp_path
    options = ("--strict", "--cache-dir", tmp_path / "cache", "--config-file", os.devnull, "--follow-imports", "silent")
    said = run(
        sys.executable, "-m", "mypy", *options, "--python-executable", environment, tmp_path / "asks.py", cwd=cwd
    )
    assert 'Revealed type is "tuple[int, int] | None"' in said
    assert 'Revealed type is "def (problem: bytes, *, block: int) -> str"' in said
