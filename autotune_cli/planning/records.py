"""What a plan is: plain records, which commands print and exports write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotune_cli.errors import EXIT_NOT_COMPARABLE, AutotuneError
from autotune_cli.kernels.engines import Baseline
from autotune_cli.measure.statistics import Ratio
from autotune_cli.planning.times import Time
from autotune_cli.results.schema import WorkloadResult


class NoPlan(AutotuneError):
    """A result of which no setting of the engine can be priced."""

    template = "no plan for {engine}: {detail}"
    exit_code = EXIT_NOT_COMPARABLE


@dataclass(frozen=True)
class Ran:
    """A candidate that was measured for a workload."""

    key: str
    label: str
    time: Time
    stand_in: str = ""
    """What it is where it is not the engine's own kernel; empty: it is."""


@dataclass(frozen=True)
class Row:
    """A workload of the plan."""

    result: WorkloadResult
    weight: float
    """Calls of all layers of its kind, in the unit of the weights."""
    share: float
    """Of the planned step's time."""
    runs: Ran
    """What the planned server runs."""
    untuned: Ran | None
    """What the untuned server runs; None: ``untuned_missing`` says why that is not known, or must not count."""
    untuned_missing: str
    best: Ran
    """The workload's winner."""
    reachable: Ran
    """The fastest that any settings of the engine run, whatever they cost elsewhere."""
    reachable_by: str
    """Those settings, as typed; empty: the plan's."""
    gain: Ratio | None
    """The untuned server's time over the plan's."""
    compromise: Ratio
    """The plan's time over that of ``reachable``: what one server for all workloads costs here."""
    untold: Ratio
    """The time of ``reachable`` over the best's: what the engine can't be told costs here."""
    untold_reason: str
    """Why no setting runs the best; empty: one does."""
    loss: Ratio
    """The plan's time over the best's."""


@dataclass(frozen=True)
class Cost:
    """What a setting costs a workload: it would be faster without."""

    workload: str
    ratio: Ratio
    """Its time with the setting over that without."""


@dataclass(frozen=True)
class Setting:
    """One line of the plan."""

    name: str
    """Of the option or the variable, such as ``page-size``."""
    value: str
    typed: str
    """As it is typed: ``--page-size 64``."""
    variable: bool
    gain: Ratio | None
    """The step without it over the step with it, all other settings kept; None: without it nothing is known."""
    without: str
    """Why not; or empty."""
    costs: tuple[Cost, ...] = ()
    """The workloads that are slower with it beyond their intervals, the worst first."""


@dataclass(frozen=True)
class StepChange:
    """From microseconds to tokens: what the gain comes to in one kind of step of the whole model."""

    step: str
    """``decode``, ``prefill``, ``verify`` or ``top-k``."""
    shape: str
    """The batch shape; empty: the mean of all by weight."""
    layers: int
    attention_ms: float
    """Of the kernels in question in all layers, with the plan."""
    change_ms: float
    """Plan less untuned: below zero is faster."""
    half_ms: float
    """Half of its 95 % interval."""
    step_ms: float | None = None
    """The whole step, as the user measured it on the untuned server."""

    @property
    def before_ms(self) -> float:
        """Of the same kernels on the untuned server."""
        return self.attention_ms - self.change_ms

    @property
    def is_too_long(self) -> bool:
        """Do these kernels take longer than the whole step that was given? Then that step is of another batch."""
        return self.step_ms is not None and self.step_ms < self.before_ms

    @property
    def share(self) -> float | None:
        """Of the step that was given, below zero: it gets shorter. None: none was, or it is of another batch."""
        return None if self.step_ms is None or self.is_too_long else self.change_ms / self.step_ms


@dataclass(frozen=True)
class Plan:
    """One server for all workloads of a result on a device."""

    name: str
    """Of the result."""
    device: str
    engine: str
    title: str
    version: str | None
    version_from: str
    """``installed``, ``newest known`` or ``named``."""
    read_in: str
    """The versions in which the engine's rules were read."""
    model: str
    """Name of the result's model; empty: not known."""
    repository: str
    """What a server is started with: its Hugging Face repository, or a folder; empty: not known."""
    tp: int
    command: tuple[str, ...]
    """The command that made the result, without its baseline and its budget."""
    settings: tuple[Setting, ...]
    """What is told to the server, variables first; empty: nothing beats its own choice beyond the intervals."""
    values: Mapping[str, str]
    """Every knob's value; ``""``: left alone."""
    baseline: Baseline
    """The planned server by the name of a baseline of ``autotune tune``."""
    untuned: str
    """Name of the baseline that gains are over."""
    untuned_version: str | None
    weights: str
    """Where the weights are from, in words."""
    layers: Mapping[str, int]
    """Layers by workload key; empty: the model isn't known."""
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]
    """Workloads that no setting can be priced for, or that have no weight, with the reason."""
    step: Time
    """The weighted step, in microseconds by the weights' unit."""
    gain: Ratio | None
    """The untuned server's step over the plan's, of the workloads where that is known."""
    gain_mean: Ratio | None
    """Geometric mean of the workloads' gains."""
    compared: int
    """Workloads in both."""
    compromise: Ratio
    """The plan's step over that of a server that could be told anew for each workload."""
    untold: Ratio
    """That step over the one of the best candidates."""
    loss: Ratio
    considered: int
    """Combinations of settings that can be run and priced."""
    tied: int
    """Of them, those that can't be told from the fastest, the plan among them."""
    rejected: Sequence[tuple[str, str]] = field(default=())
    """Values of knobs that no combination has, with the reason."""
    unmeasured: tuple[tuple[str, str], ...] = ()
    """Of those, the ones that lack only a measurement, each with a server that has it, by the name of a baseline."""
    pins: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[StepChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rough(self) -> int:
        """Workloads whose planned candidate was measured once only."""
        return sum(row.runs.time.rough for row in self.rows)

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """What ran in the place of the engine's own kernels."""
        return tuple(dict.fromkeys(row.runs.stand_in for row in self.rows if row.runs.stand_in))
