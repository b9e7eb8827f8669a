"""Which candidate a baseline runs for a workload on this GPU, and by which row of the engine's table."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.kernels.engines.baseline import Baseline
from autotune_cli.kernels.engines.data import Engine, load_engine
from autotune_cli.kernels.engines.situation import Situation


@dataclass(frozen=True)
class Resolved:
    """What a baseline comes to for one workload."""

    baseline: Baseline
    backend: str | None
    """In the engine's words: ``fa3``, ``flashinfer``, ``FLASH_ATTN``; None: no row of the table fits."""
    candidate: str | None
    """Key of a candidate; None: ``missing`` says why there is none."""
    missing: str | None
    source: str
    """Where the rows were read."""
    stand_in: str | None = None
    """What the candidate is, if not the engine's own kernel."""


def concerns(baseline: Baseline, operation: str) -> bool:
    """Does any of the baseline's options and variables change anything for the operation? One without concerns all."""
    if not baseline.engine:
        return True
    engine = load_engine(baseline.engine)
    told = [_concerns(engine, name, operation) for name, _ in baseline.options]
    told += [_is_among(engine.variables[name].operations, operation) for name, _ in baseline.named]
    return not told or any(told)


def resolve(baseline: Baseline, situation: Situation) -> Resolved:
    """What the baseline runs. ``situation``'s options and variables are replaced by the baseline's."""
    if not baseline.engine:
        return Resolved(baseline, None, baseline.candidate, None, "named by the user")
    engine = load_engine(baseline.engine)
    options = dict(baseline.options)
    given = {**options, **situation.server_options}
    variables = engine.variables_read(dict(baseline.variables), baseline.version)
    asked = Situation(**{**vars(situation), "options": given, "variables": variables})
    backend, source = _backend(engine, baseline, asked)
    if backend is None:
        missing = f"{engine.title}'s table has no row for it ({engine.read_in})"
        return Resolved(baseline, None, None, missing, engine.read_in)
    for row in engine.run_of.get(backend, ()):
        if row.hold(asked, baseline.version, engine.defaults):
            sources = "; ".join(dict.fromkeys(part for part in (source, row.source) if part))
            if row.candidate:
                values = {name.replace("-", "_"): value for name, value in {**engine.defaults, **options}.items()}
                return Resolved(baseline, backend, row.candidate.format(**values), None, sources, row.stand_in or None)
            return Resolved(baseline, backend, None, row.why_none, sources)
    missing = f"{engine.title}'s {backend} is no candidate of this program for {situation.operation}"
    return Resolved(baseline, backend, None, missing, source)


def _backend(engine: Engine, baseline: Baseline, situation: Situation) -> tuple[str | None, str]:
    """The engine's backend and where that was read: by an option that names it, else by the table."""
    for name, value in baseline.options:
        if engine.options[name].names_backend and _concerns(engine, name, situation.operation):
            return value, f"--{name}"
    for row in engine.backend:
        if row.hold(situation, baseline.version, engine.defaults):
            return row.name, row.source
    return None, ""


def _concerns(engine: Engine, name: str, operation: str) -> bool:
    operations = engine.options[name].operations
    return not operations or _is_among(operations, operation)


def _is_among(operations: tuple[str, ...], operation: str) -> bool:
    return any(operation == word or operation.startswith(f"{word}.") for word in operations)
