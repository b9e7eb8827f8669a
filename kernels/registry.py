"""Operations and backends find each other here. Imports no torch and no kernel library."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.own_files import closure, digest
from autotune_cli.kernels.registering import (
    checked_devices,
    checked_knobs,
    checked_reason,
    checked_texts,
    yielded_knobs,
)
from autotune_cli.kernels.workload import OPERATIONS, AnyWorkload, family_names

Knob = bool | int | float | str | None


@dataclass(frozen=True)
class Device:
    """What candidates are planned for. ``capability`` is CUDA's (9, 0) for an H200; None on a CPU."""

    kind: str
    name: str
    capability: tuple[int, int] | None = None
    multiprocessors: int = 0
    memory_bytes: int = 0
    l2_bytes: int = 0
    cuda: str = ""
    """CUDA version of torch, such as ``13.0``; empty on a CPU."""


@dataclass(frozen=True)
class Candidate:
    """A backend with fixed knobs."""

    backend: str
    knobs: tuple[tuple[str, Knob], ...] = ()

    @property
    def key(self) -> str:
        """``flashinfer.decode(path=fa3,page_size=16)``; stable across runs."""
        inner = ",".join(f"{name}={_text(value)}" for name, value in self.knobs)
        return f"{self.backend}({inner})" if inner else self.backend

    @property
    def label(self) -> str:
        """Short text for tables: ``flashinfer.decode fa3 page 16``; knobs left at None are not shown."""
        parts = [self.backend]
        for name, value in self.knobs:
            word = name.removesuffix("_size").replace("_", " ")
            if value is None:
                continue
            if isinstance(value, bool):
                parts.append(word if value else f"{word} off")
            else:
                parts.append(value if isinstance(value, str) else f"{word} {value:g}")
        return " ".join(parts)


def _text(value: Knob) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value}"


def parse_key(key: str) -> tuple[str, tuple[tuple[str, Knob], ...]]:
    """Backend and knobs of a candidate's key, the inverse of :attr:`Candidate.key`."""
    backend, _, inner = key.partition("(")
    pairs = [part.partition("=") for part in inner.removesuffix(")").split(",") if part]
    return backend.strip(), tuple((name.strip(), _value(text.strip())) for name, _, text in pairs)


def _value(text: str) -> Knob:
    words: dict[str, Knob] = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass
class Prepared:
    """A candidate ready to be launched.

    ``run`` launches the kernels on the current stream and returns the output: a tensor, or ``(out, lse)`` with the
    base-2 log-sum-exp. It is called many times, may be captured into a CUDA graph, and must not synchronise.
    ``plan`` is the host work of a new batch (FlashInfer's ``plan``), timed apart.
    """

    run: Callable[[], Any]
    plan: Callable[[], None] | None = None


