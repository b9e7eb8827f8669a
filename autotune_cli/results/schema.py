"""The result file: one JSON document a run. Validated on read; published as docs/run.schema.json.

Times are microseconds unless a field's name says otherwise. Illegal states can't be written: a candidate that was
measured has rounds, one that wasn't has a reason.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_core import CoreSchema

from autotune_cli.kernels.workload import Workload

SCHEMA_VERSION: Final = 2

KnobValue = bool | int | float | str | None
Status = Literal[
    "ok",  # right, and raced to the end
    "eliminated",  # right, and dropped from the race because it is slower
    "duplicate",  # right, and launches exactly the kernels of another candidate (same_as)
    "skipped",  # not measured: the budget was spent
    "unsupported",  # doesn't apply to this workload or device
    "unavailable",  # its library is not installed
    "incorrect",
    "error",
    "timeout",
    "crashed",
    "out_of_memory",
]
MEASURED: tuple[Status, ...] = ("ok", "eliminated")
FAILED: tuple[Status, ...] = ("incorrect", "error", "timeout", "crashed", "out_of_memory")


def _stop_at_the_first(schema: Any) -> None:
    """Have every list and object in a schema stop at its first wrong element. Otherwise pydantic keeps an error, half a
    kilobyte, for each: a file of 2 MB took 1.6 GB. (``fail_fast`` of pydantic-core: of lists from 2.20 on, of objects
    some versions later; an older one takes no notice.)
    """
    if isinstance(schema, dict):
        if schema.get("type") in ("tuple", "list", "dict"):
            schema["fail_fast"] = True
        for value in schema.values():
            _stop_at_the_first(value)
    elif isinstance(schema, list):
        for value in schema:
            _stop_at_the_first(value)


class Record(BaseModel):
    """Base of everything in the file: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _stop_at_the_first(schema)
        return schema


class Ceilings(Record):
    """What a device was measured to reach, for the floors; None: not measured. No timing depends on them, so they are
    part of no identity. How they are measured: docs/benchmarks.md, "What the floor is".
    """

    memory_gb_per_s: PositiveFloat | None = None
    """Memory bandwidth in GB/s: the fastest of several large reads and copies."""
    memory_sm_clock_mhz: PositiveFloat | None = None
    """SM clock while that was read or copied, in MHz."""
    memory_clock_mhz: PositiveFloat | None = None
    """Memory clock while that was read or copied, in MHz."""
    matmul_tflop_per_s: PositiveFloat | None = None
    """bfloat16 (CPU: float32) matrix rate in TFLOP/s: the fastest of several products in short bursts, as it was
    measured at ``matmul_sm_clock_mhz``."""
    matmul_sm_clock_mhz: PositiveFloat | None = None
    """SM clock during that burst, in MHz."""
    fp8_tflop_per_s: PositiveFloat | None = None
    """The same of float8_e4m3fn products, from compute capability 8.9 on."""
    fp8_sm_clock_mhz: PositiveFloat | None = None
    """SM clock during that burst, in MHz."""


class Environment(Ceilings):
    """What a timing depends on besides the workload and the candidate; and the ceilings, on which none does."""

    device_kind: Literal["cuda", "cpu"]
    device: str
    """The GPU's product name, or the processor's."""
    capability: tuple[int, int] | None = None
    multiprocessors: NonNegativeInt = 0
    memory_bytes: NonNegativeInt = 0
    l2_bytes: NonNegativeInt = 0
    driver: str | None = None
    cuda: str | None = None
    """CUDA version torch was built for."""
    threads: NonNegativeInt = 0
    """Threads torch computes with (CPU only)."""
    python: str
    libraries: dict[str, str] = {}
    """Versions: torch, triton, flashinfer, sgl_kernel; ``not installed`` where missing. Where installed also
    flash_attn.cute and what compiles its kernels, cutlass_dsl and quack."""
    variables: dict[str, str] = {}
    """Environment variables set by the user that change kernels (FLASHINFER_*, SGLANG_*, CUDA_*, OMP_*)."""
    power_limit_w: PositiveFloat | None = None
    max_sm_clock_mhz: PositiveFloat | None = None


class Settings(Record):
    """How a run measured."""

    timer: str
    """Its name: a file of measure/timers."""
    l2: Literal["cold", "warm"]
    rounds: NonNegativeInt
    iterations: NonNegativeInt
    places: PositiveInt = 1
    """At how many places in memory a round's calls are made; large inputs at one."""
    seed: int
    exhaustive: bool = False
    budget_s: PositiveFloat | None = None
    timeout_s: PositiveFloat = 60.0


class Kernel(Record):
    """A kernel that fired, with its launch shape."""

    name: str
    grid: tuple[int, int, int] | None = None
    """None: no kernel but a copy or a fill, or launched with several shapes."""
    block: tuple[int, int, int] | None = None
    count: PositiveInt = 1
    """Launches of it with this shape in one iteration."""
    us: NonNegativeFloat | None = None
    """Of all of them together, in one rough iteration."""


