"""What a run tells whoever watches it. The engine knows nothing of tables or terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.results.schema import CandidateResult, Environment, Settings, WorkloadResult
    from autotune_cli.tuning.race import Race


class Progress:
    """Does nothing; renderers override what they show. May be called from several threads."""

    def begin(self, environment: Environment, settings: Settings, keys: Sequence[str]) -> None:
        """The run starts; ``keys`` are all its workloads in order."""

    def note(self, text: str) -> None:
        """Something the user should know: a warning, a cache miss explained."""

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
