"""Frames: a row a candidate, a row a round; typed columns."""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, PositiveInt

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import CPU, candidate, decode, failed, held, result, run_file, topk

from autotune_cli import MissingPackage, Run, load_cache
from autotune_cli.api.columns import FLOAT, INTEGER, TEXT, YES_OR_NO, Table, fields_of
from autotune_cli.api.frames import FIX, candidates_frame, rounds_frame
from autotune_cli.results.schema import Conditions, RunFile

pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
ROOT = Path(__file__).parents[2]
SLOW = candidate("slow", 171.3, default=True)


def small(**changes: Any) -> RunFile:
    fast = candidate("fast", 134.0, knobs={"page_size": 16, "path": "fa3", "pdl": True})
    twin = candidate("twin", None, status="duplicate", same_as="fast", reason="the same kernels")
    return run_file(result(decode(), fast, SLOW, twin, failed("bad", "crashed", "SIGSEGV")), **changes)


def test_a_row_a_candidate() -> None:
    frame = candidates_frame(small())
    assert list(frame["candidate"]) == ["fast", "slow", "twin", "bad"]
    assert list(frame["status"]) == ["ok", "ok", "duplicate", "crashed"]
    assert list(frame["is_winner"]) == [True, False, False, False]
    assert list(frame["is_default"]) == [False, True, False, False]
    assert frame["median_us"].tolist()[:2] == [134.0, 171.3]
    assert frame["low_us"][0] == 133.5
    assert frame["high_us"][0] == 134.5
    assert frame["median_us"].isna().tolist() == [False, False, True, True]
    assert frame["reason"][3] == "SIGSEGV"
    assert list(frame["rounds"]) == [2, 2, 0, 0]
    assert json.loads(frame["knobs"][0]) == {"page_size": 16, "path": "fa3", "pdl": True}
    assert list(frame["baselines"]) == ["", "sglang", "", ""]
    assert frame["device"].unique().tolist() == ["NVIDIA H200"]
    assert frame["version_flashinfer"].unique().tolist() == ["0.6.18"]
    assert math.isclose(frame["share_of_floor"][0], 81.7 / 134.0)


def test_the_fields_of_every_family_are_columns_with_types() -> None:
    frame = candidates_frame(run_file(result(decode(), candidate("fast", 1.0)), result(topk(), candidate("fast", 1.0))))
    first, second = frame.to_dict("records")
    assert (first["num_qo_heads"], first["head_dim"], first["batch"], first["context"]) == (32, 128, 64, 8192)
    assert (second["rows"], second["width"], second["k"]) == (16, 262144, 2048)
    assert second["distributions"].startswith("normal,")
    assert frame["rows"].isna().tolist() == [True, False]
    types = frame.dtypes.astype(str).to_dict()
    assert types["rows"] == types["batch"] == types["window_left"] == "Int64"
    assert types["softcap"] == types["median_us"] == "float64"
    assert types["sinks"] == types["is_winner"] == "boolean"
    # Columns of a group stay together, whichever family comes first.
    names = list(frame.columns)
    assert names.index("distributions") < names.index("device") < names.index("version_torch") < names.index("label")


def test_devices_of_a_cache_are_told_apart() -> None:
    other = result(topk(), candidate("fast", 9.0), environment="c")
    both = small().model_copy(update={"environments": {**small().environments, "c": CPU}})
    frame = candidates_frame(both.model_copy(update={"workloads": (*both.workloads, other)}))
    assert frame.groupby("device_kind")["median_us"].min().to_dict() == {"cpu": 9.0, "cuda": 134.0}


def test_speedups_over_each_baseline() -> None:
    fast = candidate("fast", 100.0, rounds=(0, 1, 2), rounds_us=(100.0, 100.0, 100.0))
    slow = candidate("slow", 150.0, default=True, rounds=(0, 1, 2), rounds_us=(150.0, 150.0, 150.0))
    out = candidate("out", 300.0, status="eliminated", rounds=(1, 2), rounds_us=(300.0, 300.0), reason="slower")
    wrong = failed("wrong", "incorrect", "misses 21")
    baselines = (held(slow, speedup=1.5, speedup_interval=(1.4, 1.6)), held(wrong, "vllm"))
    frame = candidates_frame(run_file(result(decode(), fast, slow, out, wrong, baselines=baselines)))
    frame = frame.set_index("candidate")
    over = frame["speedup over sglang"]
    # The winner's are the run's own; the others' come from the rounds that both have.
    assert (over["fast"], frame["speedup over sglang low"]["fast"], frame["speedup over sglang high"]["fast"]) == (
        1.5, 1.4, 1.6)  # fmt: skip
    assert over["slow"] == 1.0
    assert math.isclose(over["out"], 0.5)
    assert frame["speedup over sglang low"]["out"] < 0.5 < frame["speedup over sglang high"]["out"]
    assert math.isnan(over["wrong"])
    assert frame["speedup over vllm"].isna().all()


