"""A user's kernel file whose backends name modules. Builds note themselves in a folder, and meet, fail or hang."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune_cli.kernels import Module, register

FOLDER = Path(os.environ["BUILDING_FOLDER"])
# Long enough for another builder's start on a busy machine; a longer wait is in vain.
PATIENCE_S = 100.0
NINJA = """Ninja build failed. Ninja output:
ninja: Entering directory `/home/me/.cache/flashinfer/mine'
[1/2] nvcc -Werror error: -c /home/me/mine.cu -o mine.cuda.o
FAILED: [code=2] mine.cuda.o
nvcc -c /home/me/mine.cu
/home/me/include/mine.cuh(12): error: identifier "oops" is undefined
1 error detected in the compilation of "/home/me/mine.cu".
ninja: build stopped: subcommand failed.
"""
CICC = """Ninja build failed. Ninja output:
FAILED: mine.cuda.o
nvcc error   : 'cicc' died due to signal 9 (Kill signal)
ninja: build stopped: subcommand failed.
"""


def note(name: str) -> int:
    """Writes down which process builds what, how, and what else is built; returns how often it was built before."""
    log = FOLDER / f"{name}.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    facts = (os.getpid(), "torch" in sys.modules, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("MAX_JOBS"))
    with log.open("a") as file:
        file.write(f"{'|'.join(map(str, facts))}|{os.environ.get('BUILDING_TARGET')}\n")
    return before


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} did not come: no other builder is at work")
        time.sleep(0.01)


def backend(name: str, *then: tuple[str, Callable[[int], None]], knobs: tuple[int, ...] = (0,)) -> None:
    """Registers a right top-k that needs these modules; each calls its function when it is first built."""

    def module(title: str, act: Callable[[int], None]) -> Module:
        done = FOLDER / f"{title}.done"

        def build() -> None:
            if not done.exists():
                act(note(title))
                done.touch()

        return Module(title, build, done.exists, variables={"BUILDING_TARGET": "9.0a"})

    def modules(workload: Any, n: int) -> list[Module]:
        return [module(title, act) for title, act in then]

    @register("topk.select", name=f"built.{name}", knobs={"n": knobs}, devices=("cpu",), modules=modules)
    def prepare(problem: Any, n: int) -> Callable[[], Any]:
        import torch

        return lambda: torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)


def meets(other: str) -> Callable[[int], None]:
    """Ends only when the build of the other one has begun."""
    return lambda before: wait_for(FOLDER / f"{other}.log")


def fails(before: int) -> None:
    raise RuntimeError(NINJA)


def hangs(before: int) -> None:
    """With a compiler as ninja starts them: in a process group of its own, and another one below it.

    The program's clock may be one that leaps when it is told so (clocks.py).
    """
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])"
    compiler = subprocess.Popen([sys.executable, "-c", code], process_group=0)
    (FOLDER / "compiler").write_text(f"{os.getpid()}")
    with (FOLDER / "clock").open("ab") as clock:
        clock.write(b".")
    compiler.wait()


def waits_for_go(before: int) -> None:
    if not (FOLDER / "go").exists():
        hangs(before)


def hangs_once(before: int) -> None:
    if before == 0:
        hangs(before)


def segfaults(before: int) -> None:
    ctypes.string_at(0)


def killed_once(before: int) -> None:
    if before == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def always_killed(before: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def compiler_killed(before: int) -> None:
    if before == 0:
        raise RuntimeError(CICC)


def exits(before: int) -> None:
    sys.exit(3)


BACKENDS: dict[str, Callable[[], None]] = {
    "left": lambda: backend("left", ("left", meets("right"))),
    "right": lambda: backend("right", ("right", meets("left"))),
    # Of its two modules each must have a process of its own, or the first would wait for ever.
    "pair": lambda: backend("pair", ("first", meets("second")), ("second", meets("first"))),
    "fails": lambda: backend("fails", ("failing", fails), knobs=(0, 1, 2)),
    "hangs": lambda: backend("hangs", ("hanging", hangs), knobs=(0, 1)),
    "waits": lambda: backend("waits", ("waiting", waits_for_go)),
    "hangs_once": lambda: backend("hangs_once", ("slow", hangs_once)),
    "segfaults": lambda: backend("segfaults", ("crashing", segfaults), knobs=(0, 1)),
    "killed_once": lambda: backend("killed_once", ("starved", killed_once)),
    "always_killed": lambda: backend("always_killed", ("starving", always_killed), knobs=(0, 1)),
    "compiler_killed": lambda: backend("compiler_killed", ("hungry", compiler_killed)),
    "exits": lambda: backend("exits", ("exiting", exits)),
}
if os.environ.get("BUILDING_BREAKS_TORCH"):
    # For torch's own backends: no candidate but this file's is right.
    import torch

    right = torch.topk

    def broken(*arguments: Any, **options: Any) -> Any:
        if "backends" in sys._getframe(1).f_code.co_filename:
            raise RuntimeError("no kernel image is available")
        return right(*arguments, **options)

    torch.topk = broken
for wanted in os.environ["BUILDING_BACKENDS"].split(","):
    BACKENDS[wanted]()
