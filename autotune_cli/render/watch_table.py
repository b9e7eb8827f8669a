"""Progress of a run as a table that lives on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autotune_cli.measure.statistics import median, median_interval
from autotune_cli.render.text import plural, rough, with_interval
from autotune_cli.render.watch import Opened, Watcher
from autotune_cli.render.workloads import heights, workloads_view
from autotune_cli.results.schema import Environment, Settings

_SHOWN_CANDIDATES = 8
_REFRESH_PER_SECOND = 4.0
# Columns of the live table: a name, a time with its interval, a word such as "default out of memory".
_NAME, _TIME, _WORD = 64, 15, 22
_MODULE = 52


class LiveTable(Watcher):
    """Finished workloads above, the candidates of the current one below, then how far it is."""

    def __init__(self, console: Console, said: Callable[[str], str] = str) -> None:
        super().__init__(console, said)
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=True
        )

    def begin(self, environment: Environment, settings: Settings, keys: Sequence[str]) -> None:
        super().begin(environment, settings, keys)
        self._live.start()

    def end(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        with self.lock:
            # The terminal's height bounds the whole, or its end, the bar, would be cut off. A workload in work takes
            # three lines besides its candidates, the results two besides theirs, the bar and the cursor one each.
            height = self.console.height - 4
            works = list(self.open_ones.values())[: max(1, height // 4)]
            rows = max(1, min(_SHOWN_CANDIDATES, height // max(1, len(works)) - 3))
            room = height - len(works) * (rows + 3)
            parts: list[object] = []
            if self.builds_state.done < self.builds_state.total:
                modules = self._modules(height)
                parts.append(modules)
                room -= modules.row_count + 2
            head, each = heights(self.results[-max(1, room) :], None, self.console.width)
            if self.results and room >= head + each:
                # The newest matter most. Beside the results: their header, of which one line was counted, and a blank.
                newest = self.results[-((room + 1 - head) // each) :]
                parts.append(workloads_view(newest, None, self.console.width))
                parts.append(Text())
            for work in works:
                # Lines of their own, as a table's title and cells are no wider than the table.
                parts.append(Text(work.key, style="bold", no_wrap=True, overflow="ellipsis"))
                parts.append(self._candidates(work, rows))
                parts.append(Text(work.phase, style="cyan", no_wrap=True, overflow="ellipsis"))
            parts.append(self._bar())
            return Group(*parts)  # type: ignore[arg-type]

    def _modules(self, height: int) -> Table:
        """Before the first workload is opened: results from the cache give way."""
        state, now = self.builds_state, time.monotonic()
        table = Table(box=None, pad_edge=False, title_justify="left", title_style="bold")
        failed = f", {len(state.failed)} failed" if state.failed else ""
        table.title = f"built {len(state.built)} of {plural(state.total, 'module')}{failed}"
        table.add_column("module", no_wrap=True, width=max(12, min(_MODULE, self.console.width - 18)))
        table.add_column("time s", justify="right", no_wrap=True, width=8)
        table.add_column("", no_wrap=True)
        # Those in work first, the newest of the others next.
        rows = [(title, now - begin, "building", "cyan") for title, begin in state.running.items()]
        rows += [(title, seconds, "built", "dim") for title, seconds in reversed(list(state.built.items()))]
        for title, seconds, word, style in rows[: max(1, height - 3)]:
            table.add_row(Text(title, overflow="ellipsis"), f"{seconds:.0f}", word, style=style)
        return table

    def _candidates(self, work: Opened, shown: int) -> Table:
        # The name gives way, never the time.
        room = self.console.width - _TIME - _WORD - 2
        table = Table(box=None, pad_edge=False)
        table.add_column("candidate", no_wrap=True, width=max(12, min(_NAME, room)))
        table.add_column("time us", justify="right", no_wrap=True, width=_TIME)
        table.add_column("", no_wrap=True)
        rows = []
        race = work.race
        for key, candidate in work.vetted.items():
            times = list(race.times.get(key, {}).values()) if race is not None else []
            if times:
                text, value = with_interval(median(times), median_interval(times)), median(times)
            else:
                value = candidate.rough_us or float("inf")
                text = rough(candidate.rough_us) if candidate.rough_us else "-"
            out = race is not None and key in race.dropped
            word = candidate.status.replace("_", " ") if candidate.status != "ok" else "out" if out else ""
            if candidate.default:
                word = f"default {word}"
            style = "red" if candidate.status not in ("ok", "duplicate", "skipped") else "dim" if out else ""
            rows.append((out, value, candidate.label, text, word, style))
        # What is wrong stays in sight however slow it is.
        rows.sort(key=lambda row: (row[0], row[5] != "red" and row[1] == float("inf"), row[1]))
        for _, _, label, text, word, style in rows[:shown]:
            table.add_row(Text(label), text, word, style=style)
        return table

    def _bar(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        done = float(len(self.results))
        for work in self.open_ones.values():
            candidates = max(1, len(work.left))
            done_share = 0.5 * min(1.0, len(work.vetted) / candidates)
            if work.race is not None and work.race.best is not None:
                best = work.race.times[work.race.best]
                done_share = 0.5 + 0.5 * min(1.0, len(best) / max(1, work.race.policy.rounds))
            done += done_share
        elapsed = time.monotonic() - self.started
        grid.add_row(
            ProgressBar(total=max(1, self.total), completed=done, width=30),
            f"{len(self.results)} of {plural(self.total, 'workload')}, {elapsed:.0f} s",
            self.time_left(),
        )
        return grid
