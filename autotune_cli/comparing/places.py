"""Short names of workloads for tables: only as long as needed to tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.kernels.workload import AnyWorkload


def places(workloads: Sequence[AnyWorkload]) -> dict[str, str]:
    """By key: ``attention.decode 64x8192``, with the mode where both are there, or the whole key where that is not
    enough (several geometries)."""
    unique = {workload.key: workload for workload in workloads}
    names = {key: f"{workload.operation} {workload.shape.replace(' ', '')}" for key, workload in unique.items()}
    for better in (
        {key: f"{names[key]} {workload.mode}" for key, workload in unique.items()},
        {key: key for key in unique},
    ):
        used: dict[str, int] = {}
        for name in names.values():
            used[name] = used.get(name, 0) + 1
        names = {key: name if used[name] == 1 else better[key] for key, name in names.items()}
    return names
