"""Operations and backends find each other here. Imports no torch and no kernel library."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from autotune_cli.kernels.candidate import Candidate, Device, Knob, LaunchPlan, Prepared, parse_key
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.own_files import closure, digest
from autotune_cli.kernels.registering import (
    checked_devices,
    checked_knobs,
    checked_name,
    checked_operations,
    checked_reason,
    checked_texts,
    checked_values,
    yielded_knobs,
)
from autotune_cli.kernels.workload import OPERATIONS, AnyWorkload, family_names

__all__ = [
    "REGISTRY",
    "Backend",
    "Candidate",
    "Device",
    "Knob",
    "LaunchPlan",
    "Prepared",
    "Registry",
    "parse_key",
    "prepared",
    "register",
    "source_hash",
]


KnobsOf = Callable[[Any, Device], Iterable[Mapping[str, Knob]]]
"""Workload and device to the knobs of each candidate."""
WhyNot = Callable[[Any, Device, Mapping[str, Knob]], str | None]
"""Workload, device and knobs to the reason why a candidate doesn't apply, or None."""


class Backend:
    """A library's kernel behind one Python call. :func:`register` takes the same arguments.

    The function is called as ``prepare(problem, **knobs)`` in a worker process and returns a callable that launches
    the kernel and returns its output, or a :class:`Prepared`. It imports its library itself.

    Args:
        operations: such as ``"attention.decode"``.
        name: unique, ``library.variant``.
        knobs: values to try by name (their product), or a function ``(workload, device)`` that yields one mapping a
            candidate.
        requires: modules that must be there, such as ``library.module``, or functions of one, such as
            ``library.module:function``; otherwise its candidates are ``unavailable``. They are looked for, not
            imported.
        install: the command that installs them.
        devices: ``"cuda"``, ``"cpu"`` or both.
        needs: what GPU it takes, in words, where that is not any of NVIDIA's: ``an NVIDIA GPU of compute capability
            9.0``. Said where there is none; ``unsupported`` is what decides.
        unsupported: ``(workload, device, knobs)`` to the reason why a candidate doesn't apply, or None.
        build: ``(workload, **knobs)``: compiles what the candidate needs, outside its time limit, when its turn comes.
        launch_knobs: knobs that only decide which kernels run with how many blocks. Candidates that differ in nothing
            else and fire the same kernels with the same launch shape are one candidate.
        promises: knobs that make the kernel keep more than being right, such as an order of its output, each with the
            value without a promise. Another value costs time, so such candidates are tuned only where something is
            required, all are measured, or a baseline or the user names them.
        forget: drops buffers that the library keeps between calls. Called while nothing of the backend is prepared,
            so that they come to lie elsewhere: times depend on where.
        modules: ``(workload, **knobs)`` to the :class:`~autotune_cli.kernels.modules.Module` objects that the candidate
            needs, in the order in which they are loaded; instead of ``build``. What isn't compiled yet is then built
            before the first candidate's turn, several at a time. Names them and compiles nothing.

    Raises:
        ValueError: an unknown operation, a name that another file has taken, both ``build`` and ``modules``, or one
            value where a list of values is meant.
    """

    prepare: Callable[..., Prepared | Callable[[], Any]]
    """The function that was registered."""
    source: Path = Path()
    """Its file."""
    own = False
    """Registered by a user's file."""

    def __init__(
        self,
        *operations: str,
        name: str,
        knobs: Mapping[str, Iterable[Knob]] | KnobsOf | None = None,
        requires: Iterable[str] = (),
        install: str = "",
        devices: Iterable[str] = ("cuda",),
        unsupported: WhyNot | None = None,
        build: Callable[..., None] | None = None,
        launch_knobs: Iterable[str] = (),
        promises: Mapping[str, Knob] | None = None,
        forget: Callable[[], None] | None = None,
        modules: Callable[..., Iterable[Module]] | None = None,
        needs: str = "",
    ) -> None:
        self.operations = checked_operations(operations, OPERATIONS)
        self.name = checked_name(name)
        self.knobs = checked_knobs(name, knobs)
        self.requires = checked_texts(name, "requires", requires)
        self.launch_knobs = checked_texts(name, "launch_knobs", launch_knobs)
        self.promises = checked_values(name, "promises", promises)
        self.devices = checked_devices(name, devices)
        if build is not None and modules is not None:
            raise ValueError(f"{name}: modules are built one by one, so there is no build besides")
        self.install = install
        self.needs = needs
        self.unsupported = unsupported
        self.modules = modules
        self.build = build if modules is None else _build_all(modules)
        self.forget = forget

    def candidates(self, workload: AnyWorkload, device: Device) -> Iterator[Candidate]:
        """Every setting of the knobs worth a name for this workload, supported or not."""
        if callable(self.knobs):
            for knobs in yielded_knobs(self.name, self.knobs(workload, device)):
                yield Candidate(self.name, knobs)
        else:
            for values in itertools.product(*self.knobs.values()):
                yield Candidate(self.name, tuple(zip(self.knobs, values, strict=True)))

    def missing(self) -> str | None:
        """The first module or function of ``requires`` that can't be found, or None."""
        return next((module for module in self.requires if not _is_installed(module)), None)

    def promises_more(self, candidate: Candidate) -> bool:
        """Does one of its knobs ask for a promise?"""
        knobs = dict(candidate.knobs)
        return any(knobs.get(name, without) != without for name, without in self.promises.items())

    def why_unsupported(self, workload: AnyWorkload, device: Device, candidate: Candidate) -> str | None:
        if device.kind not in self.devices:
            return f"needs {self.needs or ' or '.join(self.devices)}, this is {device.kind}"
        if self.unsupported is None:
            return None
        return checked_reason(self.name, self.unsupported(workload, device, dict(candidate.knobs)))

    @cached_property
    def source_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the backend's file, of the CUDA sources that begin with its name and of
        the helpers beside it (``_*.py``); for a user's, of all files that the users' files may load.
        """
        if self.own:
            return REGISTRY.own_hash
        helpers = [path for path in self.source.parent.glob("_*.py") if path.name != "__init__.py"]
        compiled = self.source.parent.glob(f"{self.source.stem}*.cu*")
        return source_hash([self.source, *sorted(compiled), *sorted(helpers)])


def _is_installed(required: str) -> bool:
    """Can a module, or a function of one, be found, importing nothing? ``find_spec`` of a nested one would import its
    parents. A function is looked for in the source; one of a compiled module is taken to be there.
    """
    module, _, function = required.partition(":")
    top, *nested = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not (nested or function):
        return spec is not None
    if nested:
        inner = Path(*nested)
        names = [inner, *(inner.with_name(inner.name + suffix) for suffix in importlib.machinery.all_suffixes())]
        places = [Path(folder, name) for folder in spec.submodule_search_locations or () for name in names]
    else:
        places = [Path(spec.origin or "")]
    found = next((place for place in places if place.exists()), None)
    return found is not None and (not function or _defines(found, function))


def _defines(path: Path, function: str) -> bool:
    """Does a file, or a package's, define the function at its top?"""
    source = path / "__init__.py" if path.is_dir() else path
    if source.suffix != ".py":
        return True
    return re.search(rf"^def {re.escape(function)}\(", source.read_text(encoding="utf-8"), re.MULTILINE) is not None


