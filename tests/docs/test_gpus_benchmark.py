"""benchmarks/gpus.py: its table and verdict, from results that are made up. It runs on a machine with several GPUs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, decode, result, run_file

from autotune_cli.results.schema import RunFile

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpus() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        spec = importlib.util.spec_from_file_location("gpus_benchmark", BENCHMARKS / "gpus.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def run(fast: str, *cards: str) -> RunFile:
    """A workload for each card."""
    entries = (
        result(*(decode(batch=batch + 1), candidate(fast, 20.0), candidate("slow", 171.3, default=True)), winner=fast)
        for batch in range(len(cards))
    )
    return run_file(*(entry.model_copy(update={"card": card}) for entry, card in zip(entries, cards, strict=True)))


def test_more_gpus_are_faster_with_the_same_winners(gpus: ModuleType) -> None:
    one, four = run("fast", *"aaaa"), run("fast", *"abcd")
    lines, is_good = gpus.table({4: (20.0, four), 1: (76.0, one)})
    assert lines[2:] == ["| 1 | 76.0 | 1.00 | 1 | 4, 0, 0 |", "| 4 | 20.0 | 3.80 | 4 | 4, 0, 0 |"]
    assert is_good
    assert not gpus.table({4: (30.0, four), 1: (76.0, one)})[1]


def test_another_winner_is_named(gpus: ModuleType) -> None:
    lines, is_good = gpus.table({1: (76.0, run("fast", "a")), 4: (20.0, run("other", "b"))})
    assert lines[-1] == f"4 GPUs have another winner: {decode(batch=1).key}"
    assert not is_good