def test_a_real_winners_speedup_is_what_its_rounds_say() -> None:
    """So those of the other candidates, which no file holds, are of the same kind."""
    from autotune_cli.api.frames import _computed, _recorded

    compared = 0
    for workload in load_cache("llama-3.1-8b", root=ROOT).workloads:
        assert workload.choice is not None
        winner = workload.candidate(workload.choice.winner)
        for baseline in workload.baselines:
            found, computed = _recorded(baseline), _computed(workload, baseline, winner)
            assert (found is None) == (computed is None)
            if found is not None and computed is not None:
                assert found == pytest.approx(computed, rel=1e-9)
                compared += 1
    assert compared > 20


def test_a_row_a_round() -> None:
    readings = (Conditions(round=0, sm_clock_mhz=1980.0, throttle=("power", "thermal")), Conditions(round=1))
    noise = {"noise_of": "fast", "noise_rounds": (1,), "noise_rounds_us": (133.0,)}
    made = result(decode(), candidate("fast", 134.0), SLOW, conditions=readings, **noise)
    frame = rounds_frame(run_file(made))
    assert list(frame["candidate"]) == ["fast", "fast", "slow", "slow", "fast"]
    assert list(frame["round"]) == [0, 1, 0, 1, 1]
    assert list(frame["us"]) == [134.0, 134.0, 171.3, 171.3, 133.0]
    assert list(frame["second_copy"]) == [False] * 4 + [True]
    assert frame["sm_clock_mhz"].tolist()[0] == 1980.0
    assert frame["sm_clock_mhz"].isna().tolist() == [False, True, False, True, True]
    assert frame["throttle"][0] == "power,thermal"


def test_a_run_without_workloads_has_the_columns() -> None:
    for make in (candidates_frame, rounds_frame):
        empty, some = make(run_file()), make(small())
        assert len(empty) == 0
        assert set(empty.columns) <= set(some.columns)
        assert {"workload", "candidate", "device"} <= set(empty.columns)
        assert empty.dtypes["candidate"] == some.dtypes["candidate"]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    run = Run(Path("x.json"), small())
    for call in (run.frame, run.rounds):
        with pytest.raises(MissingPackage) as error:
            call()
        assert str(error.value) == f"a frame needs pandas, which is not installed; get it: {FIX}"
    (extra,) = re.findall(r"kernel-autotune\[(\w+)\]", FIX)
    brought = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    assert {re.split("[<>=]", text)[0] for text in brought} == {"pandas", "pyarrow"}


class Inner(BaseModel):
    size: PositiveInt
    left: Annotated[int, Field(ge=0)] | None = None


class Outer(BaseModel):
    inner: Inner
    word: Literal["a", "b"] = "a"
    number: Literal[1, 2] = 1
    share: float | int | None = None
    sure: bool = False
    parts: tuple[str, ...] = ()
    mixed: bool | str = True


def test_types_follow_annotations_also_where_there_is_no_value() -> None:
    found = {name: kind for name, kind, _ in fields_of(Outer(inner=Inner(size=1)))}
    assert found == {
        "size": INTEGER, "left": INTEGER, "word": TEXT, "number": INTEGER, "share": FLOAT, "sure": YES_OR_NO,
        "parts": TEXT, "mixed": TEXT,
    }  # fmt: skip


def test_a_column_of_two_types_is_text() -> None:
    table = Table({"a": TEXT}, {})
    table.add_columns(1, {"b": INTEGER})
    table.add_row({"a": "x", "b": 1})
    table.add_columns(1, {"b": TEXT, "c": FLOAT})
    table.add_row({"b": "two", "c": 0.5})
    assert table.columns() == {"a": (TEXT, ["x", None]), "b": (TEXT, ["1", "two"]), "c": (FLOAT, [None, 0.5])}
