"""Noisy results are told and not kept in the cache, unless somebody asks; nothing measured is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import TINY, Finished

from autotune_cli.measure import noise
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import WorkloadResult
from autotune_cli.tuning.keeping import noisy_note, split_noisy

QUIET = TINY[:-1]
assert TINY[-1] == "--keep-noisy"


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever two copies of a kernel come to is too much."""
    monkeypatch.setattr(noise, "NOISY_BAND", -1.0)


def files(finished: Finished) -> list[str]:
    paths = [path for path in finished.folder.rglob("*.json") if not path.name.startswith(".")]
    return sorted(str(path.relative_to(finished.folder)) for path in paths)


def quiet(result: WorkloadResult) -> WorkloadResult:
    """The result as a quiet machine would have measured it: what this machine does meanwhile is not asked."""
    assert result.choice is not None
    winner = result.candidate(result.choice.winner)
    steady = winner.model_copy(update={"interval_us": (winner.median_us, winner.median_us), "rough_us": None})
    return result.model_copy(update={"key": "another", "noise": -2.0, "candidates": (steady,)})


@pytest.mark.usefixtures("noisy")
def test_a_noisy_result_is_a_run_and_no_cache(usage: Callable[..., Finished]) -> None:
    first = usage("tune", "--device", "cpu", "--json", *QUIET)
    assert first.code == 0
    (kept,) = files(first)
    assert kept.startswith("runs/cpu.")
    assert first.path == Path(first.folder, kept)
    assert read_run(first.path).kind == "run"
    (note,) = [line for line in first.err.splitlines() if "too noisy" in line]
    assert note.startswith("note: too noisy for the cache: topk.select 2 x 4096 ")
    assert "likely cause: " in note
    assert f"Kept in {kept} only; --keep-noisy" in note
    # Asked for, it is kept.
    asked = usage("tune", "--device", "cpu", "--json", *TINY)
    assert asked.path == Path(asked.folder, "cache/cpu.json")
    assert "too noisy for the cache" not in asked.err
    assert files(asked) == ["cache/cpu.json", kept]
    run = read_run(asked.path)
    (found,) = run.workloads
    assert split_noisy(run)[1] == (found.key,)
    # What the cache gave was asked for before.
    reused = run.model_copy(update={"workloads": (found.model_copy(update={"reused": True}),)})
    assert split_noisy(reused) == (reused, ())
    # The other workloads of a run are kept.
    other = quiet(found)
    kept_run, left_out = split_noisy(run.model_copy(update={"workloads": (other, found)}))
    assert [each.key for each in kept_run.workloads] == ["another"]
    assert left_out == (found.key,)
    assert noisy_note(run, (found.key, "more"), "runs/x.json", None, 2).startswith(
        f"too noisy for the cache: {found.key} and 1 more: two copies of one kernel differ by "
    )
