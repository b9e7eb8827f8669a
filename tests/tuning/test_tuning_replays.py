"""What was captured at some lengths is replayed at others, with graphs that are made up: what a candidate decides in
Python while it is captured holds for all replays, as it does in a real graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from test_tuning_lengths import Clock

from autotune_cli.kernels.registry import REGISTRY, Candidate, Prepared, register
from autotune_cli.kernels.topk.problem import TopkProblem
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.results.schema import Environment
from autotune_cli.tuning.bench import Bench
from autotune_cli.tuning.messages import Vetted
from autotune_cli.tuning.properties import _RUNS, _RUNS_ANEW
from autotune_cli.worker import launching
from autotune_cli.worker.launching import Captured

WORKLOAD = TopkWorkload(
    operation="topk.select", rows=6, width=64, k=5, mode="graph", spread="uneven", distributions=("normal", "equal")
)
PAGED = WORKLOAD.model_copy(update={"operation": "topk.paged", "page_size": 4})
FULL = WORKLOAD.model_copy(update={"spread": "even"})


def select(problem: TopkProblem, lengths: torch.Tensor, columns: int | None = None) -> torch.Tensor:
    """Right for rows of these lengths, of which only the first ``columns`` are looked at."""
    width = problem.scores.shape[1]
    position = torch.arange(width)
    valid = (position < lengths[:, None]) & (position < (width if columns is None else columns))
    order = problem.scores.masked_fill(~valid, -torch.inf).sort(dim=1, descending=True, stable=True)
    found = order.indices[:, : problem.k]
    return torch.where(valid.gather(1, found), found, -1).int()


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of one piece of work: captured it writes nothing, replayed it writes into what the capture returned."""

    class Graph:
        def __init__(self, work: Callable[[], Any], output: torch.Tensor) -> None:
            self.work, self.output = work, output

        def replay(self) -> None:
            self.output.copy_(self.work())

    def capture(work: Callable[[], Any], *, stream: Any = None, keep_graph: bool = False) -> Captured:
        output = work().clone().fill_(-7)
        return Captured(Graph(work, output), output)  # type: ignore[arg-type]

    monkeypatch.setattr(launching, "warm_up", lambda work: work())
    monkeypatch.setattr(launching, "capture", capture)


@pytest.fixture
def vet() -> Iterator[Callable[..., Vetted]]:
    REGISTRY.discover()
    names = []

    def vet(
        prepare: Callable[[TopkProblem], Any], workload: TopkWorkload = WORKLOAD, required: tuple[Any, ...] = ()
    ) -> Vetted:
        name = f"tests.{len(names)}"
        register(workload.operation, name=name, devices=("cpu",))(prepare)
        names.append(name)
        environment = Environment(device_kind="cpu", device="a CPU", python="3", libraries={})
        bench = Bench(environment, None, Clock(), 0, lambda phase, subject: None)
        return bench.vet(workload, Candidate(name), 1, required)

    yield vet
    for name in names:
        REGISTRY._backends.pop(name)


def cases(vetted: Vetted) -> dict[str, bool]:
    return {case.case: case.ok for case in vetted.evidence}


def graph_safe(problem: TopkProblem) -> Any:
    return lambda: select(problem, problem.lengths)


def frozen_lengths(problem: TopkProblem) -> Any:
    lengths = problem.lengths.clone()
    return lambda: select(problem, lengths)


def frozen_longest(problem: TopkProblem) -> Any:
    """It looks no further than the longest row that it was captured with."""
    longest = int(problem.lengths.max())
    return lambda: select(problem, problem.lengths, longest)


def frozen_shortest(problem: TopkProblem) -> Any:
    """It leaves the check for rows shorter than k out, as there was none."""
    least = problem.lengths.min().clamp(max=problem.k)
    return lambda: select(problem, problem.lengths.clamp(min=int(least)))


def frozen_scores(problem: TopkProblem) -> Any:
    found = select(problem, problem.lengths)
    return lambda: found


def test_a_graph_safe_one_is_shown_to_be(vet: Callable[..., Vetted]) -> None:
    vetted = vet(graph_safe)
    assert vetted.status == "ok"
    assert cases(vetted) == dict.fromkeys(("normal", "replay", "capture", "equal", "lengths"), True)
    assert cases(vet(graph_safe, FULL)) == dict.fromkeys(("normal", "replay", "capture", "equal"), True)


