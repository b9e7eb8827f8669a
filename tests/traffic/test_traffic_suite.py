"""Few workloads for many steps: how they are clustered, which shape stands for a cluster, and what each counts."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic_logs import DATA, log_of

from autotune_cli.errors import BadField, EmptySuite
from autotune_cli.kernels.base import spread_lengths
from autotune_cli.kernels.models import Suite, build_suite, load_model
from autotune_cli.traffic.clusters import ward
from autotune_cli.traffic.prepare import layers_of, served, token_bytes
from autotune_cli.traffic.scheduler import Given, scheduler_of
from autotune_cli.traffic.shapes import ServedShape, longest_for, nearest, rounded, shape_of
from autotune_cli.traffic.simulate import simulate
from autotune_cli.traffic.steps import Steps
from autotune_cli.traffic.suite import MakeSuite, WeightedSuite, weighted_suite

CAPTURED = (1, 2, 4, 8, 16, 32)
LLAMA = load_model("llama-3.1-8b")


def maker(name: str = "llama-3.1-8b", tp: int = 1) -> MakeSuite:
    def make(shape: ServedShape) -> Suite:
        new = shape.new if shape.kind == "extend" else None
        mode = "eager" if shape.kind == "decode" and not shape.graph else None
        return build_suite(
            name, "cuda", tp=tp, operations=shape.kind, modes=mode, batches=shape.batch, contexts=shape.context, new=new
        )

    return make


def suite_of(steps: Steps, most: int = 12, name: str = "llama-3.1-8b", tp: int = 1) -> WeightedSuite:
    model = load_model(name)
    steps.passes = steps.passes or steps.total().steps
    return weighted_suite(steps, most, maker(name, tp), lambda workloads: layers_of(model, workloads, tp))


def conversations() -> Steps:
    return simulate(log_of(DATA / "conversations.csv"), scheduler_of("sglang", Given(), 80 * 2**30))


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0.1, 10)), min_size=1, max_size=7))
def test_clusters_are_merged_where_that_adds_least(rows: list[tuple[float, float, float]]) -> None:
    points, weights = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])

    def within(clusters: list[tuple[int, ...]]) -> float:
        total = 0.0
        for cluster in clusters:
            index = list(cluster)
            center = np.average(points[index], axis=0, weights=weights[index])
            total += float((weights[index] * ((points[index] - center) ** 2).sum(axis=1)).sum())
        return total

    seen = list(ward(points, weights, ["a"] * len(rows)))
    assert [len(clusters) for clusters in seen] == list(range(len(rows), 0, -1))
    for before, after in itertools.pairwise(seen):
        options = []
        for one, other in itertools.combinations(before, 2):
            rest = [cluster for cluster in before if cluster not in (one, other)]
            options.append(within([*rest, tuple(sorted((*one, *other)))]))
        assert within(after) == pytest.approx(min(options), abs=1e-9)


def test_groups_are_never_merged() -> None:
    seen = list(ward(np.zeros((4, 1)), np.ones(4), ["a", "b", "a", "b"]))
    assert seen[-1] == [(0, 2), (1, 3)]


@given(st.integers(1, 300), st.integers(1, 20_000))
def test_lengths_of_a_shape_sum_up_to_what_it_stands_for(count: int, mean: int) -> None:
    longest = longest_for(count * mean, count)
    total = sum(spread_lengths(longest, count, "uneven"))
    assert total >= count * mean or longest >= 10_000_000
    # One less would be too little; half of a token a request and the shortest possible request aside.
    assert longest == 1 or sum(spread_lengths(longest - 1, count, "uneven")) < count * mean


@given(st.integers(1, 10_000_000))
def test_rounding_changes_little_and_makes_few_values(number: int) -> None:
    assert abs(rounded(number) / number - 1.0) <= 1 / 32
    assert rounded(rounded(number)) == rounded(number)
    assert number >= 32 or rounded(number) == number


@given(st.lists(st.tuples(st.integers(1, 32), st.integers(10, 20_000), st.integers(1, 500)), min_size=1, max_size=20))
def test_the_keys_of_a_decode_are_those_of_its_steps(rows: list[tuple[int, int, int]]) -> None:
    steps = Steps(CAPTURED)
    for batch, context, count in rows:
        steps.decode(batch, batch * context, count)
    shape = shape_of(list(steps.cells.items()), CAPTURED)
    tally = steps.total()
    assert shape.graph
    assert shape.batch in CAPTURED
    keys = sum(spread_lengths(shape.context, shape.batch, "uneven"))
    # Rounded, and a request has one key at least.
    assert keys == pytest.approx(tally.keys / tally.steps, rel=0.05, abs=40 + 8 * shape.batch)


def test_new_tokens_and_prefixes_of_an_extend() -> None:
    steps = Steps()
    steps.prefill([500, 300, 40], [0, 1000, 3000])
    steps.prefill([500, 300, 40], [0, 1000, 3000])
    shape = shape_of(list(steps.cells.items()), ())
    assert (shape.kind, shape.batch) == ("extend", 3)
    assert sum(spread_lengths(shape.new, 3, "uneven")) == pytest.approx(840, rel=0.05)
    assert sum(spread_lengths(shape.context - shape.new, 3, "uneven")) == pytest.approx(4000, rel=0.05)
    assert nearest(6.0, CAPTURED) == 4


@pytest.mark.parametrize("most", [3, 4, 8, 12, 20])
def test_at_most_so_many_workloads_stand_for_all_steps(most: int) -> None:
    steps = conversations()
    found = suite_of(steps, most)
    assert len(found.suite.workloads) <= most
    assert set(found.stands_for) == {workload.key for workload in found.suite.workloads}
    assert sum(part.steps for part in found.stands_for.values()) == steps.total().steps == steps.passes
    assert math.isclose(sum(part.time_share for part in found.stands_for.values()), 1.0)
    assert math.isclose(sum(part.step_share for part in found.stands_for.values()), 1.0)
    assert {part.layers for part in found.stands_for.values()} == {32}
    assert found.left_out == 0
    # What they hold in all: the tokens of the log, but for rounding.
    tokens = keys = 0.0
    for workload in found.suite.workloads:
        part = found.stands_for[workload.key]
        lengths = workload.lengths  # type: ignore[attr-defined]
        if workload.operation.endswith("decode"):
            keys += part.steps * sum(lengths.kv)
        else:
            tokens += part.steps * sum(lengths.qo)
    assert keys == pytest.approx(steps.total("decode").keys, rel=0.03)
    assert tokens == pytest.approx(steps.total("prefill", "extend").new, rel=0.06)


def test_more_workloads_are_nearer_to_the_steps() -> None:
    steps = conversations()
    spreads = [suite_of(steps, most).spread for most in (3, 6, 12, 24)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[2] < 0.45


def test_the_same_steps_give_the_same_suite() -> None:
    assert suite_of(conversations()) == suite_of(conversations())


def test_fewer_than_one_of_each_kind_are_refused() -> None:
    with pytest.raises(BadField, match=r"traffic_workloads: is 2; this traffic needs 3 at least"):
        suite_of(conversations(), 2)


def alike(context: int, steps: int = 100) -> Steps:
    found = Steps(CAPTURED)
    for _ in range(steps):
        found.decode(4, 4 * context)
    return found


def test_layers_with_a_window_count_apart_or_with_the_full_ones() -> None:
    short = suite_of(alike(1000), name="gemma-2-9b")
    ((key, part),) = short.stands_for.items()
    # 21 layers see 4096 tokens: of 1000 they compute what the other 21 do.
    assert "window" not in key
    assert part.layers == 42
    long = suite_of(alike(20_000), name="gemma-2-9b")
    assert sorted(part.layers for part in long.stands_for.values()) == [21, 21]


def test_steps_that_are_alike_need_one_workload_however_many_there_may_be() -> None:
    steps = alike(1000)
    for context in (1030, 1060, 960):
        steps.merge(alike(context))
    assert len(suite_of(steps).suite.workloads) == 1
    steps.merge(alike(2000))
    assert len(suite_of(steps).suite.workloads) == 2


def test_of_latent_attention_layers_count_one() -> None:
    model = load_model("deepseek-v3")
    workloads = build_suite(model, "cuda", operations="mla_decode", batches=4, contexts=1000).workloads
    assert layers_of(model, workloads, 1) == [1]
    assert token_bytes(model, 1, None, None) is None
    assert token_bytes(LLAMA, 1, None, None) == 32 * 2 * 8 * 128 * 2
    assert token_bytes(LLAMA, 8, None, "fp8") == 32 * 2 * 128


def test_steps_beyond_the_captured_sizes_are_eager() -> None:
    steps = Steps((1, 2, 4))
    steps.decode(3, 3000, 10)
    steps.decode(9, 9000, 10)
    modes = {workload.mode: workload.sizes["batch_size"] for workload in suite_of(steps).suite.workloads}
    assert modes == {"graph": 4, "eager": 9}


def test_so_many_different_steps_are_made_coarser_first() -> None:
    steps = Steps(tuple(range(1, 257)))
    for batch in range(1, 257):
        for context in (100, 300, 900, 2700, 8100, 24300):
            steps.decode(batch, batch * context, 3)
    assert len(steps.cells) > 1000
    found = suite_of(steps)
    assert len(found.suite.workloads) == 12
    assert sum(part.steps for part in found.stands_for.values()) == 256 * 6 * 3


def test_steps_that_the_model_has_nothing_for_are_counted() -> None:
    steps = Steps(CAPTURED)
    steps.decode(4, 4000, 10)
    steps.count("prefill", 2, 200, 200, 7)
    steps.passes = 17
    make = maker()

    def decodes_only(shape: ServedShape) -> Suite:
        if shape.kind != "decode":
            raise EmptySuite(detail="no prefill")
        return make(shape)

    found = weighted_suite(steps, 4, decodes_only, lambda workloads: layers_of(LLAMA, workloads, 1))
    assert found.left_out == 7
    empty = Steps()
    empty.count("prefill", 2, 200, 200, 7)
    with pytest.raises(EmptySuite, match="no prefill"):
        weighted_suite(empty, 4, decodes_only, lambda workloads: [1])


def test_several_logs_are_several_servers() -> None:
    scheduler = scheduler_of("sglang", Given(), 80 * 2**30)
    once = served([DATA / "azure.csv"], scheduler)
    twice = served([DATA / "azure.csv", DATA / "vllm.trace.json"], scheduler)
    assert twice.steps.passes == once.steps.passes + 21
    assert twice.traffic.files == ("azure.csv (lengths and times)", "vllm.trace.json (steps of a server's trace)")
    assert twice.traffic.requests == once.traffic.requests == 40
    assert twice.traffic.digest != once.traffic.digest
    assert served([DATA / "azure.csv"], scheduler).traffic == once.traffic
    assert served([Path(DATA / "azure.csv")], scheduler_of("sglang", Given(chunk=99), None)).traffic != once.traffic
