"""The lines below a run's table: how many candidates came to what, and the mean speed-ups."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.render import baselines
from autotune_cli.render.constraints import cost_totals
from autotune_cli.render.text import plural
from autotune_cli.render.traffic import weighted_totals
from autotune_cli.results.schema import FlashinferChoices, WorkloadResult


def totals(results: Sequence[WorkloadResult]) -> list[str]:
    """The lines below the table: counts, the mean speed-up over each baseline, with weights the gain by them, and
    what is required with its mean cost.
    """
    line = counts(results)
    reused = sum(result.reused for result in results)
    if reused:
        line += f" | {reused} from the cache"
    return [line, *baselines.totals(results), *weighted_totals(results), *cost_totals(results)]


def counts(results: Sequence[WorkloadResult]) -> str:
    """``3 workloads, 41 candidates: 29 raced, 6 unsupported ...``."""
    number: dict[str, int] = {}
    for result in results:
        for candidate in result.candidates:
            word = "raced" if candidate.status == "ok" else candidate.status.replace("_", " ")
            number[word] = number.get(word, 0) + 1
    total = sum(number.values())
    order = sorted(number, key=lambda word: (word != "raced", -number[word]))
    listed = ", ".join(f"{number[word]} {word}" for word in order)
    return f"{plural(len(results), 'workload')}, {plural(total, 'candidate')}: {listed}"


def flashinfer_line(choices: FlashinferChoices | None) -> str | None:
    """What FlashInfer's own autotuner came to; None: it had no part."""
    if choices is None:
        return None
    if choices.file is None:
        return "FlashInfer's own autotuner found nothing to tune in these operations"
    return (
        f"FlashInfer's own autotuner: {plural(choices.choices, 'choice')}, {choices.new} of them new, in {choices.file}"
    )
