"""Which workers of a cluster fill one table, and which tables fit into one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_cli.measure.statistics import percentile
from autotune_cli.results.identity import explain
from autotune_cli.results.schema import RunFile
from autotune_cli.tuning.cluster.remote import RemoteBench
from autotune_cli.tuning.messages import PlannedWorkload, ReadyToMeasure


@dataclass(frozen=True)
class Table:
    """Workers on which every workload's timings depend on the same."""

    benches: tuple[RemoteBench, ...]
    ready: ReadyToMeasure
    """The greeting of the first."""
    planned: Sequence[PlannedWorkload]
    identities: Mapping[str, Mapping[str, str]]

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(bench.host for bench in self.benches))


def tables(parts: Sequence[Table]) -> list[Table]:
    """Parts whose identities are equal as one; those with the most workers first."""
    found: dict[str, Table] = {}
    for part in parts:
        key = json.dumps([_memory(part), part.identities], sort_keys=True)
        first = found.setdefault(key, part)
        if first is not part:
            benches = (*first.benches, *part.benches)
            found[key] = Table(benches, first.ready, first.planned, first.identities)
    return sorted(found.values(), key=lambda table: -len(table.benches))


def files(found: Sequence[Table]) -> list[list[Table]]:
    """The tables of each file, which holds one result of a workload and device (see
    :class:`autotune_cli.results.schema.RunFile`). So a second driver of one GPU gets a file of its own.
    """
    shared: list[list[Table]] = []
    for table in found:
        device = table.ready.environment.device
        for file in shared:
            if all(other.ready.environment.device != device for other in file):
                file.append(table)
                break
        else:
            shared.append([table])
    return shared


def difference(first: Table, other: Table) -> str:
    """How what the timings of another table depend on differs from the first one's, in a few words."""
    changes = [] if _memory(first) == _memory(other) else [f"memory {_memory(first)} -> {_memory(other)} bytes"]
    for key, fields in other.identities.items():
        changes += explain(first.identities.get(key, {}), fields)
    return "; ".join(dict.fromkeys(changes))


def _memory(table: Table) -> int:
    """In bytes; 0: of a processor, where it makes no difference. GPUs of one name may have more or less of it."""
    environment = table.ready.environment
    return environment.memory_bytes if environment.device_kind == "cuda" else 0


def one_file(runs: Sequence[RunFile]) -> RunFile:
    """The tables of several devices as one file. What it says of the run itself are the first one's words."""
    first, *others = runs
    if not others:
        return first
    fields = {name: getattr(first, name) for name in RunFile.model_fields}
    noises = [result.noise for result in first.workloads if result.noise is not None]
    fields |= {
        "environments": {key: found for run in runs for key, found in run.environments.items()},
        "noise_floor": percentile(noises, 95.0),
        "complete": all(run.complete for run in runs),
        "wall_s": max(run.wall_s for run in runs),
        "workloads": tuple(result for run in runs for result in run.workloads),
    }
    return RunFile(**fields)
