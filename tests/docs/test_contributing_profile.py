"""docs/contributing.md, followed: toys of what `profile` has in a copy of the program, in exactly
the files that the page names, used through the command line. The GPU is hidden: what is planned ends with exit 4.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from contributing import Copy, blocks_of, files_of, fits

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


def said(copy: Copy, *words: str, code: int) -> str:
    """What ``profile`` prints on stderr."""
    return copy.autotune("profile", *words, code=code).stderr


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_toy_path(copy: Copy) -> None:
    file, planning = files_of("Adding a live path to `autotune profile`")
    file = file.replace("<name>", "toy")
    copy.create(file, TOY)
    copy.replace(planning, "import candidate, fa3, flashinfer, mla\n", "import candidate, fa3, flashinfer, mla, toy\n")
    copy.replace(planning, "FA3: fa3.RULES}", 'FA3: fa3.RULES, "toy": toy.RULES}')
    assert copy.edited == {file, planning}
    assert "no NVIDIA GPU" in said(copy, "--backend", "toy", "--phases", "eager,breakable", code=PLANNED)
    assert said(copy, "--backend", "toy", "--mode", "decode", code=2) == "error: --mode: a toy only extends\n"


def test_a_toy_phase(copy: Copy) -> None:
    request, path, run = files_of("Adding a phase to `autotune profile`")
    copy.replace(request, '"piecewise", "breakable"]', '"piecewise", "breakable", "again"]')
    copy.replace(
        path, '("eager", "capture", "replay", "piecewise")', '("eager", "capture", "replay", "piecewise", "again")'
    )
    # It is launched as an eager one is.
    assert copy.edited | {run} == {request, path, run}
    assert "no NVIDIA GPU" in said(copy, "--phases", "eager,again", code=PLANNED)
    assert "(known: eager, capture, replay, piecewise, breakable, again)" in said(copy, "--phases", ",", code=2)


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
    assert "no NVIDIA GPU" in said(copy, "--pad-mode", "twice", code=PLANNED)
    refused = said(copy, "--backend", "fa3", "--phases", "piecewise", "--pad-mode", "twice", code=2)
    assert refused == "error: --pad-mode: twice is not how --backend fa3 pads (known: narrow)\n"
    script = (
        "import numpy as np\n"
        "from autotune_cli.sglang.padding import PagedMetadata, padding_faults\n"
        "plan = PagedMetadata(*(np.array(v, dtype=np.int32) for v in ([0, 2], [0, 2], [1, 2], [1])))\n"
        "assert padding_faults(plan, plan, 4, 'twice') == []\n"
        "assert padding_faults(plan, plan, 5, 'twice') == ['5 tokens are not twice 2']\n"
    )
    done = copy.python("-c", script)
    assert done.returncode == 0, done.stderr


def test_a_toy_trace_reader_rule_and_family(copy: Copy) -> None:
    """A trace in a format, with kernels, of a family: none of them was known."""
    (reader,), (rule,) = blocks_of("Adding a trace reader").items(), blocks_of("Adding a kernel rule").items()
    family, page = files_of("Adding a kernel family")
    for title, (path, text) in (("Adding a trace reader", reader), ("Adding a kernel rule", rule)):
        (named,) = files_of(title)
        assert fits(path, named)
        copy.create(path, text)
    trace = copy.work / "a.kernels"
    trace.write_text("#kernels\n0.0 2.5 void AcmeAttention_64<Paged>()\n3.0 1.5 void AcmeAttention_64<Linear>()\n")
    words = ("profile", "--from-trace", "a.kernels", "--paged")
    assert "FAIL: 1 unknown kernel in eager: AcmeAttention_64\n" in copy.autotune(*words, code=1).stdout
    # The same file found in a folder, and a family of its own for what no rule knew.
    row = '    KernelFamily("linear", "line", forbidden_in=("paged",)),\n'
    copy.insert(family, row, '    KernelFamily("topk", ')
    added = "\n[[rule]]\nbase = 'AcmeAttention\\w*'\nargs = 'Linear'\nfamily = \"linear\"\n"
    with (copy.root / rule[0]).open("a", encoding="utf-8") as file:
        file.write(added)
    assert copy.edited | {page} == {reader[0], rule[0], family, "docs/profile.md"}
    shown = copy.autotune("profile", "--from-trace", str(copy.work), "--paged", code=1).stdout
    assert "FAIL: 1 line kernel in eager: AcmeAttention_64: acme\n" in shown
    trace.write_text("#kernels\n0.0 void\n")
    assert "a.kernels: line 2: not a start, a duration and a name" in copy.autotune(*words, code=2).stderr
