"""The workloads that wait for a worker, and what becomes of those whose worker is lost."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from autotune_cli.tuning.budget import Budget
from autotune_cli.tuning.waiting import Waiting


class Workload(NamedTuple):
    key: str


class Plan(NamedTuple):
    workload: Workload


def made(*names: str) -> tuple[Waiting, threading.Event]:
    plans: Any = [Plan(Workload(name)) for name in names]
    stop = threading.Event()
    return Waiting(plans, stop), stop


def key(plan: Any) -> str:
    return str(plan.workload.key)


def test_a_workload_that_comes_back_is_the_next() -> None:
    waiting, _ = made("a", "b", "c")
    taken: Any = waiting.take()
    waiting.take()
    waiting.give_back(taken)
    assert [key(waiting.take()), key(waiting.take())] == ["a", "c"]


def test_a_worker_goes_on_with_what_it_has_begun() -> None:
    waiting, _ = made("a", "b", "c")
    assert key(waiting.take({"b"})) == "b"
    assert [key(waiting.take({"b"})), key(waiting.take())] == ["a", "c"]


def test_a_worker_without_work_waits_for_what_others_may_lose() -> None:
    waiting, _ = made("a")
    taken: Any = waiting.take()
    idle: list[object] = []
    thread = threading.Thread(target=lambda: idle.append(waiting.take()))
    thread.start()
    waiting.give_back(taken)
    thread.join()
    assert idle == [taken]
    waiting.finished()
    assert waiting.take() is None
    assert len(waiting) == 0


def test_nothing_is_taken_once_the_user_wants_to_stop() -> None:
    waiting, stop = made("a", "b")
    waiting.take()
    stop.set()
    assert waiting.take() is None
    assert len(waiting) == 1


def test_what_a_lost_worker_had_is_another_share_of_the_budget() -> None:
    budget = Budget(60.0, 2, workers=2, now=lambda: 0.0)
    assert budget.share().end == 60.0
    budget.worker_lost()
    # Two are left for one worker.
    assert budget.share().end == 30.0
    assert budget.share().end == 60.0
