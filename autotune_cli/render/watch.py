"""Progress of a run: what the live table of a terminal and the plain lines of a log have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from autotune_cli.plain_text import shown
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.text import plural
from autotune_cli.results.schema import CandidateResult, Environment, Settings, WorkloadResult
from autotune_cli.tuning.progress import BuildsState, TuneProgress
from autotune_cli.tuning.race import Race

PHASES = {
    "probe": "measuring the device",
    "build": "building",
    "modules": "loading",
    "vet": "checking",
    "judge": "checking",
    "properties": "comparing runs of",
    "reference": "computing the exact output of",
    "prepare": "preparing",
    "round": "timing",
    "recheck": "checking again",
}


class Opened:
    """A workload in work."""

    def __init__(self, key: str, labels: Sequence[str]) -> None:
        self.key = key
        self.left = list(labels)
        self.vetted: dict[str, CandidateResult] = {}
        self.race: Race | None = None
        self.phase = ""


class Watcher(TuneProgress):
    """What is known of a run so far; subclasses show it.

    Nothing here prints while it holds ``lock``: rich holds the live table's lock while it draws, and drawing takes
    ``lock``, so the other order would stop both threads for ever.
    """

    def __init__(self, console: Console, said: Callable[[str], str] = str) -> None:
        """``said`` names the fields in a note as the command does."""
        self.console = console
        self.said = said
        self.lock = threading.RLock()
        self.total = 0
        self.results: list[WorkloadResult] = []
        self.open_ones: dict[str, Opened] = {}
        self.started = time.monotonic()
        self.builds_state = BuildsState(0)
        self.measuring_since: float | None = None
        """When the builds were over, if there were any."""

    def begin(self, environment: Environment, settings: Settings, keys: Sequence[str]) -> None:
        environment, settings = shown_record(environment), shown_record(settings)
        with self.lock:
            self.total = len(keys)
            self.started = time.monotonic()
        # The whole header stands above the results.
        line = f"tuning {plural(len(keys), 'workload')} on {environment.device}"
        self.console.print(line, style="dim", highlight=False, markup=False)

    def note(self, text: str) -> None:
        self.console.print(Text(f"note: {shown(self.said(text))}", style="yellow"), soft_wrap=True)

    def builds(self, state: BuildsState) -> None:
        state = shown_record(state)
        with self.lock:
            failed = [state.failed[title] for title in state.failed if title not in self.builds_state.failed]
            self.builds_state = state
            if state.done == state.total:
                self.measuring_since = time.monotonic()
        for reason in failed:
            # Above the table, where it stays.
            self.console.print(Text(reason, style="red"), soft_wrap=True)

    def open(self, key: str, candidates: Sequence[CandidateResult], labels: Sequence[str]) -> None:
        with self.lock:
            self.open_ones[key] = Opened(key, shown_record(labels))

    def phase(self, key: str, name: str, subject: str) -> None:
        with self.lock:
            if key in self.open_ones:
                self.open_ones[key].phase = f"{PHASES.get(name, name)} {shown(subject)}"

    def vetted(self, key: str, candidate: CandidateResult) -> None:
        with self.lock:
            # Shown, but by its own key: the race knows it by that.
            self.open_ones[key].vetted[candidate.key] = shown_record(candidate)

    def round(self, key: str, race: Race) -> None:
        with self.lock:
            self.open_ones[key].race = race

    def done(self, result: WorkloadResult) -> None:
        with self.lock:
            self.open_ones.pop(result.key, None)
            self.results.append(shown_record(result))

    def time_left(self) -> str:
        """From the workloads that were measured so far."""
        measured = sum(not result.reused for result in self.results)
        left = self.total - len(self.results)
        if not measured or not left:
            return ""
        since = self.started if self.measuring_since is None else self.measuring_since
        seconds = (time.monotonic() - since) / measured * left
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"
