"""The table of verdicts: nothing that sorts, counts, prints or draws leaves one out."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from diff_builders import FAST, SLOW, candidate, failed, noisy, report, result, run, session

from autotune_cli.comparing.decisions import Decision, Reason
from autotune_cli.comparing.exit_status import counts, exit_status, fail_on
from autotune_cli.comparing.majority import majority
from autotune_cli.comparing.records import Comparison, Report
from autotune_cli.comparing.verdicts import (
    ChangeVerdict,
    ChoiceVerdict,
    Counted,
    FailOn,
    Shown,
    Subject,
    Tone,
    VerdictRow,
    for_every_tone,
)
from autotune_cli.render.diff_data import as_csv, as_json
from autotune_cli.render.diff_markdown import markdown
from autotune_cli.render.diff_model import DiffModel
from autotune_cli.render.diff_rows import rows_of

ROOT = Path(__file__).parents[2]


def one_of_each() -> Report:
    """A report with one candidate of each verdict, and a status that got worse beside one that got better."""
    plain = report(session(1, batches=(1,)), session(2, batches=(1,)))
    model = plain.comparisons[0]
    decisions = [
        *(dataclasses.replace(model.decision, verdict=verdict, reasons=()) for verdict in ChangeVerdict),
        Decision(ChangeVerdict.STATUS, (Reason.STATUS_WORSE,)),
    ]
    comparisons = [
        dataclasses.replace(model, candidate=f"lib.c{number}", label=f"lib.c{number}", decision=decision)
        for number, decision in enumerate(decisions)
    ]
    return dataclasses.replace(plain, comparisons=tuple(comparisons))


def order(comparisons: tuple[Comparison, ...]) -> list[str]:
    return [
        c.verdict + (" for the worse" if Reason.STATUS_WORSE in c.decision.reasons else "")
        for c in sorted(comparisons, key=lambda c: c.decision.rank)
    ]


def test_there_is_one_order_of_importance() -> None:
    wanted = [
        "status changed for the worse", "slower", "faster", "status changed", "ambiguous", "only in B", "only in A",
        "eliminated", "same", "not timed",
    ]  # fmt: skip
    assert [verdict for verdict in order(one_of_each().comparisons) if verdict in wanted] == wanted
    page = (ROOT / "docs" / "diff.md").read_text(encoding="utf-8")
    assert [word for word in wanted[1:3] + wanted[4:] if f"`{word}`" not in page] == []


def test_json_csv_and_the_table_have_the_same_order() -> None:
    """A candidate that fails comes before one that is slower, whichever workload and key they have."""
    times = {FAST: (40.0, 44.0), SLOW: (50.0, 50.0), "lib.z": (60.0, 60.0)}
    a = [candidate(key, noisy(us[0], (key, 1)), default=key == SLOW) for key, us in times.items()]
    b = [failed(key) if key == "lib.z" else candidate(key, noisy(us[1], (key, 2))) for key, us in times.items()]
    compared = report(run(result(a)), run(result(b)))
    wanted = ["lib.z", FAST, SLOW]
    assert [c["candidate"] for c in json.loads(as_json(compared, exit_status(compared, ())))["candidates"]] == wanted
    assert [line.split(",")[2] for line in as_csv(compared).splitlines()[1:]] == wanted
    rows = [row.what.partition(" ")[0] for row in rows_of(compared, every=True) if row.word != "choice"]
    assert rows == wanted


def test_totals_and_rows_leave_no_verdict_out() -> None:
    of = one_of_each()
    status = exit_status(of, fail_on("none"))
    model = DiffModel(of, status, every=True)
    numbers = re.findall(r"(\d+) ([^,]+)", model.totals)
    assert [words for _, words in numbers] == list(ChangeVerdict)
    assert sum(int(number) for number, _ in numbers) == len(of.comparisons)
    assert len([row for row in model.rows if row.word != "choice"]) == len(of.comparisons)
    text = markdown(of, status, every=True)
    assert all(f"lib.c{number}" in text for number in range(len(of.comparisons)))
    assert sum(json.loads(as_json(of, status))["counts"]["verdicts"].values()) == len(of.comparisons)
    assert {verdict for verdict, _ in model.legend} >= {c.verdict for c in model.timed}


def test_a_total_of_zero_is_said_of_the_verdicts_on_times_that_were_measured() -> None:
    none = dataclasses.replace(one_of_each(), comparisons=())
    assert DiffModel(none, exit_status(none, ())).totals == "0 same, 0 slower, 0 faster, 0 ambiguous"


def test_every_word_of_fail_on_counts_something_and_only_a_status_for_the_worse_fails() -> None:
    rows = [verdict.row for kind in (ChangeVerdict, ChoiceVerdict) for verdict in kind]
    assert {row.fail_on for row in rows} == {*FailOn, None}
    assert counts(one_of_each()) == {"slower": 1, "choice": 0, "status": 1, "ambiguous": 1}
    assert fail_on(",".join(FailOn)) == set(FailOn)
    assert exit_status(one_of_each(), fail_on("status,slower")).words == "1 slower, 1 no longer right or runnable"


def test_a_row_that_lacks_a_field_can_not_be_made() -> None:
    fields = {
        "rank": 5,
        "subject": Subject.TIMES,
        "counted": Counted.IF_ANY,
        "shown": Shown.ALWAYS,
        "fail_on": None,
        "tone": Tone.PLAIN,
    }
    assert VerdictRow(**fields).rank == 5  # type: ignore[arg-type]
    for name in fields:
        with pytest.raises(TypeError, match=name):
            VerdictRow(**{key: value for key, value in fields.items() if key != name})  # type: ignore[arg-type]


def test_a_renderer_that_forgets_a_tone_can_not_be_imported() -> None:
    assert for_every_tone(dict.fromkeys(Tone, "x"))[Tone.NEWS] == "x"
    with pytest.raises(ValueError, match="no value for news, faint"):
        for_every_tone({tone: "x" for tone in Tone if tone not in (Tone.NEWS, Tone.FAINT)})


def test_the_words_of_files_stay() -> None:
    """Users' scripts read them in JSON and CSV."""
    assert set(ChangeVerdict) >= {
        "same", "slower", "faster", "ambiguous", "status changed", "only in A", "only in B", "eliminated", "not timed",
    }  # fmt: skip
    assert set(ChoiceVerdict) >= {"unchanged", "changed within the ties", "changed", "no choice"}


def test_most_sessions_decide_and_the_newest_in_a_draw() -> None:
    assert majority(["a", "b", "a"]) == "a"
    assert majority(["a", "b"]) == "b"
    assert majority(["b", "a", "a", "b", "c"]) == "b"
    assert majority([None, "a", None]) is None
