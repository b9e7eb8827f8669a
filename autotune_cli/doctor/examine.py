"""The whole examination, in the parent: NVML, packages and folders it asks itself, and a worker what needs torch."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from autotune_cli import __version__
from autotune_cli.doctor import culprit, probes
from autotune_cli.doctor.asking import asked
from autotune_cli.doctor.building import compiler_findings, folder_findings
from autotune_cli.doctor.findings import Diagnosis, Finding, State, without_home
from autotune_cli.doctor.gpus import driver_cuda, gpu_findings
from autotune_cli.doctor.libraries import library_findings
from autotune_cli.doctor.packages import package_findings, toolkit_findings
from autotune_cli.doctor.variables import variable_findings
from autotune_cli.errors import AutotuneError
from autotune_cli.measure.conditions import SLOWEST_CLOCK, is_throttled
from autotune_cli.measure.installed import NOT_INSTALLED
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings

# Characters of an error.
_MOST_SAID = 300


@dataclass(frozen=True)
class Machine:
    """What is examined."""

    gpus: tuple[str, ...]
    """CUDA_VISIBLE_DEVICES of each GPU that may be used; empty: a CPU."""
    root: Path = Path()
    """Of ``cache/`` and ``runs/``."""
    wants_gpu: bool = False
    """Is it a fault if there is none?"""
    torch_fix: str | None = None
    """torch is not installed, and this gets it; None: it is."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def kind(self) -> str:
        return "cuda" if self.gpus or self.wants_gpu else "cpu"


def examine(machine: Machine) -> Diagnosis:
    """Look at everything. What can't be looked at is a finding, too; nothing is raised but Ctrl-C.

    NVML is asked before anything runs on the GPU: what uses it then is not this program.
    """
    is_gpu = machine.kind == "cuda"
    found = _looked("program", _program)
    if machine.wants_gpu and not machine.gpus:
        fix = "install the NVIDIA driver, or make a GPU visible (CUDA_VISIBLE_DEVICES; docker run --gpus all)"
        found.append(Finding("gpu", "devices", State.PROBLEM, "a GPU was asked for, and there is none to use", fix))
    found += _looked("gpu", gpu_findings)
    worker = Worker(WorkerSettings("cpu"), machine.gpus[0] if machine.gpus else None)
    seen: probes.GpuSeen | None = None
    try:
        if machine.torch_fix is not None:
            found.append(Finding("libraries", "torch", State.PROBLEM, NOT_INSTALLED, machine.torch_fix))
        else:
            seen = _torch(worker, machine, found)
        can_ask = seen is not None and (seen.name is not None or not is_gpu)
        found += _looked("libraries", lambda: library_findings(worker, machine.kind, can_ask))
        found += _looked("packages", lambda: package_findings(is_gpu))
        cuda = seen.cuda if seen else None
        if is_gpu:
            found += _looked("packages", lambda: toolkit_findings(cuda))
            found += _looked("building", lambda: compiler_findings(machine.environ, cuda, driver_cuda()))
        found += _looked("folders", lambda: folder_findings(machine.environ, machine.root, is_gpu))
        found += _looked("variables", lambda: variable_findings(machine.environ, machine.kind))
        if seen is not None and seen.name is not None:
            found += _looked("measuring", lambda: _measuring(worker))
    finally:
        worker.kill()
    return Diagnosis(without_home(found, machine.environ.get("HOME") or None))


