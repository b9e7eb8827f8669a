"""Compiles the Triton kernels ahead, in the build stage: all settings of a backend for a layer, several at a time.

Left to the first launches, they are compiled one after the other, which takes a suite 25 s on an H100's machine. Here a
candidate is prepared and run on a small batch on the CPU, in a process where Triton is told of a GPU that isn't there
and launches nothing; what is compiled then lies in Triton's cache, whose keys have no word of the batch in them.

Registers no backend; no import of torch or Triton here.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Knob, Prepared, source_hash

if TYPE_CHECKING:
    from autotune_cli.kernels.attention.problem import AttentionProblem

TARGET = "AUTOTUNE_TRITON_TARGET"
"""Tells the process that builds, which sees no GPU, what to compile for: 90 for compute capability 9.0."""
# Set, there is nothing to be kept, or Triton doesn't look at what is.
_NOT_KEPT = ("TRITON_INTERPRET", "TRITON_ALWAYS_COMPILE")
# The batch that candidates are prepared for: new tokens if there are any, and tokens before them.
_NEW, _PREFIX = 64, 192
# Of one setting with its helpers, on one core (Triton 3.6).
_SECONDS, _GIGABYTES = 2.0, 0.7

Prepare = Callable[..., Prepared]
Settings = Sequence[Mapping[str, Knob]]


def small(workload: AttentionWorkload) -> AttentionWorkload:
    """The layer with one short request."""
    new = {"attention.decode": 1, "attention.verify": workload.new}.get(workload.operation, _NEW)
    context = new if workload.operation == "attention.prefill" else new + _PREFIX
    return workload.model_copy(
        update={"batch": 1, "new": new, "context": context, "served_context": None, "points": ()}
    )


def title(what: str, workload: AttentionWorkload) -> str:
    """``triton decode bf16 d128``"""
    g = workload.geometry
    dtype = g.dtype if g.cache_dtype == g.dtype else f"{g.dtype}/{g.cache_dtype}"
    softcap = "" if g.softcap is None else " softcap"
    window = "" if g.window_left is None else " window"
    return f"triton {what} {dtype} d{g.head_dim}{softcap}{window}{' sinks' if g.sinks else ''}"


def modules(prepare: Prepare, workload: AttentionWorkload, settings: Settings, *, title: str) -> tuple[Module, ...]:
    """One module, which all candidates of a backend share whose layers are the same; none where nothing can be kept.

    Args:
        prepare: the backend's.
        workload: a small one.
        settings: all that are compiled apart.
        title: what is compiled, for people.
    """
    target = _target()
    if target is None or any(os.environ.get(name) for name in _NOT_KEPT):
        return ()
    marker = _folder() / f"autotune-{_name(workload.geometry.model_dump_json(), str(settings), title, target)}"

    def build() -> None:
        # A process that measures has a GPU and compiles what is missing when it is launched.
        if os.environ.get(TARGET) and not marker.exists():
            compile_all(prepare, workload, settings, int(target), int(os.environ.get("MAX_JOBS") or 1))
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    return (
        Module(
            name=marker.name,
            build=build,
            is_compiled=marker.exists,
            label=title,
            seconds=_SECONDS * len(settings),
            jobs=len(settings),
            gigabytes=_GIGABYTES,
            variables={TARGET: target},
        ),
    )


def compile_all(
    prepare: Prepare, workload: AttentionWorkload, settings: Settings, capability: int, processes: int
) -> None:
    """Have Triton compile what these settings launch, for a GPU of this compute capability (90 for 9.0), in processes
    that are forked. What can't be compiled is left out: its candidate fails when it is vetted.
    """
    import torch  # noqa: F401  for all of them at once; nothing is computed before they are forked

    from autotune_cli.kernels.attention.backends import _triton_kernels, _triton_metadata  # noqa: F401

    count = max(1, min(processes, len(settings)))
    context = multiprocessing.get_context("fork")
    parts = [
        context.Process(target=_compile, args=(prepare, workload, settings[first::count], capability))
        for first in range(count)
    ]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


def _compile(prepare: Prepare, workload: AttentionWorkload, settings: Settings, capability: int) -> None:
    import torch

    from autotune_cli.kernels.attention.problem import make_problem

    torch.set_num_threads(1)
    _launch_nothing(capability)
    problem: AttentionProblem = make_problem(workload, "workload", "cpu", 0)
    for setting in settings:
        with suppress(Exception):
            prepare(problem, **setting).run()


def _launch_nothing(capability: int) -> None:
    """Have Triton in this process compile for a GPU of that kind, and launch nothing."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    class NoGpu:
        def get_current_target(self) -> Any:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return 0

    run = JITFunction.run
    has_launchers = True

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool = True, **options: Any) -> Any:
        nonlocal has_launchers
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        if has_launchers:
            try:
                _compile_launcher(kernel)
            except Exception:  # no C compiler, or none of NVIDIA's driver: the next kernel's would fail too
                has_launchers = False
        return kernel

    driver.set_active(NoGpu())
    JITFunction.run = compile_only
    _compiling.append(capability)


def _compile_launcher(kernel: Any) -> None:
    """Have Triton compile the C code that launches the kernel, too: what all kernels share and, up to Triton 3.6, a
    part for each signature. A third of a second each, which the first launches take otherwise.
    """
    from triton.backends.nvidia.driver import CudaLauncher, CudaUtils

    CudaUtils()
    CudaLauncher(kernel.src, kernel.metadata)


_compiling: list[int] = []


def is_compiling() -> bool:
    """Is this a process that compiles for a GPU that it doesn't have?"""
    return bool(_compiling)


def _target() -> str | None:
    """The compute capability to compile for: 90 for 9.0; None: there is no GPU of NVIDIA's."""
    told = os.environ.get(TARGET)
    if told:
        return told
    import torch

    if not torch.version.cuda or not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return str(10 * major + minor)


def _folder() -> Path:
    """Triton's cache, where a marker lies beside what it stands for."""
    told = os.environ.get("TRITON_CACHE_DIR")
    return Path(told) if told else Path(os.environ.get("TRITON_HOME") or Path.home()) / ".triton" / "cache"


@functools.cache
def _name(*parts: str) -> str:
    """Of all that the compiled kernels depend on."""
    beside = Path(__file__).parent
    sources = source_hash([*sorted(beside.glob("_triton*.py")), *sorted(beside.glob("triton_*.py"))])
    versions = [importlib.metadata.version(name) for name in ("triton", "torch")]
    return hashlib.sha256("\n".join((*parts, sources, *versions)).encode()).hexdigest()[:24]
