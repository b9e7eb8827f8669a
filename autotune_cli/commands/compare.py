"""``--compare``: the run that a new one is held against, and what is said of it and of the user's own kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_cli.comparing.own import Earlier, OwnWorkload, compare_with, own_workloads
from autotune_cli.comparing.records import Report
from autotune_cli.errors import BadField, BadFile
from autotune_cli.plain_text import shown
from autotune_cli.render.console import Console
from autotune_cli.results.naming import PREVIOUS, find_one
from autotune_cli.results.runs import RUNS, newest_runs
from autotune_cli.results.schema import RunFile

NONE = "none"


@dataclass(frozen=True)
class Compared:
    """An earlier run, or a note why there is none. Both are empty where no comparison was asked for."""

    earlier: Earlier | None = None
    note: str | None = None


def choose_earlier(asked: str | None, own: bool, use_cache: bool, root: Path, name: str, resume: bool) -> Compared:
    """The run to compare with. It is read before the new one is written, which may change the same cache file.

    Args:
        asked: as typed; None: ``previous`` for a fresh run of the user's own kernels, else nothing.
        own: is there a file with kernels of the user's?
        name: of the new run.
        resume: an incomplete run of that name is the new one's own.

    Raises:
        NoSuchResult: a name that names nothing.
        BadFile: a file that was named and can't be used.
        BadField: it is no run, or empty.
    """
    if asked is not None and not asked.strip():
        raise BadField("compare", "is empty")
    text = asked or (PREVIOUS if own and not use_cache else NONE)
    if text == NONE:
        return Compared()
    if text == PREVIOUS:
        return _previous(root, name, resume)
    return Compared(_read(find_one(text, root)))


def _previous(root: Path, name: str, resume: bool) -> Compared:
    """The newest run of the name. One that can't be read is a note and no error, as the user didn't name that file."""
    for path in newest_runs(root, name):
        try:
            earlier = _read(path)
        except BadFile as error:
            return Compared(note=f"not compared: {error}")
        if earlier.run.complete or not resume:
            return Compared(earlier)
    return Compared(note=f"nothing to compare with: no earlier run of {name!r} in {root / RUNS}")


def _read(path: Path) -> Earlier:
    from autotune_cli.comparing.loading import load

    content = load(path).content
    if not isinstance(content, RunFile):
        raise BadField(field="compare", detail=f"{path} holds choices of FlashInfer's and no times")
    return Earlier(path, content)


@dataclass(frozen=True)
class EditReport:
    """What a run after an edit says of the user's own kernels, and what changed since the earlier run."""

    workloads: list[OwnWorkload]
    compared: Compared
    report: Report | None

    @property
    def lines(self) -> list[str]:
        """Sentences on the comparison."""
        from autotune_cli.render.diff_model import environment_lines, totals
        from autotune_cli.results.identity import FILE

        found = [self.compared.note] if self.compared.note else []
        if self.report is None or self.compared.earlier is None:
            return found
        path = self.compared.earlier.path
        if self.report.refusal is not None:
            return [*found, f"not compared with {path}: {self.report.refusal}"]
        own = {f"source {row.result.backend}" for workload in self.workloads for row in workload.candidates}
        # A change of the user's own files is what the comparison is for.
        environment = [
            item for item in self.report.environment if item.field not in own and not item.field.startswith(FILE)
        ]
        found.append(f"compared with {path}; all candidates: {totals(self.report)}")
        return found + [f"environment: {line}" for line in environment_lines(environment)]

    def print(self, console: Console, every: bool) -> None:
        """Prints it below the table of the run."""
        from rich.text import Text

        from autotune_cli.render.own_kernels import print_own
        from autotune_cli.render.plain_records import shown_record

        if self.workloads:
            print_own(console, shown_record(self.workloads), list(map(shown, self.lines)), every)
            return
        for line in self.lines:
            console.print(Text(shown(line)), soft_wrap=True)

    def data(self) -> dict[str, Any]:
        """Fields of the JSON document; none where there are neither own kernels nor an earlier run."""
        from autotune_cli.comparing.exit_status import counts
        from autotune_cli.render.own_data import own_data

        found: dict[str, Any] = {"own": own_data(self.workloads)} if self.workloads else {}
        if self.compared.earlier is None and self.compared.note is None:
            return found
        earlier, report = self.compared.earlier, self.report
        found["compared"] = {
            "path": None if earlier is None else str(earlier.path),
            "note": self.compared.note if report is None else report.refusal,
            "counts": {} if report is None or report.refusal else counts(report),
            "verdicts": {} if report is None else {str(verdict): count for verdict, count in report.verdicts.items()},
        }
        return found


def report_on_edit(compared: Compared, path: Path, run: RunFile, kernels: bool) -> EditReport:
    """Hold a new run against the earlier one.

    Args:
        kernels: was there a file with kernels of the user's?
    """
    from autotune_cli.commands.flags import report_with_flags
    from autotune_cli.tuning.focus import is_own

    report = None if compared.earlier is None else report_with_flags(compare_with(compared.earlier, path, run))
    backends = {candidate.backend for result in run.workloads for candidate in result.candidates}
    own = {name for name in backends if is_own(name)} if kernels else set()
    return EditReport(own_workloads(run, own, report), compared, report)
