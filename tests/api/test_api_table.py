"""What a server asks at run time: the candidate of the nearest workload, and the fewest candidates for all of them."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from autotune_cli import NoSuchResult, NotInTable, OtherDevice, Table, load_cache, load_table
from autotune_cli.api import table as module
from autotune_cli.api.covering import fewest
from autotune_cli.results.schema import PropertyVerdict, WorkloadResult

ROOT = Path(__file__).parents[2]
H100 = "NVIDIA H100 80GB HBM3"
DECODE = "attention.decode"


@cache
def llama(max_slowdown: float | None = None, name: str = "llama-3.1-8b", device: str = H100) -> Table:
    return load_table(name, device=device, max_slowdown=max_slowdown, root=ROOT)


def test_every_tuned_workload_gets_its_winner() -> None:
    run = load_cache("llama-3.1-8b", root=ROOT)
    for result in run.workloads:
        if run.environments[result.environment].device != H100 or result.choice is None:
            continue
        best = llama().best(result.workload.operation, **result.workload.sizes)
        winner = result.candidate(str(result.choice.winner))
        assert (best.candidate, best.us, best.slowdown) == (winner.key, winner.median_us, 1.0)
        assert (best.backend, best.knobs, best.workload) == (winner.backend, winner.knobs, result.key)
        assert best.is_exact


def test_the_nearest_one_and_how_far_off_it_is() -> None:
    best = llama().best(DECODE, batch_size=48, context=9216)
    assert best.workload.startswith("attention.decode 64 x 8192 ")
    assert best.factors == {"batch_size": 0.75, "context": 1.125}
    assert not best.is_exact
    # By ratios, not differences: 2900 is nearer to 8192 than to 1024.
    assert " 1 x 8192 " in llama().best(DECODE, batch_size=1, context=2900).workload
    assert " 1 x 1024 " in llama().best(DECODE, batch_size=1, context=2890).workload


@pytest.mark.parametrize("most", [1.0, 1.02, 1.05, 1.3])
def test_a_narrowed_table_has_a_candidate_close_to_each_best(most: float) -> None:
    whole, table = llama(), llama(most)
    for operation in table.operations:
        assert 1 <= len(table.candidates[operation]) <= len(whole.candidates[operation])
    for result in load_cache("llama-3.1-8b", root=ROOT).workloads:
        best = table.best(result.workload.operation, **result.workload.sizes)
        assert best.candidate in table.candidates[result.workload.operation]
        assert 1.0 <= best.slowdown <= most
    assert len(llama(1.3).candidates[DECODE]) < len(llama(1.0).candidates[DECODE])


def test_the_fewest_are_the_fewest() -> None:
    draw = random.Random(0)
    for _ in range(60):
        keys = [f"k{number}" for number in range(7)]
        options = [
            {key: 1.0 + draw.random() for key in draw.sample(keys, draw.randint(1, 4))}
            for _ in range(draw.randint(1, 8))
        ]
        found = fewest(options)
        size = next(
            count
            for count in range(1, 8)
            if any(all(set(some) & option.keys() for option in options) for some in itertools.combinations(keys, count))
        )
        assert len(found) == size
        assert all(found & option.keys() for option in options)


def test_of_sets_as_small_the_fastest_is_taken() -> None:
    assert fewest([{"slow": 1.04, "fast": 1.0}, {"slow": 1.01, "fast": 1.02}]) == {"fast"}


def test_another_device_is_refused_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_this_gpu", lambda: "NVIDIA B200")
    with pytest.raises(OtherDevice, match=r"has results of NVIDIA H200 and NVIDIA H100.*, not of NVIDIA B200; device="):
        load_table("llama-3.1-8b", root=ROOT)

    def unknown() -> str:
        raise module.NoGpu("Driver Not Loaded")

    monkeypatch.setattr(module, "_this_gpu", unknown)
    with pytest.raises(OtherDevice, match=r"machine, of whose GPU nothing is known \(Driver Not Loaded\); "):
        load_table("llama-3.1-8b", root=ROOT)
    monkeypatch.setattr(module, "_this_gpu", lambda: H100)
    assert load_table("llama-3.1-8b", root=ROOT).device == H100
    assert llama(device="h100").device == H100
    for part in ("nvidia h", "h300", "", " "):
        with pytest.raises(OtherDevice):
            llama(device=part)
    # Of this machine's GPU the whole name counts.
    monkeypatch.setattr(module, "_this_gpu", lambda: "NVIDIA H100")
    with pytest.raises(OtherDevice):
        load_table("llama-3.1-8b", root=ROOT)


def test_questions_without_an_answer() -> None:
    table = llama()
    with pytest.raises(NotInTable, match=r"nothing of topk.select; it has attention.decode, attention.prefill, "):
        table.best("topk.select", rows=1, width=2, k=1)
    with pytest.raises(NotInTable, match=r"attention.decode was tuned in mode graph, not eager"):
        table.best(DECODE, mode="eager", batch_size=1, context=1024)
    with pytest.raises(TypeError, match=r"attention.decode has the sizes batch_size, context, not batch_size"):
        table.best(DECODE, batch_size=1)
    for size in (0, -8, 0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="from 1 on"):
            table.best(DECODE, batch_size=size, context=1024)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"1.0 or more, not 0.9"):
        llama(0.9)
    with pytest.raises(NoSuchResult):
        llama(name="no-such-model")


def test_layers_with_a_window_are_asked_for_by_it() -> None:
    table = llama(name="gpt-oss-120b")
    assert {DECODE, f"{DECODE} window 128"} <= set(table.operations)
    whole = table.best(DECODE, batch_size=8, context=8192)
    window = table.best(f"{DECODE} window 128", batch_size=8, context=8192)
    assert "window" in window.workload or window.workload != whole.workload


def test_threads_get_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 7)
    table, wrong = load_table("llama-3.1-8b", device=H100, root=ROOT), []

    def ask(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(400):
            batch, context = draw.choice([1, 8, 64]), draw.choice([1024, 8192])
            if f" {batch} x {context} " not in table.best(DECODE, batch_size=batch, context=context).workload:
                wrong.append((batch, context))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(table._known) <= 7


def test_it_needs_no_torch() -> None:
    source = f"""
