"""Does a result file still say what was measured? Environments are filed under the hash of their content, so one that
was edited by hand, or by a merge of two machines' files, shows: its results would get another machine's name.
"""

from __future__ import annotations

from pathlib import Path

from autotune_cli.results.identity import fits_key, legible
from autotune_cli.results.schema import RunFile, WorkloadResult

# Fields of an identity that repeat what the environment says, in the same words since the first version.
_REPEATED = ("device", "driver", "cuda")


def doubts(run: RunFile) -> list[str]:
    """A line for each environment that doesn't fit its hash, and each result that was measured in another one."""
    return [line for line, _ in _doubts(run)]


def sound_part(run: RunFile, path: Path) -> tuple[RunFile | None, list[str]]:
    """A file without the results that are in doubt, and a note for each reason.

    Args:
        path: for the notes.

    Returns:
        The same run and no notes where all is well; None where nothing is left of it.
    """
    found = _doubts(run)
    if not found:
        return run, []
    notes = [f"{path}: {line}; not used" for line, _ in found]
    dropped = {id(result) for _, results in found for result in results}
    kept = tuple(result for result in run.workloads if id(result) not in dropped)
    if not kept:
        return None, notes
    environments = {key: environment for key, environment in run.environments.items() if fits_key(key, environment)}
    writer = run.environment if run.environment in environments else kept[0].environment
    return run.model_copy(update={"environments": environments, "environment": writer, "workloads": kept}), notes


def _doubts(run: RunFile) -> list[tuple[str, list[WorkloadResult]]]:
    found = []
    unfit = [key for key, environment in run.environments.items() if not fits_key(key, environment)]
    for key in unfit:
        results = [result for result in run.workloads if result.environment == key]
        count = f"{len(results)} result{'' if len(results) == 1 else 's'}"
        line = f"environment {legible(key)}, {legible(run.environments[key].device)}, of {count} doesn't fit its hash"
        found.append((f"{line} (edited, or badly merged?)", results))
    for result in run.workloads:
        why = None if result.environment in unfit else _why_foreign(run, result)
        if why is not None:
            found.append((f"{result.key}: {why} (edited, or badly merged?)", [result]))
    return found


def _why_foreign(run: RunFile, result: WorkloadResult) -> str | None:
    """How the environment that a result names differs from what its identity says; None if it doesn't."""
    environment = run.environments[result.environment]
    for name in _REPEATED:
        measured, filed = result.identity.get(name), getattr(environment, name)
        if measured and filed and measured != filed:
            return f"measured with {name} {legible(measured)}, filed under {legible(filed)}"
    return None
