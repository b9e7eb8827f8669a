"""The devices whose results a file holds: one at a time, as times of two can't be compared."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.measure.statistics import percentile
from autotune_cli.results.schema import Environment, RunFile, Settings, WorkloadResult


def by_device(run: RunFile) -> list[tuple[Environment, list[WorkloadResult]]]:
    """The results of each device, the one of the run that wrote the file first: one device a table.

    A cache may hold several environments of one device; the newest result's stands for it.
    """
    found: dict[str, tuple[Environment, list[WorkloadResult]]] = {run.device.device: (run.device, [])}
    for result in run.workloads:
        environment = run.environments[result.environment]
        found.setdefault(environment.device, (environment, []))[1].append(result)
    return [(environment, results) for environment, results in found.values() if results] or [(run.device, [])]


def how_measured(
    run: RunFile, environment: Environment, results: Sequence[WorkloadResult]
) -> tuple[Environment, Settings, float | None]:
    """What a device's header says: the settings and the noise floor of the run that wrote the file are those of its own
    device only; another one's are in what its results depend on.
    """
    if environment.device == run.device.device or not results:
        return environment, run.settings, run.noise_floor
    identity = results[-1].identity
    changes: dict[str, object] = {
        name: int(identity[name]) for name in ("rounds", "iterations", "places", "seed") if name in identity
    }
    if "exhaustive" in identity:
        changes["exhaustive"] = identity["exhaustive"] == "yes"
    changes |= {name: identity[name] for name in ("timer", "l2") if name in identity}
    noises = [result.noise for result in results if result.noise is not None]
    return environment, run.settings.model_copy(update=changes), percentile(noises, 95.0)


def of_device(run: RunFile, name: str) -> RunFile:
    """The run with the results of one device only.

    Args:
        name: a part of the device's name, in any case.

    Raises:
        UnknownName: no device of the file is called like that.
        BadField: several are.
    """
    known = list(dict.fromkeys(environment.device for environment, results in by_device(run) if results))
    wanted = " ".join(name.lower().split())
    found = [device for device in known if wanted in device.lower()]
    exact = [device for device in known if wanted == device.lower()]
    if not found or not wanted:
        raise UnknownName("device of this file", name, known)
    if len(exact or found) > 1:
        raise BadField(field="device", detail=f"{name!r} fits several devices of this file: {', '.join(found)}")
    (device,) = exact or found
    here = [(environment, results) for environment, results in by_device(run) if environment.device == device]
    (environment, results) = here[0]
    _, settings, noise = how_measured(run, environment, results)
    keys = {result.environment for result in results}
    first = next(key for key in keys if run.environments[key] == environment)
    return run.model_copy(
        update={
            "environments": {key: run.environments[key] for key in keys},
            "environment": first,
            "settings": settings,
            "noise_floor": noise,
            "workloads": tuple(results),
        }
    )