import sys
from autotune_cli import load_table
table = load_table("llama-3.1-8b", device={H100!r}, max_slowdown=1.05, root={str(ROOT)!r})
table.best({DECODE!r}, batch_size=8, context=4096)
print({{"torch", "pandas", "flashinfer"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("first", [True, False])
def test_of_two_results_of_a_workload_the_newest_counts(monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """A cache keeps what was measured under the driver before."""
    run = load_cache("llama-3.1-8b", root=ROOT)
    before = llama().best(DECODE, batch_size=1, context=1024)
    old = next(
        each
        for each in run.workloads
        if each.key == before.workload and run.environments[each.environment].device == H100
    )
    slower = [
        each.model_copy(update={"median_us": 2 * each.median_us}) if each.median_us else each for each in old.candidates
    ]
    new = old.model_copy(update={"candidates": tuple(slower), "measured_at": "2027-01-01T00:00:00Z"})
    workloads = (new, *run.workloads) if first else (*run.workloads, new)
    changed = replace(run, file=run.file.model_copy(update={"workloads": workloads}))
    monkeypatch.setattr(module, "load_cache", lambda name, root: changed)
    assert load_table("llama-3.1-8b", device=H100).best(DECODE, batch_size=1, context=1024).us == 2 * before.us


def test_what_doesn_t_keep_what_is_required_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However close it is."""
    run = load_cache("llama-3.1-8b", root=ROOT)
    kept = PropertyVerdict(name="deterministic", ok=True, compared=7)

    def required(result: WorkloadResult) -> WorkloadResult:
        assert result.choice is not None
        winner = result.candidate(result.choice.winner).model_copy(update={"properties": (kept,)})
        others = tuple(each for each in result.candidates if each.key != winner.key)
        return result.model_copy(update={"candidates": (winner, *others), "required": (kept.name,)})

    workloads = tuple(required(each) for each in run.workloads if each.choice is not None)
    changed = replace(run, file=run.file.model_copy(update={"workloads": workloads}))
    monkeypatch.setattr(module, "load_cache", lambda name, root: changed)
    table = load_table("llama-3.1-8b", device=H100, max_slowdown=2.0)
    for result in workloads:
        if run.environments[result.environment].device == H100:
            assert result.choice is not None
            assert table.best(result.workload.operation, **result.workload.sizes).candidate == result.choice.winner
