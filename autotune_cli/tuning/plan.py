"""Which candidates a workload has, and why others don't apply. Imports no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from autotune_cli import kernels
from autotune_cli.kernels.engines import Baseline
from autotune_cli.kernels.family import family
from autotune_cli.kernels.registering import MOST_CANDIDATES
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, source_hash
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.tuning.baselines import planned_baselines, with_status
from autotune_cli.tuning.messages import BackendInfo, Planned, PlannedWorkload


def plan(
    workload: AnyWorkload, device: Device, baselines: Sequence[Baseline] = (), model_type: str = ""
) -> PlannedWorkload:
    """All candidates of a workload: those of the baselines first, then one of each backend in turn.

    The order is that of vetting and, inside a tie set, of preference; a budget that ends early has then seen every
    backend.

    Args:
        baselines: the default first; those whose options don't concern the workload are left out.
        model_type: of the model's config.json, by which some engines choose.
    """
    turns = list(_in_turn([of_backend(backend, workload, device) for backend in REGISTRY.of(workload.operation)]))
    found, added = planned_baselines(workload, device, baselines, model_type, turns)
    keys = [baseline.candidate for baseline in found]
    default = keys[0] if keys else None
    turns += [one(candidate, workload, device) for candidate in added]
    by_key = {planned.candidate.key: planned for planned in turns}
    found = tuple(with_status(baseline, by_key) for baseline in found)
    turns.sort(key=lambda planned: keys.index(planned.candidate.key) if planned.candidate.key in keys else len(keys))
    candidates = [replace(planned, default=planned.candidate.key == default) for planned in turns]
    names = sorted({planned.candidate.backend for planned in candidates if planned.status is None})
    sources = {name: REGISTRY.get(name).source_hash for name in names}
    sources["problem"] = source_hash(family(workload.operation).sources())
    launch_knobs = {name: REGISTRY.get(name).launch_knobs for name in names}
    own = REGISTRY.own_hash if REGISTRY.own_files else ""
    return PlannedWorkload(workload, tuple(candidates), sources, launch_knobs, found, own, _own(names))


def _own(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the backends that a user's file registers, or a helper of it."""
    package = Path(kernels.__file__).resolve().parent
    return tuple(name for name in names if not REGISTRY.get(name).source.resolve().is_relative_to(package))


def backends() -> list[BackendInfo]:
    """Every backend and what it lacks here."""
    return [
        BackendInfo(
            name=backend.name,
            operations=backend.operations,
            knobs="by workload" if callable(backend.knobs) else ", ".join(backend.knobs),
            missing=backend.missing(),
            install=backend.install,
            devices=backend.devices,
            source=str(backend.source),
            needs=backend.needs,
        )
        for backend in REGISTRY.all()
    ]


def of_backend(backend: Backend, workload: AnyWorkload, device: Device) -> list[Planned]:
    """The backend's candidates, and why some can't be measured here.

    Raises:
        ValueError: too many of them, or two that have the same name; or what a hook of the backend returned.
    """
    missing = backend.missing()
    found: dict[str, Planned] = {}
    for candidate in backend.candidates(workload, device):
        planned = found.setdefault(candidate.key, _planned(backend, candidate, workload, device, missing))
        if planned.candidate is not candidate and repr(planned.candidate) != repr(candidate):
            raise ValueError(
                f"backend {backend.name}: {candidate.knobs!r} and {planned.candidate.knobs!r} have the same name"
            )
        if len(found) > MOST_CANDIDATES:
            raise ValueError(f"backend {backend.name}: more than {MOST_CANDIDATES:,} candidates for {workload.key}")
    return list(found.values())


def one(candidate: Candidate, workload: AnyWorkload, device: Device) -> Planned:
    """A candidate that its backend doesn't list itself, as a baseline may name one."""
    backend = REGISTRY.get(candidate.backend)
    return _planned(backend, candidate, workload, device, backend.missing())


def _planned(
    backend: Backend, candidate: Candidate, workload: AnyWorkload, device: Device, missing: str | None
) -> Planned:
    _check_knobs(candidate)
    promises = backend.promises_more(candidate)
    reason = backend.why_unsupported(workload, device, candidate)
    if reason is not None:
        return Planned(candidate, False, "unsupported", reason, promises=promises)
    if missing is not None:
        fix = backend.install or f"pip install {missing}"
        return Planned(candidate, False, "unavailable", f"{missing} is not installed", fix, promises)
    return Planned(candidate, promises=promises)


def _check_knobs(candidate: Candidate) -> None:
    """Knobs stand in result files.

    Raises:
        ValueError: a value that JSON doesn't have.
    """
    for name, value in candidate.knobs:
        plain = value is None or type(value) in (bool, int, float, str)
        if not plain or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(
                f"backend {candidate.backend}: knob {name}={value!r} is neither a finite number, text, true, false "
                "nor None"
            )


def _in_turn(groups: Iterable[list[Planned]]) -> Iterator[Planned]:
    for row in itertools.zip_longest(*groups):
        yield from (planned for planned in row if planned is not None)