def source_hash(paths: Iterable[Path]) -> str:
    """First 16 hex digits of the SHA-256 of files: part of a result's identity."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(path.read_bytes())
    except OSError:
        return "unknown"
    return digest.hexdigest()[:16]


class Registry:
    """Backends by name, in the order in which they were registered."""

    def __init__(self) -> None:
        self._backends: dict[str, Backend] = {}
        self._discovered = False
        self.own_files: list[Path] = []
        """Users' files, in the order in which they were loaded."""

    def add(self, backend: Backend) -> None:
        known = self._backends.get(backend.name)
        if known is not None:
            raise ValueError(f"a backend named {backend.name!r} is already registered by {known.source}")
        self._backends[backend.name] = backend

    def discover(self) -> None:
        """Import every file of ``kernels/<family>/backends``, in name order, but for the helpers (``_*.py``).

        Backends import those, some of them not before ``prepare``: they may import a library at their top.
        """
        if self._discovered:
            return
        self._discovered = True
        for family in family_names():
            package = importlib.import_module(f"autotune_cli.kernels.{family}.backends")
            for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
                if not module.startswith("_"):
                    importlib.import_module(f"{package.__name__}.{module}")

    def all(self) -> list[Backend]:
        self.discover()
        return list(self._backends.values())

    def of(self, operation: str) -> list[Backend]:
        return [backend for backend in self.all() if operation in backend.operations]

    def get(self, name: str) -> Backend:
        self.discover()
        return self._backends[name]

    @cached_property
    def own_hash(self) -> str:
        """Hash of all files that the users' files may load, as they were when it was first asked for."""
        return self.own_hash_now()

    def own_hash_now(self) -> str:
        """The same now. It is one for all users' files, as each may change what another one does."""
        return digest(self.own_closure(), self.own_files[0].parent)

    def own_closure(self) -> list[Path]:
        """All files that the users' files may load."""
        sources = [backend.source for backend in self._backends.values() if backend.own]
        return closure([*self.own_files, *sources])


REGISTRY = Registry()


P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """Leaves the function as it is, its type included."""

    def __call__(self, prepare: F) -> F: ...


def _registering(make: Callable[P, Backend]) -> Callable[P, Decorator]:
    @wraps(make, assigned=())
    def register(*args: P.args, **kwargs: P.kwargs) -> Decorator:
        backend = make(*args, **kwargs)

        def decorate(prepare: F) -> F:
            backend.prepare = prepare
            backend.own = bool(REGISTRY.own_files)
            try:
                backend.source = Path(inspect.getsourcefile(prepare) or "").resolve()
            except TypeError:  # a partial, an object that is called: what made it is in the user's files
                backend.source = REGISTRY.own_files[-1] if REGISTRY.own_files else Path()
            REGISTRY.add(backend)
            return prepare

        return decorate

    register.__doc__ = f"Register the decorated function as a backend of the named operations.\n\n{make.__doc__}"
    return register


register = _registering(Backend)


def prepared(candidate: Candidate, problem: Any) -> Prepared:
    """The candidate on a problem; what it compiles was compiled before.

    Raises:
        KeyError: no such backend.
    """
    result = REGISTRY.get(candidate.backend).prepare(problem, **dict(candidate.knobs))
    return result if isinstance(result, Prepared) else Prepared(result)


def _build_all(modules: Callable[..., Iterable[Module]]) -> Callable[..., None]:
    """``build`` for a backend that names its modules: one after another."""

    def build(workload: AnyWorkload, **knobs: Knob) -> None:
        for module in modules(workload, **knobs):
            module.build()

    return build