def _looked(group: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look finds; a look that fails hides no other."""
    try:
        return list(look())
    except Exception as error:
        text = f"can't be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
        return [Finding(group, group, State.WARNING, text)]


def _program() -> Iterator[Finding]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("program", "autotune", State.OK, f"kernel-autotune {__version__}, {python}")
    libc = " ".join(platform.libc_ver()).strip()
    system = f"{platform.system()} {platform.release()} {platform.machine()}{f', {libc}' if libc else ''}"
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    yield Finding("program", "machine", State.OK, f"{system}, {cores} cores, {memory:.0f} GiB")


def _torch(worker: Worker, machine: Machine, found: list[Finding]) -> probes.GpuSeen | None:
    """Start the worker, which imports torch. None: it can't."""
    try:
        version = worker.start().environment.libraries["torch"]
    except AutotuneError as error:
        found.append(_no_start(str(error.values.get("detail", error)), machine.environ))
        return None
    if machine.kind == "cpu":
        found.append(Finding("libraries", "torch", State.OK, version))
        return probes.GpuSeen(None, None)
    seen, why = asked(worker, probes.LookAtGpu())
    if why is not None:
        found.append(Finding("libraries", "torch", State.PROBLEM, f"{version}; it can't use the GPU: {why}"))
        return None
    found += _of_torch(version, seen, driver_cuda())
    return seen  # type: ignore[no-any-return]


def _no_start(error: str, environ: Mapping[str, str]) -> Finding:
    """Why a process with torch doesn't start: torch itself, a variable, or neither."""
    # Some errors list all that would have been right.
    text, fix = f"a process with torch doesn't start: {shorten(error, _MOST_SAID, placeholder=' ...')}", ""
    if not culprit.torch_starts(environ):
        names = culprit.breaking_variables(environ, error, culprit.torch_starts)
        fix = f"unset {' '.join(names)}" if names else "pip install --force-reinstall torch"
        text += f"; without {' and '.join(names)} torch starts" if names else ""
    return Finding("libraries", "torch", State.PROBLEM, text, fix)


def _of_torch(version: str, seen: probes.GpuSeen, driver: str | None) -> Iterator[Finding]:
    built = f"{version}, built with CUDA {seen.cuda}" if seen.cuda else f"{version}, a build for CPUs"
    if seen.cuda is None:
        fix = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130"
        yield Finding("libraries", "torch", State.PROBLEM, f"{built}: it uses no GPU", fix)
    elif seen.name is None:
        fix = ""
        if driver and int(driver.partition(".")[0]) < int(seen.cuda.partition(".")[0]):
            fix = f"install a driver for CUDA {seen.cuda}, or a torch that was built with CUDA {driver} or older"
        yield Finding("libraries", "torch", State.PROBLEM, f"{built}; it can't use the GPU: {seen.error}", fix)
    elif not seen.is_built_for_it:
        name = "sm_{}{}".format(*seen.capability)
        text = f"{built} for {', '.join(seen.architectures)}: it has no kernels for {name}"
        yield Finding("libraries", "torch", State.PROBLEM, text, "install a newer torch")
    else:
        yield Finding("libraries", "torch", State.OK, f"{built}; it uses {seen.name}")


def _measuring(worker: Worker) -> Iterator[Finding]:
    """CUPTI, and the clocks under load."""
    answer, why = asked(worker, probes.TryCupti())
    why = answer if why is None else why
    if not why:
        yield Finding("measuring", "CUPTI", State.OK, "records kernels")
    else:
        fix = "stop other profilers (nsys, ncu, dcgmi); until then: autotune tune --timer events, which is noisier"
        yield Finding("measuring", "CUPTI", State.PROBLEM, f"records no kernels: {why}", fix)
    reading, why = asked(worker, probes.UnderLoad())
    if why is not None:
        yield Finding("measuring", "load", State.PROBLEM, f"matrix products fail: {why}")
        return
    conditions, most = reading
    text = f"SM {conditions.sm_clock_mhz or 0:.0f} MHz"
    text += f" of {most:.0f}" if most else ""
    text += f", {conditions.temperature_c or 0:.0f} C, {conditions.power_w or 0:.0f} W under matrix products"
    if conditions.throttle:
        text += f"; {', '.join(conditions.throttle)}"
    if conditions.throttle == ("power cap",):
        text += ", as is usual under such a load"
    if is_throttled(conditions, None):
        fix = "look at cooling and power supply: rounds in that state are dropped"
        yield Finding("measuring", "load", State.PROBLEM, text, fix)
    elif is_throttled(conditions, most) and not conditions.throttle:
        text += f": below {100 * SLOWEST_CLOCK:.0f} % of the highest, and no reason is given"
        yield Finding(
            "measuring", "load", State.WARNING, text, "are clocks locked? nvidia-smi -q -d CLOCK; nvidia-smi -rgc"
        )
    else:
        yield Finding("measuring", "load", State.OK, text)
