"""Which results of a run the cache keeps: a noisy time would be reused for as long as nothing else changes."""

from __future__ import annotations

from autotune_cli.fields import Message
from autotune_cli.measure.noise import likely_cause, why_noisy
from autotune_cli.results.schema import RunFile


def split_noisy(run: RunFile) -> tuple[RunFile, tuple[str, ...]]:
    """The run as the cache keeps it, and the keys of workloads that it doesn't keep.

    What the run took from the cache is in there already: the user asked for that.
    """
    left_out = tuple(result.key for result in run.workloads if not result.reused and why_noisy(result) is not None)
    kept = tuple(result for result in run.workloads if result.key not in left_out)
    return run.model_copy(update={"workloads": kept}), left_out


def noisy_note(run: RunFile, left_out: tuple[str, ...], kept_in: str, load: float | None, cores: int | None) -> str:
    """What was left out of the cache, why, and what is likely to be the cause.

    Args:
        kept_in: where these results are instead.
        load: load average of the machine; None: not known.
        cores: processors that this program may use.
    """
    first = next(result for result in run.workloads if result.key == left_out[0])
    more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return Message(
        "too noisy for the cache: {first}{more}: {why}; likely cause: {cause}. "
        "Kept in {kept_in} only; {fields.keep_noisy} keeps such results in the cache, too",
        first=first.key,
        more=more,
        why=why_noisy(first),
        cause=likely_cause(first, load, cores),
        kept_in=kept_in,
    )
