"""What a run tells its renderer. The engine has no code for tables or terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.results.schema import CandidateResult, Environment, Settings, WorkloadResult
    from autotune_cli.tuning.race import Race


@dataclass(frozen=True)
class BuildsState:
    """How far the modules are that had to be compiled, by their titles."""

    total: int
    running: Mapping[str, float] = field(default_factory=dict)
    """When each began, by ``time.monotonic()``."""
    built: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each took."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why each couldn't be built."""
    skipped: int = 0
    """Modules that the budget left no time for."""

    @property
    def done(self) -> int:
        return len(self.built) + len(self.failed) + self.skipped


class TuneProgress:
    """Does nothing; renderers override what they show. May be called from several threads."""

    def begin(self, environment: Environment, settings: Settings, keys: Sequence[str]) -> None:
        """The run starts; ``keys`` are all its workloads in order."""

    def note(self, text: str) -> None:
        """Something the user should know: a warning, a cache miss explained."""

    def builds(self, state: BuildsState) -> None:
        """A build of a module has begun or ended. Before the first workload is opened."""

    def open(self, key: str, candidates: Sequence[CandidateResult], labels: Sequence[str]) -> None:
        """A workload starts; ``candidates`` are known without measuring, ``labels`` are still to be vetted."""

    def phase(self, key: str, name: str, subject: str) -> None:
        """The worker does something: ``build``, ``vet``, ``round`` ..., for the candidate ``subject``."""

    def vetted(self, key: str, candidate: CandidateResult) -> None:
        """A candidate is vetted."""

    def round(self, key: str, race: Race) -> None:
        """A round is over."""

    def done(self, result: WorkloadResult) -> None:
        """A workload is judged, or was taken from the cache."""

    def end(self) -> None:
        """The run is over, however."""
