"""What is known of one workload: its candidates, the winner, and what the winner gains."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from autotune_cli.kernels.workload import Workload
from autotune_cli.results.schema.base import FileRecord
from autotune_cli.results.schema.candidate import MEASURED, CandidateResult
from autotune_cli.results.schema.conditions import Conditions
from autotune_cli.results.schema.traffic import StandsFor


class Choice(FileRecord):
    """The winner of one workload."""

    winner: str
    """Key of the candidate."""
    tie_set: tuple[str, ...]
    """Candidates that can't be told from the best, the winner among them."""
    best: str
    """Key of the candidate with the lowest time; the winner is a tie away from it at most."""
    default: str | None
    """Key of the candidate that the default baseline runs, if it is one that was planned."""
    over: str | None = None
    """Name of that baseline, which ``speedup`` is over."""
    speedup: PositiveFloat | None = None
    """Time of the default over the time of the winner; None where the default is missing or wrong."""
    speedup_interval: tuple[PositiveFloat, PositiveFloat] | None = None
    reason: str
    """Why this one: ``separated``, ``default within the tie set``, ``first of the tie set`` ..."""

    @model_validator(mode="after")
    def _winner_is_tied(self) -> Choice:
        if self.winner not in self.tie_set:
            raise ValueError(f"the winner {self.winner} is not in the tie set")
        if self.speedup is not None and self.over is None:
            raise ValueError("a speed-up over nothing: the baseline's name is missing")
        return self


class BaselineResult(FileRecord):
    """What an engine, with named options, runs for a workload on this GPU, and what the winner gains over it."""

    name: str
    """Words that name it: ``sglang``, ``sglang --attention-backend flashinfer``."""
    engine: str
    """Empty: a candidate that the user named."""
    version: str | None = None
    """The engine's; None: not known."""
    version_from: Literal["installed", "newest known", "not recorded"] = "newest known"
    backend: str | None = None
    """In the engine's words: ``fa3``."""
    candidate: str | None = None
    """Key of the candidate that stands for it, measured or not."""
    missing: str | None = None
    """Why it was not measured; its place is never taken by another."""
    source: str = ""
    """Where the rule was read."""
    stand_in: str | None = None
    """What the candidate is where it is not the engine's own kernel, which can't be run here; None: it is."""
    speedup: PositiveFloat | None = None
    """Its time over the winner's time; None where it is missing or not right."""
    speedup_interval: tuple[PositiveFloat, PositiveFloat] | None = None
    """99 % interval."""

    @model_validator(mode="after")
    def _is_there_or_missing(self) -> BaselineResult:
        if self.candidate is None and self.missing is None:
            raise ValueError(f"baseline {self.name}: neither a candidate nor a reason why there is none")
        if self.speedup is not None and (self.candidate is None or self.missing is not None):
            raise ValueError(f"baseline {self.name}: a speed-up over what was not measured")
        return self


class ConstraintCost(FileRecord):
    """What it costs that only candidates may win that keep what is required."""

    best: str
    """Key of the fastest that does."""
    without: str
    """Key of the fastest of all that are right; the same one where it costs nothing."""
    ratio: PositiveFloat
    """Time of ``best`` over that of ``without``."""
    interval: tuple[PositiveFloat, PositiveFloat] | None = None
    """99 % interval; None: one round gives none."""


