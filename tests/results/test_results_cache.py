"""The cache of a name: what it keeps, what is reused of it, and why something isn't."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cache_builders import listing, loaded, store
from result_builders import KEYS, SOURCES, decode, environment, result, run_file, settings

from autotune_cli.errors import BadName
from autotune_cli.results.cache import CacheStore, lookup, merge
from autotune_cli.results.identity import environment_key, identity

H200, B200 = environment(), environment("NVIDIA B200", capability=(10, 0))


def test_nothing_cached(tmp_path: Path) -> None:
    assert store(tmp_path).load() == (None, [])
    assert os.listdir(tmp_path) == []  # looking makes no folder


def test_save_and_load(tmp_path: Path) -> None:
    assert store(tmp_path).save(run_file(result(), name="other")) == []
    run = loaded(tmp_path)
    assert (run.kind, run.name) == ("cache", "llama")
    assert run.workloads == (result(),)
    assert listing(tmp_path) == ["llama.json"]


def test_other_workloads_and_devices_stay(tmp_path: Path) -> None:
    store(tmp_path).save(run_file(result(decode(1)), result(decode(2))))
    store(tmp_path).save(run_file(result(decode(2), B200, us=5.0), envs=(B200,)))
    store(tmp_path).save(run_file(result(decode(2), us=7.0)))
    run = loaded(tmp_path)
    kept = [
        (w.workload.batch, run.environments[w.environment].device, w.candidates[0].median_us) for w in run.workloads
    ]  # type: ignore[union-attr]
    assert kept == [(1, "NVIDIA H200", 491.25), (2, "NVIDIA H200", 7.0), (2, "NVIDIA B200", 5.0)]
    assert set(run.environments) == {environment_key(H200), environment_key(B200)}
    assert run.environment == environment_key(H200)


def test_environments_that_nothing_names_are_dropped(tmp_path: Path) -> None:
    old, new = environment(driver="1"), environment(driver="2")
    store(tmp_path).save(run_file(result(decode(1), old), result(decode(2), old), envs=(old,)))
    store(tmp_path).save(run_file(result(decode(1), new), envs=(new,)))
    assert set(loaded(tmp_path).environments) == {environment_key(old), environment_key(new)}
    store(tmp_path).save(run_file(result(decode(2), new), envs=(new,)))
    assert set(loaded(tmp_path).environments) == {environment_key(new)}


def test_reused_results_do_not_hide_newer_ones() -> None:
    stored = run_file(result(us=2.0))
    merged = merge(stored, run_file(result(us=1.0, reused=True)), "x")
    assert merged.workloads == (result(us=2.0),)
    alone = merge(None, run_file(result(us=1.0, reused=True)), "x")
    assert alone.workloads == (result(us=1.0),)  # no longer "reused in this run"
    unfinished = merge(run_file(result(us=2.0, stopped="budget")), run_file(result(us=1.0, reused=True)), "x")
    assert unfinished.workloads == (result(us=1.0),)


@pytest.mark.parametrize("changes", [{"stopped": "budget"}, {"stopped": "interrupted"}, {"choice": None}])
def test_an_unfinished_result_does_not_hide_a_finished_one(changes: dict[str, object]) -> None:
    finished, unfinished = result(us=2.0), result(us=1.0, **changes)
    assert merge(run_file(finished), run_file(unfinished), "x").workloads == (finished,)
    assert merge(run_file(unfinished), run_file(finished), "x").workloads == (finished,)
    other = unfinished.model_copy(update={"identity": {**unfinished.identity, "driver": "9"}})
    assert merge(run_file(finished), run_file(other), "x").workloads == (other,)


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(BadName):
        CacheStore(tmp_path, "../x")


def ident(driver: str = "580.1", device: str = "NVIDIA H200") -> dict[str, str]:
    return identity(decode(), environment(device, driver=driver), settings(), SOURCES, KEYS)


def test_a_hit() -> None:
    entry = result()
    assert lookup(run_file(result(decode(1)), entry), entry.key, ident()) == (entry, [])


def test_misses_explain_themselves() -> None:
    entry = result()
    assert lookup(None, entry.key, ident()) == (None, ["not in the cache"])
    assert lookup(run_file(result(decode(1))), entry.key, ident()) == (None, ["not in the cache"])
    assert lookup(run_file(entry), entry.key, ident("580.2")) == (None, ["driver 580.1 -> 580.2"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stopped": "budget"}, "the cached race ran out of budget"),
        ({"stopped": "interrupted"}, "the cached race was interrupted"),
        ({"choice": None}, "no candidate was right when it was cached"),
    ],
)
def test_unfinished_results_are_no_hit(changes: dict[str, object], reason: str) -> None:
    entry = result(**changes)
    assert lookup(run_file(entry), entry.key, ident()) == (None, [reason])


def test_the_same_device_is_explained_first() -> None:
    near = result(decode(), B200)
    far = result(decode(), environment(driver="1", cuda="2", variables={}))
    run = run_file(near, far, envs=(B200, environment(driver="1", cuda="2", variables={})))
    assert lookup(run, near.key, ident()) == (
        None,
        ["driver 1 -> 580.1", "cuda 2 -> 13.0", "variable SGLANG_X not set -> 1"],
    )
    assert lookup(run, near.key, near.identity) == (near, [])
