"""The whole examination, in the parent: NVML, packages and folders it asks itself, and a worker what needs torch."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune_cli import __version__
from autotune_cli.doctor import probes
from autotune_cli.doctor.building import compiler_findings, folder_findings
from autotune_cli.doctor.findings import HIDDEN, Diagnosis, Finding, State, is_secret, without_home
from autotune_cli.doctor.gpus import driver_cuda, gpu_findings
from autotune_cli.doctor.packages import package_findings, toolkit_findings
from autotune_cli.errors import AutotuneError
from autotune_cli.kernels.libraries import LIBRARIES
from autotune_cli.kernels.registry import REGISTRY, Backend
from autotune_cli.measure.conditions import SLOWEST_CLOCK, is_throttled
from autotune_cli.measure.installed import NOT_INSTALLED, installed_versions, relevant_variables
from autotune_cli.worker.failures import WorkerDied, WorkerRaised, WorkerTimeout
from autotune_cli.worker.guard import refuse_slow_builds
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import Job, WorkerSettings

# An import that takes longer hangs; FlashInfer's takes some seconds from a cold disk.
_PROBE_S = 120.0
# Modules that candidates import beside those that their backends name, and what they are called here.
_BESIDE = {"sgl_kernel": ("sgl_kernel.flash_attn",)}
# Variables that change no kernel, and explain what is found.
_TOLD_TOO = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDA_PATH",
    "FLASHINFER_CUDA_ARCH_LIST",
    "FLASHINFER_WORKSPACE_BASE",
    "FLASHINFER_DISABLE_VERSION_CHECK",
    "TORCH_CUDA_ARCH_LIST",
    "TRITON_CACHE_DIR",
    "MAX_JOBS",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
)
_NONE = (None, NOT_INSTALLED)
_CALLED = {"sgl_kernel.flash_attn": "sgl_kernel FA3"}


@dataclass(frozen=True)
class Patient:
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


def examine(patient: Patient) -> Diagnosis:
    """Look at everything. What can't be looked at is a finding, too; nothing is raised but Ctrl-C.

    NVML is asked before anything runs on the GPU: what uses it then is not this program.
    """
    is_gpu = patient.kind == "cuda"
    found = _looked("program", _program)
    if patient.wants_gpu and not patient.gpus:
        fix = "install the NVIDIA driver, or make a GPU visible (CUDA_VISIBLE_DEVICES; docker run --gpus all)"
        found.append(Finding("gpu", "devices", State.PROBLEM, "a GPU was asked for, and there is none to use", fix))
    found += _looked("gpu", gpu_findings)
    worker = Worker(WorkerSettings("cpu"), patient.gpus[0] if patient.gpus else None)
    seen: probes.GpuSeen | None = None
    try:
        if patient.torch_fix is not None:
            found.append(Finding("libraries", "torch", State.PROBLEM, NOT_INSTALLED, patient.torch_fix))
        else:
            seen = _torch(worker, patient, found)
        can_ask = seen is not None and (seen.name is not None or not is_gpu)
        found += _looked("libraries", lambda: _libraries(worker, patient, can_ask))
        found += _looked("packages", lambda: package_findings(is_gpu))
        cuda = seen.cuda if seen else None
        if is_gpu:
            found += _looked("packages", lambda: toolkit_findings(cuda))
            found += _looked("building", lambda: compiler_findings(patient.environ, cuda, driver_cuda()))
        found += _looked("folders", lambda: folder_findings(patient.environ, patient.root, is_gpu))
        found += _looked("variables", lambda: _variables(patient))
        if seen is not None and seen.name is not None:
            found += _looked("measuring", lambda: _measuring(worker))
    finally:
        worker.kill()
    return Diagnosis(without_home(found, patient.environ.get("HOME") or None))


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


def _torch(worker: Worker, patient: Patient, found: list[Finding]) -> probes.GpuSeen | None:
    """Start the worker, which imports torch. None: it can't."""
    try:
        version = worker.start().environment.libraries["torch"]
    except AutotuneError as error:
        fix = "pip install --force-reinstall torch"
        found.append(Finding("libraries", "torch", State.PROBLEM, f"a process with torch doesn't start: {error}", fix))
        return None
    if patient.kind == "cpu":
        found.append(Finding("libraries", "torch", State.OK, version))
        return probes.GpuSeen(None, None)
    seen, why = _asked(worker, probes.LookAtGpu())
    if why is not None:
        found.append(Finding("libraries", "torch", State.PROBLEM, f"{version}; it can't use the GPU: {why}"))
        return None
    found += _of_torch(version, seen, driver_cuda())
    return seen  # type: ignore[no-any-return]


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


