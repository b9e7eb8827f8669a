"""What is told of the tables of a cluster that are filled beside the first, which alone is shown meanwhile."""

from __future__ import annotations

from autotune_cli.fields import joined
from autotune_cli.results.schema import WorkloadResult
from autotune_cli.tuning.progress import TuneProgress


class NotedProgress(TuneProgress):
    """Notes, and a line for each result, that name the table's nodes."""

    def __init__(self, progress: TuneProgress, nodes: str) -> None:
        self._progress = progress
        self._nodes = nodes

    def note(self, text: str) -> None:
        self._progress.note(joined(": ", (self._nodes, text)))

    def done(self, result: WorkloadResult) -> None:
        winner = "no winner" if result.choice is None else result.candidate(result.choice.winner).label
        self._progress.note(f"{self._nodes}: {result.key}: {winner}")
