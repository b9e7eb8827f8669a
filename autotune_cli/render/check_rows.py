"""What a table of checks says: a column a backend, a row a kind of input, the worst of its candidates and shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autotune_cli.tuning.cells import Cell

_WORDS = {"error": "error", "timeout": "hangs", "crashed": "crash", "out_of_memory": "memory"}
NOT_JUDGED = "-"


@dataclass(frozen=True)
class Matrix:
    """The checks of one operation."""

    operation: str
    measure: str
    """What the numbers are."""
    backends: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """Each kind of input, and a word for each backend: ``ok``, how wrong its worst candidate is and, where others are
    right, how many are not; ``-``: none could be judged."""


def matrices(cells: Sequence[Cell]) -> list[Matrix]:
    """One for each operation, in order."""
    found = []
    for operation in dict.fromkeys(cell.workload.operation for cell in cells):
        own = [cell for cell in cells if cell.workload.operation == operation]
        backends = tuple(dict.fromkeys(cell.candidate.backend for cell in own))
        cases = tuple(dict.fromkeys(cell.case for cell in own if cell.case))
        by_place: dict[tuple[str, str], list[Cell]] = {}
        for cell in own:
            by_place.setdefault((cell.case, cell.candidate.backend), []).append(cell)
        rows = tuple((case, tuple(_word(by_place.get((case, name), [])) for name in backends)) for case in cases)
        measures = dict.fromkeys(
            cell.checked.evidence.measure for cell in own if cell.checked.evidence is not None and cell.status == "ok"
        )
        found.append(Matrix(operation, ", ".join(measures) or "nothing was right", backends, rows))
    return found


def _word(cells: list[Cell]) -> str:
    judged = [cell for cell in cells if cell.status == "ok" or cell.is_wrong]
    wrong = [cell for cell in judged if cell.is_wrong]
    if not wrong:
        return "ok" if judged else NOT_JUDGED
    worst = max(wrong, key=_severity)
    count = len({cell.candidate for cell in wrong})
    total = len({cell.candidate for cell in judged})
    part = "" if count == total else f" {count}/{total}"
    return f"{_how_wrong(worst)}{part}"


def _severity(cell: Cell) -> tuple[bool, float]:
    evidence = cell.checked.evidence
    error = evidence.error if evidence is not None else None
    return cell.status != "incorrect", float("inf") if error is None else error


def _how_wrong(cell: Cell) -> str:
    if cell.status != "incorrect":
        return _WORDS[cell.status]
    evidence = cell.checked.evidence
    if evidence is None or evidence.error is None:
        return "wrong"
    return f"{evidence.error:g}"


def reasons(cells: Sequence[Cell]) -> Iterator[tuple[str, str]]:
    """For each candidate that isn't right everywhere, why; what a backend lacks here only once."""
    said: set[tuple[str, str]] = set()
    by_candidate: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.status != "ok":
            by_candidate.setdefault((cell.workload.operation, cell.candidate.key), []).append(cell)
    for group in by_candidate.values():
        wrong = [cell for cell in group if cell.is_wrong]
        if wrong:
            worst = max(wrong, key=_severity)
            kinds = ", ".join(dict.fromkeys(cell.case for cell in wrong))
            where = f"{worst.workload.key.partition(' scores ')[0]}, {worst.case}"
            yield worst.candidate.label, f"wrong on {kinds}; {where}: {worst.checked.reason}"
        for cell in group:
            if cell.is_wrong:
                continue
            fix = f"; get it: {cell.fix}" if cell.fix else ""
            line = (cell.candidate.backend, f"{cell.checked.reason}{fix}")
            if line not in said:
                said.add(line)
                yield line


def totals(cells: Sequence[Cell]) -> str:
    """One line: how many checks were right, wrong, and could not be made."""
    right = sum(cell.status == "ok" for cell in cells)
    wrong = sum(cell.is_wrong for cell in cells)
    judged = {cell.candidate for cell in cells if cell.status == "ok" or cell.is_wrong}
    text = f"{right + wrong} checks of {len(judged)} candidates: {right} right, {wrong} wrong"
    others = {cell.candidate for cell in cells} - judged
    return f"{text}; {len(others)} candidates can't run here" if others else text
