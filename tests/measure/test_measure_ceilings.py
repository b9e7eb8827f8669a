"""The ceilings: small buffers and matrices on this CPU, with a timer and a GPU that are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from autotune_cli.kernels.registry import Device
from autotune_cli.measure import roofline
from autotune_cli.measure.ceilings import matrix, memory
from autotune_cli.measure.ceilings.matrix import ProductShape, fp8_product, half_product, shapes, time_products
from autotune_cli.measure.ceilings.memory import ACCESSES, GIB, SIZES, Access, time_accesses
from autotune_cli.measure.ceilings.trials import Timed, Trial, time_trials
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.roofline import ceilings_of, measure_ceilings
from autotune_cli.measure.timers.base import Launch, MeasurementError, Sample

MIB = 1 << 20


class Script:
    """A timer that tells the times it was given, by launch; it calls as often as CUPTI's does."""

    name, l2 = "script", "cold"

    def __init__(self, *times: Sequence[float], spoilt: Sequence[int] = ()) -> None:
        self.times = list(times)
        self.spoilt = list(spoilt)
        self.passes: list[int] = []
        self.log: list[str] = []

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        self.passes.append(len(launches))
        for launch in launches:
            for _ in range(iterations):
                launch()
        self.log.append("measured")
        if self.spoilt:
            raise MeasurementError("other kernels", self.spoilt.pop(0))
        taken, self.times = self.times[: len(launches)], self.times[len(launches) :]
        assert len(taken) == len(launches)
        return [Sample(tuple(times)) for times in taken]

    def inspect(self, launch: Launch, iterations: int) -> Any:
        raise NotImplementedError


class Steady(Script):
    """Every call takes 100 us."""

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        self.times = [(100.0,) * iterations for _ in launches]
        return super().measure(launches, iterations, started)


class FakeGpu(Gpu):
    """Clocks that fall from reading to reading."""

    def __init__(self, log: list[str] | None = None, highest: float = 1980.0) -> None:
        self.sm = 2000.0
        self.highest = highest
        self.log = [] if log is None else log

    def clocks(self) -> tuple[float | None, float | None]:
        self.log.append("clocks")
        self.sm -= 10.0
        return self.sm, 2619.0

    def max_sm_clock_mhz(self) -> float | None:
        return self.highest


# --- trials ------------------------------------------------------------------------------------------------------


def test_a_ceiling_is_the_quickest_call() -> None:
    (timed,) = time_trials(Script((30.0, 20.0, 25.0)), [Trial("a", 4e6, lambda: None)], 3, None)
    assert timed.rate == pytest.approx(4e6 / 20e-6)
    assert (timed.sm_clock_mhz, timed.memory_clock_mhz) == (None, None)


def test_clocks_are_read_while_the_calls_are_on_their_way() -> None:
    log: list[str] = []
    timer = Script((1.0,), (1.0,))
    timer.log = log
    trials = [Trial(name, 1.0, lambda name=name: log.append(name)) for name in "ab"]  # type: ignore[misc]
    timed = time_trials(timer, trials, 3, FakeGpu(log))
    # After the last call of each, before the host waits for it.
    assert log == ["a", "a", "a", "clocks", "b", "b", "b", "clocks", "measured"]
    assert [(entry.sm_clock_mhz, entry.memory_clock_mhz) for entry in timed] == [(1990.0, 2619.0), (1980.0, 2619.0)]


def test_a_trial_that_cannot_be_measured_is_left_out() -> None:
    timer = Script((1.0,), (2.0,), spoilt=[1])
    timed = time_trials(timer, [Trial(name, 1.0, lambda: None) for name in "abc"], 1, None)
    assert [entry.what for entry in timed] == ["a", "c"]
    assert timer.passes == [3, 2]
    assert time_trials(Script(spoilt=[0]), [Trial("a", 1.0, lambda: None)], 1, None) == []


