"""The results of one device of a file: a plan is for one."""

from __future__ import annotations

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.results.schema import RunFile, WorkloadResult


def of_one_device(run: RunFile, name: str | None) -> RunFile:
    """The file with the results of one device only; of a workload that is there twice, the newest.

    Args:
        name: a part of the product's name, in any case; None: the only one.

    Raises:
        UnknownName: no device of the file is called like that.
        BadField: several are, or none is named and the file has several.
    """
    products = {result.environment: run.environments[result.environment].device for result in run.workloads}
    known = list(dict.fromkeys(products.values())) or [run.device.device]
    found = known
    if name is not None:
        wanted = " ".join(name.lower().split())
        exact = [device for device in known if device.lower() == wanted]
        found = exact or [device for device in known if wanted and wanted in device.lower()]
        if not found:
            raise UnknownName("device of this file", name, known)
    if len(found) > 1:
        raise BadField("device", f"the file has results of {' and '.join(found)}; a plan is for one")
    kept = sorted((each for each in run.workloads if products[each.environment] == found[0]), key=_measured_at)
    newest = {result.key: result for result in kept}
    ordered = tuple(result for result in run.workloads if newest.get(result.key) is result)
    keys = [result.environment for result in ordered] or [run.environment]
    return run.model_copy(
        update={
            "environments": {key: run.environments[key] for key in dict.fromkeys(keys)},
            "environment": keys[-1],
            "workloads": ordered,
        }
    )


def _measured_at(result: WorkloadResult) -> str:
    return result.measured_at
