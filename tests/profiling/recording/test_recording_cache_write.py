"""Writing the new tokens' keys into the cache: forgotten before a phase, written in it, bit for bit."""

from __future__ import annotations

import pytest
import torch
from recording_cases import DECODE, EXTEND, PAGE_SIZES, bits, problem

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.sglang.padding import SCRATCH

DTYPES = [{}, {"dtype": "float16"}, {"kv_dtype": "float8_e4m3fn"}]


def new_slots(made: AttentionProblem, page_size: int) -> set[int]:
    """Where the new tokens lie in a cache seen as rows, by walking through the tables."""
    found = set()
    for table, new, keys in zip(made.paged(page_size).tables, *made.lengths, strict=True):
        for token in range(keys - new, keys):
            found.add(int(table[token // page_size]) * page_size + token % page_size)
    return found


def changed(before: torch.Tensor, after: torch.Tensor) -> set[int]:
    """Rows (slots) that differ in any bit."""
    rows = [bits(part.flatten(0, 1)).flatten(1) for part in (before, after)]
    return set((rows[0] != rows[1]).any(1).nonzero().flatten().tolist())


@pytest.mark.parametrize("values", DTYPES, ids=str)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("lengths", [EXTEND, DECODE], ids=["extend", "decode"])
def test_what_is_forgotten_is_written_again(lengths: Lengths, page_size: int, values: dict[str, str]) -> None:
    made = problem(lengths, **values)
    pages = made.paged(page_size)
    caches = (pages.k, pages.v)
    before = [cache.clone() for cache in caches]
    write = CacheWrite(made, page_size)
    assert all(torch.equal(bits(a), bits(b)) for a, b in zip(before, caches, strict=True)), "making it writes nothing"
    write.forget()
    for old, cache in zip(before, caches, strict=True):
        assert changed(old, cache) == new_slots(made, page_size)
        # What is there instead must not be read: huge, and finite.
        for slot in new_slots(made, page_size):
            row = cache.flatten(0, 1)[slot].float()
            assert bool((row == row.flatten()[0]).all())
            assert 400.0 <= float(row.flatten()[0]) < 1e5
    write()
    for old, cache in zip(before, caches, strict=True):
        assert changed(old, cache) == set()
    write()
    write.forget()
    write()
    assert all(torch.equal(bits(a), bits(b)) for a, b in zip(before, caches, strict=True))


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_padded_tokens_write_into_the_scratch_slot_only(page_size: int) -> None:
    made = problem()
    pages = made.paged(page_size)
    # What is in the scratch slot, before what is forgotten looks alike.
    pages.k[SCRATCH, 0] = 5.0
    before = pages.k.clone()
    write = CacheWrite(made, page_size, padding=7)
    write.forget()
    assert changed(before, pages.k) == new_slots(made, page_size) | {SCRATCH * page_size}
    write()
    assert changed(before, pages.k) == set()
    assert SCRATCH * page_size not in new_slots(made, page_size)


def test_without_padding_nothing_touches_the_scratch_slot() -> None:
    made = problem()
    pages = made.paged(1)
    write = CacheWrite(made, 1)
    pages.k[SCRATCH], pages.v[SCRATCH] = 1.0, 2.0
    write.forget()
    write()
    assert bool((pages.k[SCRATCH] == 1.0).all())
    assert bool((pages.v[SCRATCH] == 2.0).all())


def test_a_forgotten_cache_makes_attention_wrong() -> None:
    """So a phase that doesn't write, or too late, is found by its output."""
    from autotune_cli.kernels.registry import REGISTRY

    made = problem(DECODE)
    ready = REGISTRY.get("torch.eager").prepare(made, block=1)
    run = getattr(ready, "run", ready)
    assert made.check(run()).ok
    write = CacheWrite(made, 1)
    write.forget()
    assert not made.check(run()).ok
    write()
    assert made.check(run()).ok
