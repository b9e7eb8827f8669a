"""How often each workload is in a step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planning_runs import candidate, result, workload

from autotune_cli.errors import BadField, BadFile
from autotune_cli.planning.weights import weights_of

DECODE, MORE, EXTEND = workload("decode"), workload("decode", 64), workload("extend")
RESULTS = [result(each, candidate("a", 1.0)) for each in (DECODE, MORE, EXTEND)]


def by(text: str | None) -> list[float]:
    found = weights_of(RESULTS, text).by_workload
    return [found[each.key] for each in (DECODE, MORE, EXTEND)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, [1.0, 1.0, 1.0]),
        ("equal", [1.0, 1.0, 1.0]),
        ("decode=8,extend=1", [8.0, 8.0, 1.0]),
        ("attention.decode=8", [8.0, 8.0, 0.0]),
        ("attention = 2, decode 64x4096 = 30", [2.0, 30.0, 2.0]),
        ("decode64x4096=0.5", [0.0, 0.5, 0.0]),
        ("extend 8 x 512+1536=1", [0.0, 0.0, 1.0]),
    ],
)
def test_weights_in_words(text: str | None, wanted: list[float]) -> None:
    assert by(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("verify=1", "'verify' fits no workload of this result (attention.decode, attention.extend)"),
        ("decode=often", "'decode=often' has no weight of 0 or more"),
        ("decode=-1", "'decode=-1' has no weight of 0 or more"),
        ("decode=inf", "'decode=inf' has no weight of 0 or more"),
        (
            "decode=1e308",
            "a weight of 1e+308 (attention.decode 8 x 4096 graph h32/8 d128 bfloat16) is not within 1e-30 ..",
        ),
        ("decode=5e-324", "a weight of 4.94066e-324 (attention.decode 8 x 4096 graph"),
        ("decode=0", "leaves no workload with a weight above 0"),
        ("=1", "'' fits no workload of this result"),
    ],
)
def test_weights_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(BadField) as error:
        weights_of(RESULTS, text)
    assert said in str(error.value)


def test_a_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({DECODE.key: 7, EXTEND.key: 0.5}))
    assert by(str(path)) == [7.0, 0.0, 0.5]
    for text, said in (("[]", "no object"), ("{", "not JSON"), ('{"x": 1}', "'x' is no workload of this result")):
        path.write_text(text)
        with pytest.raises(BadFile, match=said):
            by(str(path))
    path.write_text(json.dumps({DECODE.key: "many"}))
    with pytest.raises(BadField, match="no weight of 0 or more"):
        by(str(path))
    with pytest.raises(BadField, match=r"is neither 'equal', nor weights such as decode=8,prefill=1, nor a file"):
        by(str(tmp_path / "nothing.json"))


def test_the_results_own_weights_come_first() -> None:
    weighty = [each.model_copy() for each in RESULTS]
    for each, weight in zip(weighty, (3.0, None, 1.0), strict=True):
        # As the field that stores the traffic's weights.
        object.__setattr__(each, "weight", weight)
    found = weights_of(weighty)
    assert [found.by_workload[each.key] for each in weighty] == [3.0, 0.0, 1.0]
    assert (found.source, found.has_layers) == ("the result's traffic", True)
    assert weights_of(weighty, "equal").by_workload[MORE.key] == 1.0
    object.__setattr__(weighty[0], "weight", 1e308)
    with pytest.raises(BadField, match="not within"):
        weights_of(weighty)
