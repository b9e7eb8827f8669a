"""--kernels with a file that can't be used: one clear line, exit 2, no traceback."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Autotune, Finished

from autotune_cli.worker import process

REGISTER = "from autotune_cli.kernels import register\n"
RIGHT = (
    "def prepare(problem):\n    import torch\n    return lambda: torch.topk(problem.scores, problem.k).indices.int()\n"
)

BAD = {
    "syntax error": ("x = 1\ndef f(:\n", r"line 2: invalid syntax"),
    "raises": ("x = 1\n\nraise ValueError('no [/bold] such thing')\n", r"line 3: ValueError: no \[/bold\] such thing"),
    "missing import": ("import not_a_module\n", r"line 1: ModuleNotFoundError: No module named 'not_a_module'"),
    "broken helper": ("import broken_helper\n", r"broken_helper\.py, line 1: invalid syntax"),
    "exits": ("import sys\nsys.exit(3)\n", r"line 2: SystemExit: 3"),
    "exits at once": ("import os\nos._exit(3)\n", r"loading it ends the process: exited with code 3"),
    "segfaults": ("import ctypes\nctypes.string_at(0)\n", r"loading it ends the process: killed by SIGSEGV.*line 2"),
    "interrupts": ("raise KeyboardInterrupt\n", r"loading it ends the process: "),
    "unknown operation": (
        REGISTER + f"@register('topk.selct', name='mine.a')\n{RIGHT}",
        r"line \d: ValueError: unknown op",
    ),
    "no operation": (REGISTER + f"@register(name='mine.a')\n{RIGHT}", r"ValueError: unknown operation \(none\)"),
    "name taken": (
        REGISTER + f"@register('topk.select', name='torch.topk', devices=('cpu',))\n{RIGHT}",
        r"line \d: ValueError: a backend named 'torch.topk' is already registered by .*torch_topk.py",
    ),
    "wrong option": (
        REGISTER + f"@register('topk.select', name='mine.a', device='cpu')\n{RIGHT}",
        r"line \d: TypeError: ",
    ),
    "knobs that can't be written": (
        REGISTER + f"@register('topk.select', name='mine.a', knobs={{'t': [[1, 2]]}}, devices=('cpu',))\n{RIGHT}",
        r"backend mine.a: knob t=\[1, 2\] is neither",
    ),
    "knobs that aren't finite": (
        REGISTER + f"@register('topk.select', name='mine.a', knobs={{'t': [float('nan')]}}, devices=('cpu',))\n{RIGHT}",
        r"backend mine.a: knob t=nan is neither",
    ),
    "a knob of one text": (
        REGISTER + f"@register('topk.select', name='mine.a', knobs={{'mode': 'fast'}}, devices=('cpu',))\n{RIGHT}",
        r"line \d: ValueError: backend mine.a: knob mode='fast' is no list of values; one value is \('fast',\)$",
    ),
    "devices as one text": (
        REGISTER + f"@register('topk.select', name='mine.a', devices='cpu')\n{RIGHT}",
        r"line \d: ValueError: backend mine.a: devices='cpu' is no list; one is \('cpu',\)$",
    ),
    "unsupported says yes": (
        REGISTER + f"@register('topk.select', name='mine.a', devices=('cpu',), unsupported=lambda *a: True)\n{RIGHT}",
        r"candidates: ValueError: backend mine.a: unsupported returned True; it returns the reason as text, or None",
    ),
    "a long message": (
        "raise ValueError('one\\ntwo\\n' + 'x' * 100_000)\n",
        r"line 1: ValueError: one two x{1,400}\.\.\.$",
    ),
    "an exception that can't be shown": (
        "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\nraise Odd\n",
        r"line 4: Odd: its message can't be shown \(\w+\)$",
    ),
    "not an exception": ("class Stop(BaseException): pass\nraise Stop('x')\n", r"line 2: Stop: x$"),
    "knobs that raise": (
        REGISTER + f"@register('topk.select', name='mine.a', knobs=lambda w, d: 1 / 0, devices=('cpu',))\n{RIGHT}",
        r"asked for its candidates: ZeroDivisionError: division by zero",
    ),
    "a predicate that ends the process": (
        REGISTER
        + "import os\ndef never(*arguments):\n    os._exit(4)\n"
        + f"@register('topk.select', name='mine.a', unsupported=never, devices=('cpu',))\n{RIGHT}",
        r"asked for its candidates: exited with code 4",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_file_is_one_line_and_exit_2(
    usage: Callable[..., Finished], tmp_path: Path, tiny: tuple[str, ...], what: str
) -> None:
    text, reason = BAD[what]
    file = tmp_path / "mine.py"
    file.write_text(text)
    (tmp_path / "broken_helper.py").write_text("def f(:\n")
    finished = usage("tune", "--no-cache", *tiny, "--kernels", file)
    assert finished.code == 2
    (line,) = finished.err.splitlines()
    assert line.startswith(f"error: --kernels {file}: "), line
    assert re.search(reason, line), line
    assert finished.out == ""
    assert not list(tmp_path.glob("runs/*.json"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.py", "no such file"),
        (f"{'x' * 300}.py", "no such file"),
        ("folder.py", "a folder"),
        ("pipe.py", "not a regular file"),
        ("text.txt", "not a Python file"),
    ],
)
def test_what_is_no_python_file(usage: Callable[..., Finished], tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    os.mkfifo(tmp_path / "pipe.py")
    finished = usage("tune", "--kernels", tmp_path / name)
    assert finished.code == 2
    assert finished.err.startswith(f"error: --kernels {tmp_path / name}: {reason}")


def test_the_file_at_fault_is_named_among_several(usage: Callable[..., Finished], tmp_path: Path) -> None:
    for name, text in (("good.py", "x = 1\n"), ("bad.py", "import os\nos._exit(1)\n"), ("unread.py", "1 / 0\n")):
        (tmp_path / name).write_text(text)
    files = [option for name in ("good.py", "bad.py", "unread.py") for option in ("--kernels", tmp_path / name)]
    assert usage("tune", *files).err.startswith(f"error: --kernels {tmp_path / 'bad.py'}: loading it ends the process")


def test_a_file_that_hangs_is_given_up(
    usage: Callable[..., Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT_S", 1.5)
    file = tmp_path / "mine.py"
    file.write_text("import time\n\ntime.sleep(1000)\n")
    finished = usage("kernels", "--kernels", file)
    assert finished.code == 2
    pattern = rf'--kernels {file}: loading it takes too long: no answer within 1.5 s, in File "{file.name}", line 3'
    assert re.search(pattern, finished.err), finished.err


def test_neither_the_current_folder_nor_helpers_hide_modules(autotune: Autotune, tmp_path: Path) -> None:
    """Files called like modules beside the user's kernel, which itself imports a helper from there."""
    for name in ("queue", "random", "torch", "triton", "kernels", "typing_extensions"):
        (autotune.root / f"{name}.py").write_text("raise SystemExit('hidden')\n")
    (autotune.root / "my_helper.py").write_text("from torch import topk\n")
    text = REGISTER + "from my_helper import topk\n@register('topk.select', name='mine.a', devices=('cpu',))\n" + RIGHT
    (autotune.root / "mine.py").write_text(text)
    # As the installed command: python -m would itself look into the current folder.
    finished = autotune.with_variables(PYTHONSAFEPATH="1")("kernels", "--kernels", "mine.py", code=0)
    assert re.search(r"mine\.a .*ready", finished.out), finished.out