class CaseEvidence(Record):
    """How right a candidate was on one case of its workload."""

    case: str
    ok: bool
    measure: str
    """What ``error`` and ``limit`` are: ``error norm``, ``wrong indices in the worst row`` ..."""
    error: float | None = None
    """None: not a number."""
    limit: float | None = None
    message: str = ""


class Conditions(Record):
    """The GPU during one round. Dropped rounds have no times."""

    round: NonNegativeInt
    sm_clock_mhz: NonNegativeFloat | None = None
    memory_clock_mhz: NonNegativeFloat | None = None
    temperature_c: float | None = None
    power_w: NonNegativeFloat | None = None
    throttle: tuple[str, ...] = ()
    dropped: bool = False


class HostTime(Record):
    """Median host time of preparing and launching, apart from the kernels."""

    plan_us: NonNegativeFloat | None = None
    launch_us: NonNegativeFloat | None = None


class CandidateResult(Record):
    """What is known of one candidate on one workload."""

    key: str
    backend: str
    knobs: dict[str, KnobValue] = {}
    label: str
    default: bool = False
    """Is it what the first of the workload's baselines runs?"""
    status: Status
    reason: str | None = None
    fix: str | None = None
    """A command that makes an unavailable candidate available."""
    kernels: tuple[Kernel, ...] = ()
    evidence: tuple[CaseEvidence, ...] = ()
    rough_us: PositiveFloat | None = None
    """One rough time from the vetting, also of wrong candidates."""
    rounds: tuple[NonNegativeInt, ...] = ()
    """Numbers of the rounds it was measured in."""
    rounds_us: tuple[PositiveFloat, ...] = ()
    """Median of the iterations of each of ``rounds``."""
    median_us: PositiveFloat | None = None
    interval_us: tuple[PositiveFloat, PositiveFloat] | None = None
    """95 % interval of the median; None: one round gives none."""
    host: HostTime = HostTime()
    build_s: NonNegativeFloat | None = None
    same_as: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CandidateResult:
        if len(self.rounds) != len(self.rounds_us):
            raise ValueError(f"{self.key}: {len(self.rounds)} round numbers for {len(self.rounds_us)} times")
        if len(set(self.rounds)) != len(self.rounds):
            raise ValueError(f"{self.key}: a round is there twice")
        if self.rounds_us and self.median_us is None:
            raise ValueError(f"{self.key}: rounds without a median")
        if self.status in ("unsupported", "unavailable", "skipped", *FAILED) and not self.reason:
            raise ValueError(f"{self.key}: status {self.status} without a reason")
        if self.status == "duplicate" and not self.same_as:
            raise ValueError(f"{self.key}: a duplicate of nothing")
        if self.status in MEASURED and any(not case.ok for case in self.evidence):
            raise ValueError(f"{self.key}: status {self.status} with a wrong output")
        return self


class Choice(Record):
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


class BaselineResult(Record):
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


class WorkloadResult(Record):
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

    @model_validator(mode="after")
    def _keys_resolve(self) -> WorkloadResult:
        if self.key != self.workload.key:
            raise ValueError(f"the key {self.key!r} is not that of the workload, {self.workload.key!r}")
        keys = [candidate.key for candidate in self.candidates]
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.key}: a candidate is there twice")
        for candidate in self.candidates:
            if candidate.status == "ok" and not candidate.rounds_us:
                raise ValueError(f"{candidate.key}: status ok without rounds")
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


class RunFile(Record):
    """One run, or the cache of a name."""

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["run", "cache"]
    name: str
    created: str
    """ISO 8601, UTC."""
    program: str
    """``kernel-autotune 0.1.0``."""
    command: tuple[str, ...]
    environments: dict[str, Environment]
    """By short hash. A run has one; a cache may hold results of several devices."""
    environment: str
    """That of the run which wrote the file."""
    settings: Settings
    noise_floor: NonNegativeFloat | None = None
    """95th percentile of the workloads' A/A differences."""
    complete: bool = True
    """False: interrupted or out of budget before every workload was judged."""
    wall_s: NonNegativeFloat = 0.0
    workloads: tuple[WorkloadResult, ...]

    @model_validator(mode="after")
    def _workloads_are_unique(self) -> RunFile:
        """One result a workload and device."""
        missing = {self.environment, *(workload.environment for workload in self.workloads)} - set(self.environments)
        if missing:
            raise ValueError(f"environment {min(missing)} is named but not there")
        seen = [(workload.key, self.environments[workload.environment].device) for workload in self.workloads]
        if len(set(seen)) != len(seen):
            raise ValueError("a workload is there twice for one device")
        return self

    @property
    def device(self) -> Environment:
        """The environment of the run which wrote the file."""
        return self.environments[self.environment]


def schema_text() -> str:
    """What docs/run.schema.json holds."""
    return json.dumps(RunFile.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