class WorkloadResult(FileRecord):
    """What is known of one workload."""

    workload: Workload
    key: str
    environment: str
    """Key of the file's ``environments`` in which it was measured."""
    identity: dict[str, str]
    """Everything the times depend on, by field; equal identities may be reused."""
    candidates: tuple[CandidateResult, ...]
    choice: Choice | None = None
    """None: no candidate was right."""
    required: tuple[str, ...] = ()
    """Properties without which a candidate can't win: see :class:`PropertyVerdict`."""
    constraint: ConstraintCost | None = None
    """What that costs; None: nothing is required, or it isn't known."""
    baselines: tuple[BaselineResult, ...] = ()
    """The default first; then others that the winner is held to."""
    conditions: tuple[Conditions, ...] = ()
    floor_us: PositiveFloat | None = None
    """Roofline: the least time the device needs for the workload's bytes and flops, at the ceilings of the run that
    measured it."""
    noise: NonNegativeFloat | None = None
    """A/A: |ratio - 1| of two copies of the same candidate in this workload."""
    noise_rounds: tuple[NonNegativeInt, ...] = ()
    noise_rounds_us: tuple[PositiveFloat, ...] = ()
    """Times of the second copy of ``noise_of`` by round."""
    noise_of: str | None = None
    stopped: str = ""
    """Why the race ended: ``separated``, ``precise``, ``rounds``, ``budget``, ``interrupted``. ``killed``: a candidate
    was not measured, as its worker was killed from outside each time; ``reference``: none was judged, as the exact
    output was not computed."""
    warnings: tuple[str, ...] = ()
    """What casts doubt on the choice, in words: a candidate that was far faster before the race than its winner ..."""
    device_s: NonNegativeFloat = 0.0
    """Device time spent on vetting and racing, flushes included, in seconds."""
    wall_s: NonNegativeFloat = 0.0
    measured_at: str
    """ISO 8601, UTC."""
    card: str | None = None
    """UUID of the GPU, as another one of the same product may be 2 or 3 % apart. None: not recorded, or a CPU."""
    reused: bool = False
    """Taken from the cache in this run."""
    weight: PositiveFloat | None = None
    """How often a server runs it in the file's ``traffic``, as against the other workloads. None: not known."""
    stands_for: StandsFor | None = None
    """What of that traffic it stands for; its steps times its layers are the weight."""

    @model_validator(mode="after")
    def _keys_resolve(self) -> WorkloadResult:
        if self.key != self.workload.key:
            raise ValueError(f"the key {self.key!r} is not that of the workload, {self.workload.key!r}")
        if self.stands_for is not None and self.weight is None:
            raise ValueError(f"{self.key} stands for steps of a server, and has no weight")
        points = len(self.workload.length_points)
        for candidate in self.candidates:
            for times in (*candidate.points_us, *([candidate.rough_points_us] if candidate.rough_points_us else [])):
                if len(times) != points:
                    raise ValueError(f"{candidate.key}: {len(times)} times for {points} lengths")
        keys = [candidate.key for candidate in self.candidates]
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.key}: a candidate is there twice")
        for candidate in self.candidates:
            if candidate.status == "ok" and not candidate.rounds_us:
                raise ValueError(f"{candidate.key}: status ok without rounds")
            if candidate.same_as is not None and candidate.same_as not in keys:
                raise ValueError(f"{candidate.key}: the same as {candidate.same_as}, which is no candidate")
        for priced in (self.constraint.best, self.constraint.without) if self.constraint else ():
            if priced not in keys:
                raise ValueError(f"{self.key}: what is required costs something over {priced}, which is no candidate")
        names = [baseline.name for baseline in self.baselines]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.key}: a baseline is there twice")
        for baseline in self.baselines:
            key = baseline.candidate
            if key is not None and baseline.missing is None and key not in keys:
                raise ValueError(f"{self.key}: the baseline {baseline.name} names {key}, which is no candidate")
        if self.choice is not None and self.choice.over is not None and self.choice.over not in names:
            raise ValueError(f"{self.key}: a speed-up over {self.choice.over}, which is none of its baselines")
        if self.choice is not None:
            by_key = {candidate.key: candidate for candidate in self.candidates}
            for key in (*self.choice.tie_set, self.choice.best):
                if key not in by_key:
                    raise ValueError(f"{self.key}: the choice names {key}, which is not a candidate")
                if by_key[key].status not in MEASURED:
                    raise ValueError(f"{self.key}: the choice names {key}, which is {by_key[key].status}")
                if not self.keeps(by_key[key]):
                    raise ValueError(f"{self.key}: the choice names {key}, which doesn't keep what is required")
        return self

    def baseline(self, name: str | None = None) -> BaselineResult | None:
        """The baseline of that name (None: the default), or None."""
        for baseline in self.baselines:
            if name is None or baseline.name == name:
                return baseline
        return None

    def candidate(self, key: str) -> CandidateResult:
        """The candidate of that key.

        Raises:
            KeyError: there is none.
        """
        for candidate in self.candidates:
            if candidate.key == key:
                return candidate
        raise KeyError(key)

    def keeps(self, candidate: CandidateResult) -> bool:
        """Was a candidate shown to keep what is required? Only one that was may be run."""
        return {verdict.name for verdict in candidate.properties if verdict.ok}.issuperset(self.required)

    def timed(self, candidate: CandidateResult) -> CandidateResult:
        """The one that was measured for it: what launches just the kernels of another one has its times."""
        return candidate if candidate.same_as is None else self.candidate(candidate.same_as)
