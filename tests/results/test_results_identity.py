from __future__ import annotations

import re
from typing import Any

import pytest
from result_builders import KEYS, SOURCES, decode, environment, settings

from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.results import identity as module
from autotune_cli.results.identity import environment_key, explain, identity
from autotune_cli.results.schema import Ceilings

BASE = identity(decode(), environment(), settings(), SOURCES, KEYS)


def with_environment(**changes: Any) -> dict[str, str]:
    return identity(decode(), environment(**changes), settings(), SOURCES, KEYS)


def with_settings(**changes: Any) -> dict[str, str]:
    return identity(decode(), environment(), settings(**changes), SOURCES, KEYS)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"driver": "580.2"}, "driver 580.1 -> 580.2"),
        ({"driver": None}, "driver 580.1 -> none"),
        ({"device": "NVIDIA B200"}, "device NVIDIA H200 -> NVIDIA B200"),
        ({"capability": (10, 0)}, "capability 9.0 -> 10.0"),
        ({"cuda": "13.1"}, "cuda 13.0 -> 13.1"),
        ({"threads": 8}, "threads none -> 8"),
        ({"multiprocessors": 16}, "multiprocessors 132 -> 16"),
        ({"power_limit_w": 350.0}, "power limit 700 W -> 350 W"),
        (
            {"libraries": {"torch": "2.11.0", "flashinfer": "0.7.2"}},
            "library flashinfer 0.6.18 -> 0.7.2",
        ),
        ({"libraries": {"torch": "2.11.0"}}, "library flashinfer 0.6.18 -> not recorded"),
        ({"variables": {"SGLANG_X": "2"}}, "variable SGLANG_X 1 -> 2"),
        ({"variables": {}}, "variable SGLANG_X 1 -> not set"),
        ({"variables": {"SGLANG_X": ""}}, "variable SGLANG_X 1 -> ''"),
        ({"variables": {"SGLANG_X": "a\nb"}}, "variable SGLANG_X 1 -> 'a\\nb'"),
    ],
)
def test_each_field_of_the_environment_is_explained(changes: dict[str, Any], line: str) -> None:
    assert explain(BASE, with_environment(**changes)) == [line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"timer": "events"}, "timer cupti -> events"),
        ({"l2": "warm"}, "l2 cold -> warm"),
        ({"rounds": 20}, "rounds 10 -> 20"),
        ({"iterations": 5}, "iterations 25 -> 5"),
        ({"exhaustive": True}, "exhaustive no -> yes"),
        ({"seed": 1}, "seed 0 -> 1"),
        ({"timeout_s": 5.0}, "timeout 60 s -> 5 s"),
    ],
)
def test_each_setting_is_explained(changes: dict[str, Any], line: str) -> None:
    assert explain(BASE, with_settings(**changes)) == [line]


# Every ceiling, so that one that is added can't be forgotten.
CEILINGS: dict[str, Any] = dict.fromkeys(Ceilings.model_fields, 4200.0)


@pytest.mark.parametrize(
    "changes", [{"python": "3.13.0"}, *({name: value} for name, value in CEILINGS.items())], ids=str
)
def test_what_does_not_change_kernels_is_not_in_it(changes: dict[str, Any]) -> None:
    assert with_environment(**changes) == BASE
    assert with_settings(budget_s=10.0) == BASE


def test_sources() -> None:
    changed = identity(decode(), environment(), settings(), {"flashinfer.decode": "cccc", "new": "dddd"}, KEYS)
    assert explain(BASE, changed) == [
        "source flashinfer.decode aaaa -> cccc",
        "source new absent -> dddd",
        "source torch.sdpa bbbb -> absent",
    ]


def test_candidates_are_explained_as_added_and_removed() -> None:
    changed = identity(decode(), environment(), settings(), SOURCES, ["triton.decode(a=1,b=2)", KEYS[1]])
    assert explain(BASE, changed) == [f"candidates: +triton.decode(a=1,b=2), -{KEYS[0]}"]
    assert explain(changed, BASE) == [f"candidates: +{KEYS[0]}, -triton.decode(a=1,b=2)"]


def test_many_candidates_are_counted() -> None:
    changed = identity(decode(), environment(), settings(), SOURCES, [*KEYS, *(f"c{i}" for i in range(9))])
    assert explain(BASE, changed) == ["candidates: +c0, +c1, +c2, +c3, +5 more"]


def test_the_order_of_candidates_and_sources_does_not_matter() -> None:
    again = identity(decode(), environment(), settings(), dict(reversed(SOURCES.items())), list(reversed(KEYS)) * 2)
    assert again == BASE
    assert explain(BASE, again) == []


def test_workload_and_its_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    topk = TopkWorkload(operation="topk.select", rows=1, width=4096, k=512, mode="eager")
    a = identity(topk, environment(), settings(), {}, [])
    b = identity(topk.model_copy(update={"distributions": ("normal",)}), environment(), settings(), {}, [])
    c = identity(topk.model_copy(update={"lengths_rule": 2}), environment(), settings(), {}, [])
    assert a["workload"] == topk.key
    assert [line.split(" ")[0] for line in explain(a, b)] == ["workload"]
    assert explain(a, c) == ["lengths rule 1 -> 2"]
    monkeypatch.setattr(module, "METHOD", 99)
    assert explain(BASE, with_settings()) == ["method 2 -> 99"]


def test_environment_key_is_short_and_stable() -> None:
    assert re.fullmatch("[0-9a-f]{12}", environment_key(environment()))
    assert environment_key(environment(**CEILINGS)) == environment_key(environment())
    reordered = environment(libraries={"flashinfer": "0.6.18", "torch": "2.11.0"})
    assert environment_key(reordered) == environment_key(environment())
    assert environment_key(environment(variables={"X": "\udcff"})) != environment_key(environment(variables={"X": "?"}))


@pytest.mark.parametrize("changes", [{"driver": "1"}, {"python": "3.13"}, {"variables": {}}, {"power_limit_w": 1.0}])
def test_environment_key_tells_environments_apart(changes: dict[str, Any]) -> None:
    assert environment_key(environment(**changes)) != environment_key(environment())


def test_what_is_required_is_part_of_it() -> None:
    required = identity(
        decode(), environment(), settings(), SOURCES, KEYS, required=("deterministic", "batch-invariant")
    )
    assert explain(BASE, required) == ["required none -> deterministic; batch-invariant"]
    assert "required" not in BASE
