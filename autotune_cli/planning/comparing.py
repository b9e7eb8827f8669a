"""A workload of the plan beside the untuned server, the best candidate, and the best that the engine could be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.errors import UnknownName
from autotune_cli.kernels.registry import parse_key
from autotune_cli.planning.configurations import Missing, Servers, Values
from autotune_cli.planning.records import Ran, Row
from autotune_cli.planning.times import Weighed, ratio_of
from autotune_cli.results.schema import RunFile, WorkloadResult


@dataclass(frozen=True)
class Untuned:
    """The server that nobody tuned: a baseline of the result."""

    name: str
    version: str | None
    runs: dict[str, Ran | Missing]
    """By workload key."""


def untuned_of(run: RunFile, servers: Servers, name: str | None, version: str | None) -> Untuned:
    """What the untuned server runs for each workload.

    Args:
        name: of a baseline; None: the first of the result's that is of the engine, or else the engine without options.
        version: that the user named. Another one than the result's runs what its rules say; None: the result's.

    Raises:
        UnknownName: the result has no such baseline.
    """
    engine = servers.server.engine
    known = list(dict.fromkeys(baseline.name for result in run.workloads for baseline in result.baselines))
    if name is not None:
        name = " ".join(name.split())
        if name not in known:
            raise UnknownName("baseline of this file", name, known)
    else:
        firsts = [result.baselines[0] for result in run.workloads if result.baselines]
        name = next((first.name for first in firsts if first.engine == engine), engine)
    of_result: str | None = None
    runs: dict[str, Ran | Missing] = {}
    for result in run.workloads:
        baseline = result.baseline(name)
        other = version is not None and baseline is not None and baseline.version not in (None, version)
        if baseline is None or (other and baseline.engine == engine):
            runs[result.key] = servers.unlisted(result, name)
            continue
        of_result = baseline.version
        if baseline.candidate is None or baseline.missing is not None:
            runs[result.key] = Missing(baseline.missing or "not measured")
        else:
            runs[result.key] = servers.measured(result, baseline.candidate, baseline.stand_in or "")
    return Untuned(name, of_result if of_result is not None else version, runs)


def row_of(
    servers: Servers,
    result: WorkloadResult,
    part: Weighed,
    values: Values,
    step_us: float,
    allowed: Sequence[Values],
    untuned: Untuned,
) -> Row:
    """One workload of the plan.

    Args:
        part: the workload in the planned step.
        values: the planned settings.
        step_us: of the planned step.
        allowed: all settings that the engine takes.
    """
    runs = servers.price(result, values)
    assert isinstance(runs, Ran)
    assert result.choice is not None
    best = servers.measured(result, result.choice.winner)
    assert isinstance(best, Ran)
    # Of settings that run one candidate, those of which least must be told.
    reachable, by = runs, ""
    for other in sorted(allowed, key=lambda each: len(servers.settings(each))):
        found = servers.price(result, other)
        if isinstance(found, Ran) and found.time.us < reachable.time.us:
            reachable, by = found, servers.typed(other)
    before = untuned.runs[result.key]
    told = best.key in {runs.key, reachable.key} or any(
        isinstance(found := servers.price(result, other), Ran) and found.key == best.key for other in allowed
    )

    def weighed(ran: Ran) -> Weighed:
        return Weighed(part.weight, ran.key, ran.time)

    return Row(
        result=result,
        weight=part.weight,
        share=part.weight * runs.time.us / step_us,
        runs=runs,
        untuned=before if isinstance(before, Ran) else None,
        untuned_missing=before.reason if isinstance(before, Missing) else "",
        best=best,
        reachable=reachable,
        reachable_by=by,
        gain=ratio_of(weighed(before), part) if isinstance(before, Ran) else None,
        compromise=ratio_of(part, weighed(reachable)),
        untold=ratio_of(weighed(reachable), weighed(best)),
        untold_reason="" if told else why_untold(servers, best.key, reachable.key),
        loss=ratio_of(part, weighed(best)),
    )


def why_untold(servers: Servers, best: str, reachable: str) -> str:
    """Why no setting of the engine runs the best candidate."""
    backend, knobs = parse_key(best)
    other, others = parse_key(reachable)
    own = dict(others) if other == backend else {}
    differing = tuple(name for name, value in knobs if own.get(name, None) != value) if own else ()
    for row in servers.server.untold:
        if row.fits(backend, differing or tuple(name for name, _ in knobs)):
            return f"{row.reason} ({row.source})"
    title = servers.server.table.title
    if differing:
        return f"{title} has no setting for {', '.join(differing)} of {backend}"
    return f"no setting of {title} runs {backend}"
