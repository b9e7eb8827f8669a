"""The simulated steps: no token is lost or made, no bound is passed, small logs are served as they would be by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic_logs import DATA, log, log_of

from autotune_cli.traffic.log import Log, Request
from autotune_cli.traffic.scheduler import Given, Scheduler, load_rules, scheduler_of
from autotune_cli.traffic.simulate import computed_tokens, simulate
from autotune_cli.traffic.steps import Steps, captured_size, cell_of

GIB = 2**30
SGLANG = Scheduler("sglang", "0.5.23", "prefill first", 64, 4, None, (1, 2, 4), 0.01)
VLLM = replace(SGLANG, engine="vllm", policy="mixed")


@st.composite
def requests(draw: st.DrawFn) -> Log:
    found = []
    for _ in range(draw(st.integers(1, 12))):
        prompt = draw(st.integers(1, 300))
        cached = draw(st.integers(0, prompt - 1))
        found.append(Request(draw(st.floats(0, 1)), prompt, draw(st.integers(1, 40)), cached))
    return Log("a test", found, len(found), most_in_flight=draw(st.none() | st.integers(1, 5)))


@st.composite
def schedulers(draw: st.DrawFn) -> Scheduler:
    return Scheduler(
        "sglang",
        None,
        draw(st.sampled_from(["prefill first", "mixed"])),
        draw(st.integers(1, 200)),
        draw(st.integers(1, 8)),
        draw(st.none() | st.integers(1, 600)),
        draw(st.sampled_from([(), (1,), (1, 2, 4, 8)])),
        draw(st.floats(1e-3, 1.0)),
    )


@given(requests(), schedulers())
def test_every_token_is_computed_once(served: Log, scheduler: Scheduler) -> None:
    steps = simulate(served, scheduler)
    prompts, decoded = computed_tokens(served.requests)
    assert steps.total("prefill", "extend").new == prompts
    assert steps.total("decode").new == decoded == steps.total("decode").requests
    # The keys of a request's decode steps: its prompt and one more in the first, one more in each.
    keys = sum(sum(range(each.prompt + 1, each.prompt + each.output)) for each in served.requests)
    assert steps.total("decode").keys == keys


@given(requests(), schedulers())
def test_no_bound_is_passed(served: Log, scheduler: Scheduler) -> None:
    steps = simulate(served, scheduler)
    most = min(scheduler.max_running, served.most_in_flight or scheduler.max_running)
    for cell, tally in steps.cells.items():
        assert tally.batch_ends[1] <= most
        assert tally.batch_ends[0] >= 1
        if cell.kind == "decode":
            assert not cell.graph or cell.batch in scheduler.captured
            assert not cell.graph or tally.batch_ends[1] <= cell.batch
        else:
            assert not cell.graph
            assert tally.new <= tally.steps * scheduler.chunk
            assert (tally.keys > tally.new) == (cell.kind == "extend")
    assert 0 < steps.passes <= steps.total().steps


@given(requests(), schedulers())
def test_the_same_log_gives_the_same_steps(served: Log, scheduler: Scheduler) -> None:
    assert simulate(served, scheduler).digest() == simulate(served, scheduler).digest()


def rows(steps: Steps) -> list[tuple[str, bool, int, int, int]]:
    """Kind, graph, steps, requests and keys of each cell."""
    return sorted(
        (cell.kind, cell.graph, tally.steps, tally.requests, tally.keys) for cell, tally in steps.cells.items()
    )


def test_a_request_alone() -> None:
    steps = simulate(log((0.0, 3, 4)), SGLANG)
    # Three decode steps, over 4, 5 and 6 keys.
    assert rows(steps) == [
        ("decode", True, 1, 1, 4), ("decode", True, 1, 1, 5), ("decode", True, 1, 1, 6), ("prefill", False, 1, 1, 3),
    ]  # fmt: skip
    assert steps.passes == 4


def test_a_long_prompt_goes_in_chunks_and_the_next_request_fills_the_last_one() -> None:
    steps = simulate(log((0.0, 100, 1), (0.0, 20, 1)), SGLANG)
    # 64 tokens; then 36 on those and all 20 of the second request.
    assert rows(steps) == [("extend", False, 1, 2, 120), ("prefill", False, 1, 1, 64)]


def test_what_was_in_the_prefix_cache_is_not_computed_again() -> None:
    steps = simulate(log((0.0, 50, 1, 40)), SGLANG)
    assert rows(steps) == [("extend", False, 1, 1, 50)]
    assert steps.total("extend").new == 10


def test_new_requests_come_before_decode_steps_or_into_them() -> None:
    two = ((0.0, 10, 3), (0.005, 10, 3))
    first = simulate(log(*two), SGLANG)
    # The second arrives while the first is prefilled: both are decoded together.
    assert first.total("decode").steps == 2
    assert first.passes == 4
    mixed = simulate(log(*two), VLLM)
    # The second's prompt is computed in the step of the first's second token, which is not replayed.
    assert mixed.passes == 4
    assert {(cell.graph, tally.requests) for cell, tally in mixed.cells.items() if cell.kind == "decode"} >= {
        (False, 1)
    }
    assert mixed.total("decode").steps == 3


def test_what_is_decoded_takes_its_part_of_a_mixed_steps_chunk() -> None:
    scheduler = replace(VLLM, chunk=8, max_running=8)
    steps = simulate(log(*[(0.0, 1, 50)] * 6, (0.25, 10, 1)), scheduler)
    # 6 are decoded in each step, which leaves 2 tokens of the chunk: 10 take five steps.
    late = [tally for cell, tally in steps.cells.items() if cell.kind == "extend"]
    assert sum(tally.steps for tally in late) == 4
    assert {tally.new // tally.steps for tally in late} == {2}
    assert sum(tally.steps for cell, tally in steps.cells.items() if cell.kind == "decode" and not cell.graph) >= 5


def test_a_request_that_comes_while_others_are_decoded_ends_their_run() -> None:
    steps = simulate(log((0.0, 10, 100), (0.5, 10, 2)), SGLANG)
    # A step is 10 ms: one prefill and 49 decode steps of the first, then the second's.
    batches = {tally.batch_ends for cell, tally in steps.cells.items() if cell.kind == "decode"}
    assert batches == {(1, 1), (2, 2)}
    assert sum(tally.steps for cell, tally in steps.cells.items() if tally.batch_ends == (2, 2)) == 1


def test_no_more_run_than_may_and_the_cache_holds_them() -> None:
    many = log(*[(0.0, 10, 5)] * 9)
    assert simulate(many, SGLANG).total("decode").batch_ends == (1, 4)
    held = simulate(many, replace(SGLANG, max_tokens=31)).total("decode")
    assert held.batch_ends[1] == 2
    # One that is larger than the cache is served, alone.
    assert simulate(many, replace(SGLANG, max_tokens=3)).total("decode").batch_ends == (1, 1)


def test_a_benchmark_sends_the_next_when_one_is_answered() -> None:
    closed = log(*[(0.0, 10, 5)] * 6)
    closed.most_in_flight = 2
    assert simulate(closed, SGLANG).total("decode").batch_ends[1] == 2


def test_a_server_that_waits_skips_the_time() -> None:
    steps = simulate(log((0.0, 10, 2), (1e6, 10, 2)), SGLANG)
    assert steps.passes == 4


def test_decode_steps_are_counted_in_cells_as_if_one_by_one() -> None:
    together, single = Steps((8,)), Steps((8,))
    together.decode(5, 503, steps=300)
    for step in range(300):
        single.decode(5, 503 + 5 * step)
    assert together == single
    assert len(together.cells) > 3


def test_requests_that_are_not_in_order_are_sorted_and_that_is_said() -> None:
    served = log((1.0, 10, 2), (0.0, 20, 2), (3.0, 30, 2))
    assert [each.prompt for each in served.in_order()] == [20, 10, 30]
    assert served.notes == ["1 requests arrived before the one above them: sorted by their times"]


@pytest.mark.parametrize(
    ("engine", "memory", "tp", "chunk", "running", "largest"),
    [
        ("sglang", None, 1, 4096, 2048, 160),
        ("sglang", 24 * GIB, 1, 4096, 2048, 48),
        ("sglang", 80 * GIB, 1, 8192, 2048, 256),
        ("sglang", 80 * GIB, 8, 8192, 2048, 512),
        ("sglang", 141 * GIB, 2, 8192, 2048, 256),
        ("sglang", 192 * GIB, 1, 16384, 2048, 512),
        ("vllm", 24 * GIB, 1, 2048, 256, 512),
        ("vllm", 80 * GIB, 1, 8192, 1024, 512),
    ],
)
def test_what_an_engine_takes_on_a_gpu(
    engine: str, memory: int | None, tp: int, chunk: int, running: int, largest: int
) -> None:
    found = scheduler_of(engine, Given(), memory, tp)
    assert (found.chunk, found.max_running, found.captured[-1]) == (chunk, running, largest)
    assert list(found.captured) == sorted(set(found.captured))
    assert found.captured[:4] == (1, 2, 4, 8)
    assert load_rules(engine).max_running_source


def test_an_older_sglang_takes_less_of_a_small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.5.16")
    found = scheduler_of("sglang", Given(), 24 * GIB, 4)
    assert (found.version, found.chunk, found.captured[-1]) == ("0.5.16", 2048, 80)


def test_what_is_given_counts() -> None:
    given = Given(max_running=48, chunk=100, max_tokens=5000, captured=(16, 4, 4), step_s=0.03)
    found = scheduler_of("sglang", given, 80 * GIB, token_bytes=1 << 17)
    assert (found.max_running, found.chunk, found.max_tokens, found.captured) == (48, 100, 5000, (4, 16))
    assert found.step_of(0.01) == 0.03
    # SGLang captures no more than it runs; unless somebody says so, the GPU's memory bounds the cache.
    assert scheduler_of("sglang", Given(max_running=48), 80 * GIB).captured[-1] == 48
    bounded = scheduler_of("sglang", Given(), 80 * GIB, token_bytes=1 << 17)
    assert bounded.max_tokens == int(0.88 * 80 * GIB) >> 17
    assert "576,716 tokens cached (what the GPU holds without weights)" in bounded.words([(0.02, False)])
    assert scheduler_of("sglang", Given(), None, graphs=False).captured == ()
    assert captured_size(5, (4, 8)) == 8
    assert captured_size(9, (4, 8)) is None


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_the_committed_trace_is_served_whole(engine: str) -> None:
    served = log_of(DATA / "conversations.csv")
    steps = simulate(served, scheduler_of(engine, Given(), 80 * GIB, token_bytes=1 << 17))
    assert (steps.total("prefill", "extend").new, steps.total("decode").new) == computed_tokens(served.requests)
    assert computed_tokens(served.requests) == (536267, 93522 - 500)


def test_cells_are_whole_numbers_where_they_are_small_and_9_percent_wide_where_not() -> None:
    assert [cell_of(number) for number in range(1, 9)] == sorted({cell_of(number) for number in range(1, 9)})
    assert cell_of(1000) == cell_of(1010)
    assert cell_of(1000) < cell_of(1100)