def test_a_pass_that_is_lost_is_an_error() -> None:
    timer = Script(spoilt=[None])  # type: ignore[list-item]
    with pytest.raises(MeasurementError):
        time_trials(timer, [Trial("a", 1.0, lambda: None)], 1, None)


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A GPU whose buffers lie in this CPU's memory, a thousandth of their size."""
    seen: dict[str, Any] = {"free": 80 * GIB, "asked": [], "refused": 0, "emptied": 0}
    empty = torch.empty

    def take(*shape: Any, **options: Any) -> torch.Tensor:
        device = options.pop("device", "cpu")
        if options.get("dtype") == torch.uint8 and device == "cuda":
            seen["asked"].append(shape[0])
            if seen["refused"]:
                seen["refused"] -= 1
                raise torch.OutOfMemoryError
        return empty(*shape, **options)

    monkeypatch.setattr(memory.torch, "empty", take)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (seen["free"], 80 * GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.update(emptied=seen["emptied"] + 1))
    monkeypatch.setitem(memory.SIZES, "cuda", (8 * MIB, 4 * MIB, 1 * MIB))
    monkeypatch.setattr(memory, "_SMALLEST", MIB // 4)
    return seen


def names(timed: Sequence[Timed]) -> list[str]:
    return [entry.what for entry in timed]


def test_every_access_at_every_size(small: dict[str, Any]) -> None:
    timed = time_accesses("cuda", Steady())
    assert names(timed) == [f"{access.name}, {size} MiB" for size in (8, 4, 1) for access in ACCESSES]
    assert {entry.amount for entry in timed} == {8 * MIB, 4 * MIB, MIB}
    assert small["asked"] == [8 * MIB]
    # Nothing is left allocated for the race to stumble over.
    assert small["emptied"] == 1


@pytest.mark.parametrize("access", ACCESSES, ids=lambda access: access.name)
def test_an_access_goes_through_the_whole_buffer(access: Access) -> None:
    """One float32 changed anywhere changes the result (a copy: arrives)."""
    buffer = torch.empty(MIB, dtype=torch.uint8)
    floats = buffer.view(torch.float32)
    places = (0, 77777, floats.numel() // 2 - 1, *(() if access.writes else (floats.numel() // 2 + 5, -1)))
    for place in places:
        floats.fill_(1.0)
        call = access.call(buffer)
        call()
        before = floats.clone() if access.writes else result_of(call).clone()
        floats[place] = 1024.0
        call()
        after = floats if access.writes else result_of(call)
        if access.writes:
            assert after[floats.numel() // 2 + place] == 1024.0
        else:
            assert not torch.equal(before, after), place


def result_of(call: Callable[[], object]) -> torch.Tensor:
    result = call()
    assert isinstance(result, torch.Tensor)
    return result


def test_cublas_gets_only_what_it_can_index() -> None:
    for access in ACCESSES:
        if access.name.startswith(("dot", "mv")):
            assert access.most_bytes is not None
            # Elements of four bytes at least, and bytes of either half of a dot product, below 2**31.
            assert access.most_bytes // 4 < 1 << 31
            assert access.name != "dot float64" or access.most_bytes // 2 <= 1 << 31


def test_an_access_that_is_too_large_or_fails_is_left_out(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(buffer: torch.Tensor) -> Callable[[], object]:
        raise RuntimeError("not supported")

    flat = ACCESSES[0]
    monkeypatch.setattr(
        memory, "ACCESSES", (flat, Access("bounded", flat.call, most_bytes=4 * MIB), Access("broken", fails))
    )
    assert names(time_accesses("cuda", Steady())) == [
        "amax float32, 8 MiB", "amax float32, 4 MiB", "bounded, 4 MiB", "amax float32, 1 MiB", "bounded, 1 MiB",
    ]  # fmt: skip


def test_of_a_copy_the_lines_that_may_still_be_in_the_cache_do_not_count(small: dict[str, Any]) -> None:
    timed = {entry.what: entry.amount for entry in time_accesses("cuda", Steady(), l2_bytes=MIB // 2)}
    assert timed["copy, 8 MiB"] == 7.5 * MIB
    assert timed["amax float32, 8 MiB"] == 8 * MIB


def test_a_small_card_gets_small_buffers(small: dict[str, Any]) -> None:
    small["free"] = 15 * MIB
    assert "amax float32, 4 MiB" in names(time_accesses("cuda", Steady()))
    assert small["asked"] == [4 * MIB]
    small["free"] = 2 * MIB  # 0.4 of it is less than the smallest size
    assert {name.split(", ")[1] for name in names(time_accesses("cuda", Steady()))} == {"0 MiB"}
    assert small["asked"][-1] == 3 * MIB // 4
    small["free"] = MIB // 2
    assert time_accesses("cuda", Steady()) == []


def test_memory_that_another_process_took_meanwhile_is_no_error(small: dict[str, Any]) -> None:
    small["refused"] = 2
    assert {name.split(", ")[1] for name in names(time_accesses("cuda", Steady()))} == {"1 MiB"}
    assert small["asked"] == [8 * MIB, 4 * MIB, 1 * MIB]
    small["refused"] = 3
    assert time_accesses("cuda", Steady()) == []


def test_a_cpu_reads_and_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory.SIZES, "cpu", (MIB,))
    monkeypatch.setattr(memory, "_SMALLEST", MIB)
    assert names(time_accesses("cpu", Steady())) == ["amax float32, 1 MiB", "copy, 1 MiB"]


def test_sizes_leave_the_caches_of_today_far_behind() -> None:
    """H100 and H200 have 50 MiB of L2: at most 5 % of the smallest buffer, and it is flushed besides."""
    assert min(SIZES["cuda"]) >= 20 * 50 * MIB
    assert max(SIZES["cuda"]) >= 4 * GIB


# --- matrix rate -------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Small shapes, and rests that are noted and not taken."""
    rests: list[float] = []
    monkeypatch.setattr(matrix.time, "sleep", rests.append)
    monkeypatch.setattr(
        matrix, "shapes", lambda device, multiprocessors: (ProductShape(64, 32, 16), ProductShape(32, 32, 32))
    )
    return rests


def test_every_burst_comes_after_a_rest(quick: list[float]) -> None:
    timer = Steady()
    timed = time_products(half_product, "cpu", timer, FakeGpu())
    assert [entry.what for entry in timed] == ["64 x 32 x 16", "32 x 32 x 32"]
    assert [entry.amount for entry in timed] == [2 * 64 * 32 * 16, 2 * 32**3]
    assert [entry.sm_clock_mhz for entry in timed] == [1990.0, 1980.0]
    # A pass of its own for each shape, or the bursts would join up and run into the power cap.
    assert timer.passes == [1, 1]
    assert len(quick) == 2
    assert min(quick) > 0


def test_products_are_what_they_say() -> None:
    torch.manual_seed(0)
    for product, dtype in ((half_product, torch.float32), (fp8_product, torch.bfloat16)):
        out = result_of(product(ProductShape(48, 32, 64), "cpu"))
        assert (out.shape, out.dtype) == ((48, 32), dtype)
        # Random data: k products of normal numbers.
        assert 4.0 < out.float().std() < 12.0


def test_a_device_that_cannot_do_it_has_no_rate(quick: list[float]) -> None:
    def missing(shape: ProductShape, device: str) -> Callable[[], object]:
        return torch.no_such_function  # type: ignore[no-any-return,attr-defined]

    def unsupported(shape: ProductShape, device: str) -> Callable[[], object]:
        raise RuntimeError("FP8 needs compute capability 8.9")

    assert time_products(missing, "cpu", Steady()) == []
    assert time_products(unsupported, "cpu", Steady()) == []


def test_one_shape_leaves_no_multiprocessor_without_work() -> None:
    for count in (132, 114):
        found = shapes("cuda", count)
        assert any(shape.m % (128 * count) == 0 for shape in found)
        # Long against a start of some microseconds.
        assert all(2.0 * shape.m * shape.n * shape.k > 1e11 for shape in found)
    assert len(shapes("cpu", 0)) == 1
    assert all(min(shape) > 0 for shape in shapes("cuda", 0))


# --- all together ------------------------------------------------------------------------------------------------


def timed(what: str, amount: float, us: float, sm: float | None = None) -> Timed:
    return Timed(what, amount, (us, 2 * us), sm, 2619.0 if sm else None)


def test_ceilings_are_the_best_with_their_own_clocks() -> None:
    ceilings = ceilings_of(
        [timed("a", 4e9, 1400.0, 1900.0), timed("b", 4e9, 1300.0, 1905.0), timed("c", 1e9, 340.0, 1910.0)],
        [timed("m", 1.1e12, 1400.0, 1980.0), timed("n", 1.1e12, 1300.0, 1980.0)],
        [],
        1980.0,
    )
    assert ceilings.memory_gb_per_s == pytest.approx(4e9 / 1300e-6 / 1e9, abs=0.1)
    assert (ceilings.memory_sm_clock_mhz, ceilings.memory_clock_mhz) == (1905.0, 2619.0)
    assert ceilings.matmul_tflop_per_s == pytest.approx(1.1e12 / 1300e-6 / 1e12, abs=0.001)
    assert ceilings.fp8_tflop_per_s is None


def test_of_products_the_one_counts_that_does_most_a_clock() -> None:
    slow_clock = timed("slow clock", 0.95, 1.0, 1650.0)
    ceilings = ceilings_of([], [timed("fast clock", 1e12, 1.0, 1980.0), timed("x", 0.95e12, 1.0, 1650.0)], [], 1980.0)
    assert ceilings.matmul_sm_clock_mhz == slow_clock.sm_clock_mhz
    assert ceilings.memory_gb_per_s is None


def test_a_clock_of_zero_is_none() -> None:
    assert ceilings_of([Timed("a", 1e9, (1.0,), 0.0, 0.0)], [], [], None).memory_sm_clock_mhz is None


@pytest.mark.parametrize(
    ("kind", "capability", "fp8"),
    [("cuda", (9, 0), True), ("cuda", (8, 9), True), ("cuda", (8, 0), False), ("cpu", None, False)],
)
def test_what_is_measured_on_a_device(
    monkeypatch: pytest.MonkeyPatch, kind: str, capability: tuple[int, int] | None, fp8: bool
) -> None:
    products: list[Any] = []
    timers: list[tuple[str, str, str]] = []

    def multiply(product: Any, device: str, timer: Any, gpu: Gpu | None, multiprocessors: int) -> list[Timed]:
        assert (device, multiprocessors) == (kind, 132)
        products.append(product)
        return [timed("m", 1e12, 1000.0, 1755.0)]

    monkeypatch.setattr(roofline, "make_timer", lambda *arguments: timers.append(arguments) or Steady())
    monkeypatch.setattr(roofline, "time_accesses", lambda *_: [timed("a", 4e9, 1000.0, 1980.0)])
    monkeypatch.setattr(roofline, "time_products", multiply)
    device = Device(kind, "made up", capability, 132)  # type: ignore[arg-type]
    ceilings = measure_ceilings(device, "cupti", FakeGpu() if kind == "cuda" else None)
    assert products == [half_product, *([fp8_product] if fp8 else [])]
    assert (ceilings.fp8_tflop_per_s is not None) == fp8
    # In the run's own timer, and never on a warm cache.
    assert timers == [("cupti", kind, "cold")]


def test_this_cpu_has_ceilings() -> None:
    ceilings = measure_ceilings(Device("cpu", "this one"), "cpu_clock", None)
    assert ceilings.memory_gb_per_s is not None
    assert ceilings.matmul_tflop_per_s is not None
    assert ceilings.matmul_sm_clock_mhz is None
