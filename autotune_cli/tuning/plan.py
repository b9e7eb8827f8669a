"""Which candidates a workload has, and why others don't apply. Imports no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from autotune_cli import kernels
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, source_hash
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.tuning.jobs import BackendInfo, Planned, PlannedWorkload


def plan(workload: AnyWorkload, device: Device) -> PlannedWorkload:
    """All candidates of a workload: the default first, then one of each backend in turn.

    The order is that of vetting and, inside a tie set, of preference; a budget that ends early has then seen every
    backend.
    """
    found = [_of_backend(backend, workload, device) for backend in REGISTRY.of(workload.operation)]
    turns = list(_in_turn(found))
    turns.sort(key=lambda planned: not planned.default)
    # SGLang runs one thing: only the first that claims it and can run keeps the mark.
    candidates, taken = [], False
    for planned in turns:
        is_default = planned.default and not taken
        taken = taken or is_default
        candidates.append(
            Planned(planned.candidate, is_default, planned.status, planned.reason, planned.fix)
            if planned.default != is_default
            else planned
        )
    names = sorted({planned.candidate.backend for planned in candidates if planned.status is None})
    package = Path(kernels.__file__).parent / workload.operation.split(".")[0]
    sources = {name: REGISTRY.get(name).source_hash for name in names}
    sources["problem"] = source_hash(sorted(package.glob("*.py")))
    return PlannedWorkload(
        workload, tuple(candidates), sources, {name: REGISTRY.get(name).launch_knobs for name in names}
    )


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
        )
        for backend in REGISTRY.all()
    ]


def _of_backend(backend: Backend, workload: AnyWorkload, device: Device) -> list[Planned]:
    missing = backend.missing()
    result = []
    for candidate in backend.candidates(workload, device):
        _check_knobs(candidate)
        default = backend.is_default(workload, device, candidate)
        reason = backend.why_unsupported(workload, device, candidate)
        if reason is not None:
            result.append(Planned(candidate, False, "unsupported", reason))
        elif missing is not None:
            fix = backend.install or f"pip install {missing}"
            result.append(Planned(candidate, default, "unavailable", f"{missing} is not installed", fix))
        else:
            result.append(Planned(candidate, default))
    return result


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
