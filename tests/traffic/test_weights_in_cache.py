"""A cache has the weights of one traffic: the last that was tuned for."""

from __future__ import annotations

from weighted_builders import served, traffic, weighed

from autotune_cli.results.cache import merge
from autotune_cli.results.schema import RunFile

OLD = served(weighed(8, 10.0, 1.5, 0.03, 300), weighed(64, 30.0, 1.1, 0.04, 100))


def weights(run: RunFile) -> dict[int, float | None]:
    return {result.workload.sizes["batch_size"]: result.weight for result in run.workloads}


def test_of_another_traffic_nothing_stays() -> None:
    new = served(weighed(64, 30.0, 1.1, 0.04, 7), weighed(128, 50.0, 1.1, 0.04, 5), traffic=traffic("f" * 16))
    merged = merge(OLD, new, "llama")
    assert weights(merged) == {8: None, 64: 7.0, 128: 5.0}
    assert merged.traffic == new.traffic
    assert [result.stands_for is None for result in merged.workloads] == [True, False, False]


def test_a_part_of_the_same_traffic_leaves_the_rest() -> None:
    new = served(weighed(64, 30.0, 1.1, 0.04, 100))
    assert weights(merge(OLD, new, "llama")) == {8: 300.0, 64: 100.0}


def test_a_run_without_traffic_leaves_all() -> None:
    new = served(weighed(64, 29.0, 1.1, 0.04, None), weighed(128, 50.0, 1.1, 0.04, None), traffic=None)
    merged = merge(OLD, new, "llama")
    assert weights(merged) == {8: 300.0, 64: 100.0, 128: None}
    assert merged.traffic == OLD.traffic
    assert merged.workloads[1].candidates[0].median_us == 29.0


def test_what_was_taken_from_the_cache_gets_the_weight_of_its_new_traffic() -> None:
    reused = weighed(64, 30.0, 1.1, 0.04, 7).model_copy(update={"reused": True})
    merged = merge(OLD, served(reused, traffic=traffic("f" * 16)), "llama")
    assert weights(merged) == {8: None, 64: 7.0}


def test_a_cache_without_traffic_stays_without_it() -> None:
    plain = served(weighed(8, 10.0, 1.5, 0.03, None), traffic=None)
    merged = merge(plain, plain, "llama")
    assert (merged.traffic, weights(merged)) == (None, {8: None})