def _libraries(worker: Worker, patient: Patient, can_ask: bool) -> Iterator[Finding]:
    """Every library: its version, and whether it can be loaded where backends need it; then what is missing."""
    versions = installed_versions()
    backends = [backend for backend in REGISTRY.all() if patient.kind in backend.devices]
    required = {name.partition(":")[0] for backend in backends for name in backend.requires}
    for library in LIBRARIES:
        version = versions.get(library.name)
        if library.name == "torch" or version in _NONE:
            continue
        modules = sorted(name for name in required if name.partition(".")[0] == library.imported)
        if not modules or not can_ask:
            takes = "torch and a GPU" if patient.kind == "cuda" else "torch"
            why = "no candidate here needs it" if can_ask else f"that takes {takes}"
            yield Finding("libraries", library.name, State.NOTE, f"{version}, not tried: {why}")
            continue
        yield from _tried(worker, library.name, str(version), [*modules, *_BESIDE.get(library.imported, ())])
    absent = {library.imported: library.name for library in LIBRARIES if versions.get(library.name) in _NONE}
    yield from _missing(backends, absent)


def _missing(backends: Sequence[Backend], absent: Mapping[str, str]) -> Iterator[Finding]:
    """What is not installed, and the command that most backends that need it name.

    Args:
        absent: names of libraries that aren't there at all, by their modules; of others some part may be missing.
    """
    missing: dict[str, list[Backend]] = {}
    for backend in backends:
        lacks = backend.missing()
        if lacks is not None:
            top = lacks.partition(".")[0]
            missing.setdefault(absent.get(top, lacks), []).append(backend)
    expected = {library.imported for library in LIBRARIES if library.always}
    for module, without in missing.items():
        state = State.WARNING if module.partition(".")[0] in expected else State.NOTE
        count = f"{len(without)} backends" if len(without) > 1 else without[0].name
        installs = Counter(backend.install or f"pip install {module}" for backend in without)
        yield Finding(
            "libraries",
            module,
            state,
            f"not installed: {count} can't run",
            max(installs, key=lambda text: installs[text]),
        )


def _tried(worker: Worker, name: str, version: str, modules: list[str]) -> Iterator[Finding]:
    """A finding for the library, and one for each part of it that is tried beside."""
    for index, module in enumerate(modules):
        answer, why = _asked(worker, probes.TryImport(module))
        why = answer if why is None else why
        if not why:
            if index == 0 or module in _CALLED:
                yield Finding("libraries", _CALLED.get(module, name), State.OK, f"{version}, loads")
            continue
        text = f"{version}; {module} can't be loaded: {why}"
        fix = "install the version that is compiled for this torch: pip install 'kernel-autotune[cuda]'"
        yield Finding("libraries", _CALLED.get(module, name), State.PROBLEM, text, fix)
        if index == 0:
            # Its parts fail alike.
            return


def _variables(patient: Patient) -> Iterator[Finding]:
    """Those that would be refused, and those that change which kernel runs; no value of a secret."""
    refused = set()
    try:
        refuse_slow_builds(patient.environ, patient.kind)
    except AutotuneError as error:
        name = str(error.values.get("variable", ""))
        yield Finding("variables", name, State.PROBLEM, str(error), f"unset {name}")
        refused.add(name)
    found = {name: patient.environ[name] for name in _TOLD_TOO if name in patient.environ}
    for name, value in (found | relevant_variables(patient.environ)).items():
        if name in refused:
            continue
        yield Finding("variables", name, State.NOTE, HIDDEN if is_secret(name) else value or "(empty)")
    if not found and not refused and not relevant_variables(patient.environ):
        yield Finding("variables", "none", State.OK, "no variable is set that changes which kernel runs")


def _measuring(worker: Worker) -> Iterator[Finding]:
    """CUPTI, and the clocks under load."""
    answer, why = _asked(worker, probes.TryCupti())
    why = answer if why is None else why
    if not why:
        yield Finding("measuring", "CUPTI", State.OK, "records kernels")
    else:
        fix = "stop other profilers (nsys, ncu, dcgmi); until then: autotune tune --timer events, which is noisier"
        yield Finding("measuring", "CUPTI", State.PROBLEM, f"records no kernels: {why}", fix)
    reading, why = _asked(worker, probes.UnderLoad())
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


def _asked(worker: Worker, job: Job) -> tuple[Any, str | None]:
    """The job's answer, or why there is none. After an end of the process the next job gets another one."""
    try:
        return worker.ask(job, _PROBE_S), None
    except WorkerRaised as error:
        return None, str(error).partition("\n")[0]
    except (WorkerDied, WorkerTimeout) as error:
        return None, f"the process {error}"
    except AutotuneError as error:
        return None, str(error)
