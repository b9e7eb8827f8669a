"""Each extra resolves, under uv for Python 3.11 to 3.13 and under pip, to packages that fit. Nothing is downloaded.

Both read the metadata of wheels alone, parts of files of hundreds of MB. Skipped where no package index is reached.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip("packaging", reason="the package packaging is not installed")
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = {"": [], **PROJECT["optional-dependencies"]}
PYTHONS = ("3.11", "3.12", "3.13")
BY_PIP = ("cuda", "cuda-torch211")
CUDA = sorted(extra for extra in EXTRAS if extra.startswith("cuda"))
# The oldest Linux whose wheels uv is to take: what torch's are built for.
PLATFORM = "x86_64-manylinux_2_28"
# pip wants each older one named as well.
TAGS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
TAGS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
# Before, a dry run downloads all that it would install.
READS_METADATA_ALONE = Version("23.3")
PATIENCE_S = 120

Answer = dict[str, Version] | str


def uv_program() -> str:
    """Where uv is: beside this Python or on the path."""
    found = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip("uv is not installed: pip install uv")
    return found


def ask(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A run of the program; one that takes too long has failed."""
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"timed out after {PATIENCE_S} s")


def by_uv(uv: str, requirements: list[str], where: tuple[str, ...], cache: Path) -> str | list[Requirement]:
    """What uv would install, each with the marker of where it is for, or its complaint."""
    options = ("--no-build", "--no-header", "--no-annotate", "--quiet", "--no-python-downloads", "--no-config")
    done = ask(
        uv,
        "pip",
        "compile",
        *options,
        "--python",
        sys.executable,
        *where,
        "--cache-dir",
        str(cache),
        "-",
        given="\n".join(requirements),
    )
    return done.stderr if done.returncode else [Requirement(line) for line in done.stdout.splitlines()]


def of_python(found: str | list[Requirement], python: str) -> Answer:
    """Those that a Python on this platform gets."""
    if isinstance(found, str):
        return found
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    here |= {"platform_machine": "x86_64", "platform_system": "Linux", "implementation_name": "cpython"}
    fits = [each for each in found if each.marker is None or each.marker.evaluate(here)]
    return {canonicalize_name(each.name): Version(str(each.specifier).removeprefix("==")) for each in fits}


def by_pip(requirements: list[str], python: str, folder: Path) -> Answer:
    """What pip would install, or its complaint. ``fast-deps`` reads metadata by parts of wheels."""
    report = folder / "report.json"
    options = ("--dry-run", "--quiet", "--use-feature=fast-deps", "--ignore-installed", "--only-binary=:all:")
    where = ("--target", str(folder), f"--python-version={python}", *(f"--platform={tag}" for tag in TAGS))
    done = ask(sys.executable, "-m", "pip", "install", *options, *where, f"--report={report}", *requirements)
    if done.returncode:
        return done.stderr
    found = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    return {canonicalize_name(each["name"]): Version(each["version"]) for each in found}


def wanted(extra: str) -> list[str]:
    return [*PROJECT["dependencies"], *EXTRAS[extra]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Answer]:
    """By program, extra and Python. Asked side by side, as most of the time goes by waiting.

    The extras that bring CUDA are asked for each Python by itself, as the choice of one package can spoil another's
    there; the others at once for all, which uv answers with markers.
    """
    uv, cache = uv_program(), tmp_path_factory.mktemp("uv")
    reached = by_uv(uv, ["typing-extensions"], ("--universal",), cache)
    if isinstance(reached, str):
        pytest.skip(f"no package index is reached: {reached.strip().splitlines()[-1]}")
    pips: dict[str, Future[Answer]] = {}
    each_python: dict[tuple[str, str], Future[str | list[Requirement]]] = {}
    all_pythons: dict[str, Future[str | list[Requirement]]] = {}
    with ThreadPoolExecutor(6) as pool:
        if Version(version("pip")) >= READS_METADATA_ALONE:
            for extra in BY_PIP:
                folder = tmp_path_factory.mktemp("pip")
                pips[extra] = pool.submit(by_pip, wanted(extra), "3.12", folder)
        for extra, python in product(CUDA, PYTHONS):
            where = ("--python-version", python, "--python-platform", PLATFORM)
            each_python[extra, python] = pool.submit(by_uv, uv, wanted(extra), where, cache)
        for extra in EXTRAS.keys() - set(CUDA):
            where = ("--universal", "--python-version", PYTHONS[0])
            all_pythons[extra] = pool.submit(by_uv, uv, wanted(extra), where, cache)
    found: dict[tuple[str, str, str], Answer] = {("pip", extra, "3.12"): each.result() for extra, each in pips.items()}
    for extra, python in product(EXTRAS, PYTHONS):
        asked = each_python[extra, python] if extra in CUDA else all_pythons[extra]
        found["uv", extra, python] = of_python(asked.result(), python)
    return found


def packages(answer: Answer) -> dict[str, Version]:
    """The answer, unless it is a complaint. One on the way to the index says nothing of the packages."""
    if isinstance(answer, str):
        if re.search(r"error sending request|timed out|dns error|Connection ?(Error|aborted|reset|refused)", answer):
            pytest.skip(f"the package index was not reached: {answer.strip().splitlines()[-1]}")
        pytest.fail(answer)
    return answer


def fits(extra: str, found: dict[str, Version]) -> None:
    """The CUDA packages are ones that belong together."""
    # cuda-python is a name for cuda-bindings; before 12.8 it has the same files as it (checked in its wheels).
    assert found["cuda-python"] >= Version("12.8")
    assert found["cuda-python"].release[:2] == found["cuda-bindings"].release[:2]
    assert ("sglang-kernel" in found) != ("sgl-kernel" in found)
    torch = found["torch"].release[:2]
    match = re.fullmatch(r"cuda-torch(\d)(\d+)", extra)
    if match is not None:
        assert torch == (int(match[1]), int(match[2]))
    else:
        # From the wheels' own requirements; a later sglang-kernel names its torch itself.
        first = {Version("0.4.7"): (2, 13), Version("0.4.8"): (2, 13), Version("0.4.9"): (2, 14)}
        assert torch == first.get(found["sglang-kernel"], torch)
        assert torch >= (2, 13)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", list(EXTRAS), ids=lambda extra: extra or "base")
def test_an_extra_resolves_under_uv(answers: dict[tuple[str, str, str], Answer], extra: str, python: str) -> None:
    found = packages(answers["uv", extra, python])
    if extra in CUDA:
        fits(extra, found)
    elif extra == "cpu":
        assert "torch" in found
    else:
        assert not found.keys() & {"torch", "triton", "flashinfer-python"}
        assert {name for name in found if name.startswith(("nvidia-", "cuda-"))} <= {"nvidia-ml-py"}


@pytest.mark.parametrize("extra", BY_PIP)
@pytest.mark.skipif(
    Version(version("pip")) < READS_METADATA_ALONE, reason="this pip downloads wheels: pip install --upgrade pip"
)
def test_an_extra_with_cuda_resolves_under_pip(answers: dict[tuple[str, str, str], Answer], extra: str) -> None:
    fits(extra, packages(answers["pip", extra, "3.12"]))


def test_the_base_install_is_a_few_packages(answers: dict[tuple[str, str, str], Answer]) -> None:
    assert len(packages(answers["uv", "", "3.12"])) <= 20
