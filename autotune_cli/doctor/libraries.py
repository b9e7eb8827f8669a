"""The kernel libraries: can each be loaded as a candidate loads it, and what is missing?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from autotune_cli.doctor.asking import asked
from autotune_cli.doctor.findings import Finding, State
from autotune_cli.doctor.probes import TryImport
from autotune_cli.kernels.libraries import LIBRARIES
from autotune_cli.kernels.registry import REGISTRY, Backend
from autotune_cli.measure.installed import NOT_INSTALLED, installed_versions
from autotune_cli.worker.process import Worker

# Modules that candidates import beside those that their backends name, and what they are called here.
_BESIDE = {"sgl_kernel": ("sgl_kernel.flash_attn",)}
_CALLED = {"sgl_kernel.flash_attn": "sgl_kernel FA3"}
_NONE = (None, NOT_INSTALLED)


def library_findings(worker: Worker, kind: str, can_ask: bool) -> Iterator[Finding]:
    """Every library: its version, and whether it can be loaded where backends need it; then what is missing.

    Args:
        kind: ``cuda`` or ``cpu``.
        can_ask: does the worker run, with a GPU if ``kind`` is one's? Some can't be loaded without, which says nothing.
    """
    versions = installed_versions()
    backends = [backend for backend in REGISTRY.all() if kind in backend.devices]
    required = {name.partition(":")[0] for backend in backends for name in backend.requires}
    for library in LIBRARIES:
        version = versions.get(library.name)
        if library.name == "torch" or version in _NONE:
            continue
        modules = sorted(name for name in required if name.partition(".")[0] == library.imported)
        if not modules or not can_ask:
            takes = "torch and a GPU" if kind == "cuda" else "torch"
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
        answer, why = asked(worker, TryImport(module))
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