@pytest.mark.parametrize(
    ("prepare", "replay", "capture"),
    [(frozen_lengths, False, False), (frozen_longest, True, False), (frozen_shortest, False, True)],
)
def test_lengths_decided_on_the_host_are_incorrect(
    vet: Callable[..., Vetted], prepare: Any, replay: bool, capture: bool
) -> None:
    vetted = vet(prepare)
    assert vetted.status == "incorrect"
    assert cases(vetted) == {"normal": True, "replay": replay, "capture": capture, "equal": True, "lengths": True}
    first = "replay" if not replay else "capture"
    assert (vetted.reason or "").startswith(f"wrong on {first}")
    assert ": not graph safe: replayed on another batch of its shape, " in (vetted.reason or "")


def test_what_is_planned_for_a_batch_is_planned_again(vet: Callable[..., Vetted]) -> None:
    plans = []

    def planned(problem: TopkProblem) -> Prepared:
        lengths = problem.lengths.clone()

        def plan() -> None:
            lengths.copy_(problem.lengths)
            plans.append(lengths.tolist())

        return Prepared(lambda: select(problem, lengths), plan)

    assert vet(planned).status == "ok"
    # For the replay, back to the timed batch, and from the other one to that. Host time isn't measured on a CPU.
    assert len(plans) == 3
    assert plans[0] != plans[1] == plans[2]


def test_full_rows_are_replayed_on_other_scores(vet: Callable[..., Vetted]) -> None:
    assert vet(frozen_lengths, FULL).status == "ok"
    vetted = vet(frozen_scores, FULL)
    assert (vetted.status, cases(vetted)["replay"]) == ("incorrect", False)


def test_page_tables_are_refilled_too(vet: Callable[..., Vetted]) -> None:
    from autotune_cli.kernels.topk.backends._transform import transform

    def right(problem: TopkProblem) -> Any:
        to_slots = transform(problem)
        return lambda: to_slots(select(problem, problem.lengths))

    def frozen_table(problem: TopkProblem) -> Any:
        layout = problem.layout
        assert layout is not None
        held = problem.__class__(**{**vars(problem), "layout": layout.moved()})
        to_slots = transform(held)
        return lambda: to_slots(select(problem, problem.lengths))

    assert vet(right, PAGED).status == "ok"
    vetted = vet(frozen_table, PAGED)
    assert (vetted.status, cases(vetted)["replay"], cases(vetted)["capture"]) == ("incorrect", False, False)


def test_inputs_are_what_they_were_afterwards(vet: Callable[..., Vetted]) -> None:
    seen: list[torch.Tensor] = []

    def prepare(problem: TopkProblem) -> Any:
        seen.append(problem.lengths.clone())
        return lambda: select(problem, problem.lengths)

    assert vet(prepare).status == "ok"
    # The timed batch, and the other one that it was captured on anew; then the other cases.
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_eager_ones_may_know_the_lengths(vet: Callable[..., Vetted]) -> None:
    eager = WORKLOAD.model_copy(update={"mode": "eager"})
    assert cases(vet(frozen_lengths, eager)) == dict.fromkeys(("normal", "refilled", "equal", "lengths"), True)


@pytest.mark.parametrize("workload", [WORKLOAD, FULL], ids=lambda workload: workload.spread)
def test_work_that_is_done_before_the_launch_is_incorrect(vet: Callable[..., Vetted], workload: TopkWorkload) -> None:
    def sorted_before(problem: TopkProblem) -> Any:
        found = select(problem, problem.lengths)
        return lambda: found.clone()

    vetted = vet(sorted_before, workload.model_copy(update={"mode": "eager"}))
    assert vetted.status == "incorrect"
    assert [case for case, ok in cases(vetted).items() if not ok] == ["refilled"]
    assert "it reads inputs before it is launched: with others in the same tensors, misses" in (vetted.reason or "")


def test_replays_and_eager_runs_are_compared_bit_by_bit(vet: Callable[..., Vetted]) -> None:
    """Captured it has another order than launched eagerly, as where a library asks whether it is being captured."""
    prepared = [0]

    def prepare(problem: TopkProblem) -> Any:
        prepared[0] += 1
        captured = prepared[0] == 1
        return lambda: select(problem, problem.lengths) if captured else select(problem, problem.lengths).flip(1)

    full = FULL.model_copy(update={"distributions": ("normal",)})
    (verdict,) = vet(prepare, full, ("deterministic",)).properties
    assert not verdict.ok
    assert verdict.message == f"{_RUNS_ANEW} of {_RUNS + _RUNS_ANEW} runs differed in 6 of 6 rows (on normal)"
