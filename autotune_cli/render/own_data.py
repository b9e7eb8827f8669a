"""The user's own kernels in what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune_cli.comparing.own import Against, OwnCandidate, OwnWorkload


def own_data(workloads: Sequence[OwnWorkload]) -> list[dict[str, Any]]:
    """One record a workload and candidate. Times are microseconds, ratios the other's time over the own one."""
    return [
        _record(workload.result.key, row, workload.in_before) for workload in workloads for row in workload.candidates
    ]


def _record(workload: str, row: OwnCandidate, in_before: bool) -> dict[str, Any]:
    result, before = row.result, row.before
    change: dict[str, Any] | None = None
    if before is not None:
        decision = before.decision
        change = {
            "verdict": str(before.verdict),
            "reasons": [str(reason) for reason in decision.reasons],
            "status": before.status_a,
            "time_us": before.a_us,
            "rough_us": before.a_rough_us,
            "ratio": decision.ratio,
            "interval": decision.interval,
            "p": decision.p,
            "threshold": decision.threshold,
        }
    return {
        "workload": workload,
        "candidate": result.key,
        "label": result.label,
        "status": result.status,
        "reason": result.reason,
        "rank": row.rank,
        "time_us": result.median_us,
        "interval_us": result.interval_us,
        "rough_us": result.rough_us,
        "default": _against(row.default),
        "best_other": _against(row.other),
        "change": change,
        "workload_was_there": in_before,
    }


def _against(against: Against | None) -> dict[str, Any] | None:
    if against is None:
        return None
    return {
        "candidate": against.key,
        "time_us": against.us,
        "ratio": against.ratio,
        "interval": against.interval,
        "rough": against.rough,
    }
