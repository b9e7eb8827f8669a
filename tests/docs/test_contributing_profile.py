"""docs/contributing.md, followed: a toy path, a toy phase and a toy way of padding in a copy of the program, in exactly
the files that the page names, used through the command line. The GPU is hidden: what is planned ends with exit 4.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "packaging"))
from packaging_project import copy_of_the_project
from pages import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
PLANNED = 4

TOY = '''"""What a toy serves with."""

from __future__ import annotations

from autotune_cli.errors import BadField
from autotune_cli.profiling.path import PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.request import PathRequest, PhaseName, CandidateSpec


def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
    if request.mode != "extend":
        raise BadField(field="mode", detail="a toy only extends")
    return PhasePlan(phase, CandidateSpec("torch.sdpa"), "any", writes="before")


RULES = PathRules(plan, ("eager",), {"breakable": ("narrow",)})
'''


def files_of(section: str) -> list[str]:
    """The first column of the section's first table."""
    text = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    table = text.split("| file | what |\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)


class Copy:
    """A copy of the program whose files are edited."""

    def __init__(self, folder: Path) -> None:
        self.root = copy_of_the_project(folder / "project")
        self.edited: set[str] = set()

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
        (self.root / name).write_text(text.replace(old, new), encoding="utf-8")
        self.edited.add(name)

    def create(self, name: str, text: str) -> None:
        assert not (self.root / name).exists()
        (self.root / name).write_text(text, encoding="utf-8")
        self.edited.add(name)

    def python(self, *words: str, code: int) -> str:
        """What a Python of the copy says on stderr."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AUTOTUNE_"))}
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.root.parent,
            env=kept | {"PYTHONPATH": str(self.root), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def profile(self, *words: str, code: int) -> str:
        return self.python("-m", "autotune_cli", "profile", *words, code=code)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_toy_path(copy: Copy) -> None:
    file, planning = files_of("Adding a live path to `autotune profile`")
    file = file.replace("NAME", "toy")
    copy.create(file, TOY)
    copy.replace(planning, "import candidate, fa3, flashinfer\n", "import candidate, fa3, flashinfer, toy\n")
    copy.replace(planning, "FA3: fa3.RULES}", 'FA3: fa3.RULES, "toy": toy.RULES}')
    assert copy.edited == {file, planning}
    assert "no NVIDIA GPU" in copy.profile("--backend", "toy", "--phases", "eager,breakable", code=PLANNED)
    assert copy.profile("--backend", "toy", "--mode", "decode", code=2) == "error: --mode: a toy only extends\n"


def test_a_toy_phase(copy: Copy) -> None:
    request, path, run = files_of("Adding a phase to `autotune profile`")
    copy.replace(request, '"piecewise", "breakable"]', '"piecewise", "breakable", "again"]')
    copy.replace(
        path, '("eager", "capture", "replay", "piecewise")', '("eager", "capture", "replay", "piecewise", "again")'
    )
    # It is launched as an eager one is.
    assert copy.edited | {run} == {request, path, run}
    assert "no NVIDIA GPU" in copy.profile("--phases", "eager,again", code=PLANNED)
    assert "(known: eager, capture, replay, piecewise, breakable, again)" in copy.profile("--phases", ",", code=2)


def test_a_toy_padding(copy: Copy) -> None:
    padding, step, path = files_of("Adding an engine's padding rule")
    copy.replace(padding, 'Literal["fake-request", "narrow"]', 'Literal["fake-request", "narrow", "twice"]')
    copy.replace(
        padding,
        "    faults = []\n",
        "    faults = []\n"
        '    if mode == "twice" and static_tokens != 2 * plan.tokens:\n'
        '        faults.append(f"{static_tokens} tokens are not twice {plan.tokens}")\n',
    )
    copy.replace(path, '("fake-request", "narrow")', '("fake-request", "narrow", "twice")')
    # The batch is prepared as a narrowed one is.
    assert copy.edited | {step} == {padding, path, step}
    assert "no NVIDIA GPU" in copy.profile("--pad-mode", "twice", code=PLANNED)
    refused = copy.profile("--backend", "fa3", "--phases", "piecewise", "--pad-mode", "twice", code=2)
    assert refused == "error: --pad-mode: twice is not how --backend fa3 pads (known: narrow)\n"
    script = (
        "import numpy as np\n"
        "from autotune_cli.sglang.padding import PagedMetadata, padding_faults\n"
        "plan = PagedMetadata(*(np.array(v, dtype=np.int32) for v in ([0, 2], [0, 2], [1, 2], [1])))\n"
        "assert padding_faults(plan, plan, 4, 'twice') == []\n"
        "assert padding_faults(plan, plan, 5, 'twice') == ['5 tokens are not twice 2']\n"
    )
    copy.python("-c", script, code=0)