@dataclass(frozen=True)
class Backend:
    """A library's kernel behind one Python call; see :func:`register` for the fields."""

    name: str
    operations: tuple[str, ...]
    prepare: Callable[..., Prepared | Callable[[], Any]]
    knobs: Mapping[str, tuple[Knob, ...]] | Callable[[Any, Device], Iterable[Mapping[str, Knob]]]
    requires: tuple[str, ...] = ()
    install: str = ""
    devices: tuple[str, ...] = ("cuda",)
    unsupported: Callable[[Any, Device, Mapping[str, Knob]], str | None] | None = None
    build: Callable[..., None] | None = None
    launch_knobs: tuple[str, ...] = ()
    forget: Callable[[], None] | None = None
    source: Path = field(default=Path())
    modules: Callable[..., Iterable[Module]] | None = None
    own: bool = False
    """Registered by a user's file."""

    def candidates(self, workload: AnyWorkload, device: Device) -> Iterator[Candidate]:
        """Every setting of the knobs worth a name for this workload, supported or not."""
        if callable(self.knobs):
            for knobs in yielded_knobs(self.name, self.knobs(workload, device)):
                yield Candidate(self.name, knobs)
        else:
            for values in itertools.product(*self.knobs.values()):
                yield Candidate(self.name, tuple(zip(self.knobs, values, strict=True)))

    def missing(self) -> str | None:
        """The first module of ``requires`` that can't be found, or None."""
        return next((module for module in self.requires if not _is_installed(module)), None)

    def why_unsupported(self, workload: AnyWorkload, device: Device, candidate: Candidate) -> str | None:
        if device.kind not in self.devices:
            return f"needs {' or '.join(self.devices)}, this is {device.kind}"
        if self.unsupported is None:
            return None
        return checked_reason(self.name, self.unsupported(workload, device, dict(candidate.knobs)))

    @cached_property
    def source_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the backend's file and of the helpers beside it (``_*.py``); for a
        user's, of all files that the users' files may load.
        """
        if self.own:
            return REGISTRY.own_hash
        helpers = [path for path in self.source.parent.glob("_*.py") if path.name != "__init__.py"]
        return source_hash([self.source, *sorted(helpers)])


def _is_installed(module: str) -> bool:
    """Can a module be found, importing nothing? ``find_spec`` of a nested one would import its parents."""
    top, *nested = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not nested:
        return spec is not None
    inner = Path(*nested)
    names = [inner, *(inner.with_name(inner.name + suffix) for suffix in importlib.machinery.all_suffixes())]
    return any(Path(folder, name).exists() for folder in spec.submodule_search_locations or () for name in names)


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
        """Import every file of ``kernels/<family>/backends``, in name order."""
        if self._discovered:
            return
        self._discovered = True
        for family in family_names():
            package = importlib.import_module(f"autotune_cli.kernels.{family}.backends")
            for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
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


def register(
    *operations: str,
    name: str,
    knobs: Mapping[str, Iterable[Knob]] | Callable[[Any, Device], Iterable[Mapping[str, Knob]]] | None = None,
    requires: tuple[str, ...] = (),
    install: str = "",
    devices: tuple[str, ...] = ("cuda",),
    unsupported: Callable[[Any, Device, Mapping[str, Knob]], str | None] | None = None,
    build: Callable[..., None] | None = None,
    launch_knobs: tuple[str, ...] = (),
    forget: Callable[[], None] | None = None,
    modules: Callable[..., Iterable[Module]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a backend of the named operations.

    The function is called as ``prepare(problem, **knobs)`` in a worker process and returns a callable that launches
    the kernel and returns its output, or a :class:`Prepared`. It imports its library itself.

    Args:
        operations: such as ``"attention.decode"``.
        name: unique, ``library.variant``.
        knobs: values to try by name (their product), or a function ``(workload, device)`` that yields one mapping a
            candidate.
        requires: modules that must be there, such as ``library.module``; otherwise its candidates are ``unavailable``.
            They are looked for, not imported.
        install: the command that installs them.
        devices: ``"cuda"``, ``"cpu"`` or both.
        unsupported: ``(workload, device, knobs)`` to the reason why a candidate doesn't apply, or None.
        build: ``(workload, **knobs)``: compiles what the candidate needs, outside its time limit, when its turn comes.
        launch_knobs: knobs that only decide which kernels run with how many blocks. Candidates that differ in nothing
            else and fire the same kernels with the same launch shape are one candidate.
        forget: drops buffers that the library keeps between calls. Called while nothing of the backend is prepared,
            so that they come to lie elsewhere: times depend on where.
        modules: ``(workload, **knobs)`` to the :class:`~autotune_cli.kernels.modules.Module` objects that the candidate
            needs, in the order in which they are loaded; instead of ``build``. What isn't compiled yet is then built
            before the first candidate's turn, several at a time. Names them and compiles nothing.

    Raises:
        ValueError: an unknown operation, a name that another file has taken, both ``build`` and ``modules``, or one
            value where a list of values is meant.
    """
    unknown = [str(operation) for operation in operations if operation not in OPERATIONS]
    if unknown or not operations:
        raise ValueError(f"unknown operation {', '.join(unknown) or '(none)'}; known: {', '.join(OPERATIONS)}")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the name of a backend is a text, not {name!r}")
    table = checked_knobs(name, knobs)
    requires = checked_texts(name, "requires", requires)
    launch_knobs = checked_texts(name, "launch_knobs", launch_knobs)
    devices = checked_devices(name, devices)
    if build is not None and modules is not None:
        raise ValueError(f"{name}: modules are built one by one, so there is no build besides")

    def decorate(prepare: Callable[..., Any]) -> Callable[..., Any]:
        try:
            source = Path(inspect.getsourcefile(prepare) or "").resolve()
        except TypeError:  # a partial, an object that is called: what made it is in the user's files
            source = REGISTRY.own_files[-1] if REGISTRY.own_files else Path()
        REGISTRY.add(
            Backend(
                name,
                operations,
                prepare,
                table,
                requires,
                install,
                devices,
                unsupported,
                build if modules is None else _build_all(modules),
                launch_knobs,
                forget,
                source,
                modules,
                bool(REGISTRY.own_files),
            )
        )
        return prepare

    return decorate


def _build_all(modules: Callable[..., Iterable[Module]]) -> Callable[..., None]:
    """``build`` for a backend that names its modules: one after another."""

    def build(workload: AnyWorkload, **knobs: Knob) -> None:
        for module in modules(workload, **knobs):
            module.build()

    return build
