"""The user's own kernels in words: what they are held to, and how they stand."""

from __future__ import annotations

from autotune_cli.comparing.own import Against, OwnCandidate, OwnWorkload
from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.render.diff_words import change, plain_word
from autotune_cli.render.text import batch_and_context, microseconds, operation, rough, time_of

COLUMNS = ("kernel", "time us", "default", "best other", "change")
# Closer than this to 1 a ratio has three digits; of rough times it says nothing (see comparing/rough.py).
_CLOSE = 1.1
_ROUGHLY = 1.2


def title(workload: OwnWorkload) -> str:
    """``topk.select 2 x 4096 eager: default torch.topk 301.0 us, best other ...``."""
    key = workload.result.workload
    where = f"{operation(key)} {' x '.join(batch_and_context(key))} {key.mode}"
    found = []
    for name in ("default", "other"):
        against: list[Against] = [one for row in workload.candidates if (one := getattr(row, name)) is not None]
        if against:
            word = "best other" if name == "other" else name
            found.append(f"{word} {against[0].label} {_time(against[0].us, against[0].rough)} us")
    before = workload.best_before
    if before is not None and (not workload.candidates or workload.candidates[0].result.key != before.key):
        found.append(f"best of yours before {before.label} {_time(before.us, before.rough)} us")
    return f"{where}: {', '.join(found)}" if found else where


def row_cells(row: OwnCandidate, in_before: bool) -> tuple[str, ...]:
    """Those of ``COLUMNS``; ``in_before``: was the workload in the run that this one is compared with?"""
    result = row.result
    label = f"{result.label} ({row.rank})" if row.rank else result.label
    return label, time_of(result), _against(row.default), _against(row.other), since(row, in_before)


def _against(against: Against | None) -> str:
    """``1.05x faster``, ``21.1x slower``, ``the same`` within the interval; ``~`` for rough times."""
    if against is None:
        return "-"
    low, high = against.interval or (against.ratio, against.ratio)
    factor = max(against.ratio, 1.0 / against.ratio)
    mark = "~" if against.rough else ""
    if low <= 1.0 <= high or (against.rough and factor < _ROUGHLY):
        return f"{mark}the same"
    return f"{mark}{factor:.{3 if factor < _CLOSE else 2}f}x {'faster' if against.ratio > 1.0 else 'slower'}"


def since(row: OwnCandidate, in_before: bool) -> str:
    """``faster -12.0 % (-13.1 .. -10.9)``: a verdict of ``autotune diff``."""
    before = row.before
    if before is None:
        return "-"
    decision = before.decision
    if before.verdict == ChangeVerdict.ONLY_B:
        return "new"
    if before.verdict == ChangeVerdict.STATUS:
        return f"was {plain_word(before.status_a)}"
    if before.verdict in (ChangeVerdict.ELIMINATED, ChangeVerdict.NOT_TIMED):
        was = before.a_rough_us if before.a_us is None else before.a_us
        return f"no change beyond rough times, was {_time(was, before.a_us is None)}" if was else "-"
    return f"{before.verdict} {change(decision.ratio, decision.interval)}".strip()


def _time(us: float, is_rough: bool) -> str:
    return rough(us) if is_rough else microseconds(us)
