"""Progress of a run as plain lines."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.plain_text import shown
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.text import plural, with_interval
from autotune_cli.render.watch import PHASES, Watcher
from autotune_cli.results.schema import CandidateResult, WorkloadResult
from autotune_cli.tuning.progress import BuildsState


class Lines(Watcher):
    """One line a workload: for logs and pipes."""

    def open(self, key: str, candidates: Sequence[CandidateResult], labels: Sequence[str]) -> None:
        super().open(key, candidates, labels)
        with self.lock:
            self.console.print(
                f"[{len(self.results) + 1}/{self.total}] {key}: {plural(len(labels), 'candidate')}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def builds(self, state: BuildsState) -> None:
        state = shown_record(state)
        with self.lock:
            before = self.builds_state
            super().builds(state)
            if not before.total:
                self._say(f"building {plural(state.total, 'module')} that candidates need")
            for title in [title for title in state.running if title not in before.running]:
                self._say(f"  {PHASES['build']} {title}")
            for title in [title for title in state.built if title not in before.built]:
                self._say(f"  built {title} in {state.built[title]:.0f} s ({state.done} of {state.total})")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def phase(self, key: str, name: str, subject: str) -> None:
        if name == "build":
            with self.lock:
                building = f"  {PHASES[name]} {shown(subject)}"
                if self.open_ones[key].phase != building:
                    self.open_ones[key].phase = building
                    self.console.print(building, highlight=False, markup=False, soft_wrap=True)

    def done(self, result: WorkloadResult) -> None:
        super().done(result)
        result = shown_record(result)
        with self.lock:
            words = "no winner"
            if result.choice is not None:
                winner = result.candidate(result.choice.winner)
                words = f"{winner.label} {with_interval(winner.median_us, winner.interval_us)} us"
                if result.choice.speedup is not None:
                    words += f", {result.choice.speedup:.2f}x over {result.choice.over}"
            if result.reused:
                words += " (cache)"
            left = self.time_left()
            self.console.print(
                f"[{len(self.results)}/{self.total}] {result.key}: {words}{f'; {left}' if left else ''}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
