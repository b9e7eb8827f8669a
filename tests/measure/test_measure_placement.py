"""Other places in memory: nothing on a CPU, and on a GPU that is made up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune_cli.measure import placement
from autotune_cli.measure.placement import Placement

MIB = 1 << 20


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Free memory, and what is asked of torch."""
    seen: dict[str, Any] = {"free": 100 << 30, "calls": []}
    empty = torch.empty

    def take(size: int, dtype: torch.dtype, device: str) -> torch.Tensor:
        assert (dtype, device) == (torch.uint8, "cuda")
        seen["calls"].append(size)
        return empty(0)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (seen["free"], 141 << 30))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen["calls"].append("empty"))
    monkeypatch.setattr(placement.torch, "empty", take)
    return seen


def sizes(seen: dict[str, Any]) -> list[int]:
    return [call for call in seen["calls"] if isinstance(call, int)]


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def called(*_: Any) -> None:
        raise AssertionError("a CPU has no such memory")

    for name in names:
        monkeypatch.setattr(torch.cuda, name, called)


def test_a_cpu_has_room_and_nothing_to_perturb(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "mem_get_info", "empty_cache")
    place = Placement("cpu", 0)
    assert place.has_room(1 << 62)
    place.perturb()
    assert place._fillers == []
    place.clear()


def test_room_is_needed_for_the_move(gpu: dict[str, Any]) -> None:
    place = Placement("cuda", 0)
    gpu["free"] = 1501 * MIB
    assert place.has_room(1000 * MIB)
    gpu["free"] = 1499 * MIB
    assert not place.has_room(1000 * MIB)


def test_unused_memory_is_given_back_before_some_is_taken(gpu: dict[str, Any]) -> None:
    place = Placement("cuda", 0)
    place.perturb()
    assert gpu["calls"][0] == "empty"
    large, *small = sizes(gpu)
    assert MIB <= large <= 400 * MIB
    assert large % MIB == 0
    assert 1 <= len(small) <= 40
    assert all(512 <= size <= 800 * 512 and size % 512 == 0 for size in small)
    assert len(place._fillers) == 1 + len(small)


def test_the_fillers_before_are_freed_first(gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    place = Placement("cuda", 0)
    place.perturb()
    held: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: held.append(len(place._fillers)))
    place.perturb()
    assert held == [0]
    place.clear()
    assert place._fillers == []


def many(gpu: dict[str, Any], seed: int, times: int = 8) -> list[int]:
    gpu["calls"].clear()
    place = Placement("cuda", seed)
    for _ in range(times):
        place.perturb()
    return sizes(gpu)


def test_each_move_leads_elsewhere_and_a_seed_repeats_them(gpu: dict[str, Any]) -> None:
    first = many(gpu, 1)
    assert first == many(gpu, 1)
    assert first != many(gpu, 2)
    # The offsets differ from move to move.
    assert len(set(first)) > 8


@pytest.mark.parametrize("free", [5 * MIB, 9 * MIB])
def test_a_full_gpu_is_left_alone(gpu: dict[str, Any], free: int) -> None:
    gpu["free"] = free
    Placement("cuda", 0).perturb()
    assert sizes(gpu) == []


def test_no_more_than_a_tenth_of_what_is_free(gpu: dict[str, Any]) -> None:
    gpu["free"] = 100 * MIB
    assert max(many(gpu, 3, 40)) <= 10 * MIB
