"""The ceilings that floors follow from: every access, size and product with its clocks; what lies below a floor.

    python benchmarks/ceiling.py                   # measures, on a GPU
    python benchmarks/ceiling.py cache/*.json      # and checks result files; without a GPU, only that

Exit 1 if a candidate that is right is faster than its workload's floor, beyond its interval.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from autotune_cli.kernels.family import cost
from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.floor import above_floor, at_highest_clock, floor_us, is_above_floor
from autotune_cli.measure.statistics import median
from autotune_cli.measure.timers import Timer
from autotune_cli.render.ceilings import ceilings_line
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import MEASURED, Environment, WorkloadResult

# More than the program takes: enough to see how far repeats are apart.
REPEATS = 8
BURSTS = 3
# A product of 8192 takes 1.5 ms on an H100: long enough for the power cap to act.
SERIES = 150


def measure() -> Environment | None:
    """Print the tables and return this device with its ceilings as the program measures them; None without a GPU."""
    import torch

    if not torch.cuda.is_available():
        print("no NVIDIA GPU here: nothing is measured\n")
        return None
    from autotune_cli.measure.environment import collect, device_of
    from autotune_cli.measure.roofline import measure_ceilings
    from autotune_cli.measure.timers import make_timer

    environment, gpu = collect("cuda")
    assert gpu is not None
    print(
        f"{environment.device}, driver {environment.driver}, torch {torch.__version__}, "
        f"{environment.power_limit_w or 0:g} W, SM clock up to {_mhz(environment.max_sm_clock_mhz)} MHz, {gpu.uuid}\n"
    )
    timer = make_timer("cupti", "cuda")
    _memory(timer, make_timer("events", "cuda"), gpu, environment)
    _products(timer, gpu, environment)
    begin = time.perf_counter()
    ceilings = measure_ceilings(device_of(environment), "cupti", gpu)
    spent = time.perf_counter() - begin
    measured = environment.model_copy(update=ceilings.model_dump())
    print(f"as the program measures them, in {spent:.2f} s\n{ceilings_line(measured)}\n")
    return measured


def _memory(timer: Timer, events: Timer, gpu: Gpu, environment: Environment) -> None:
    """``by events``: the same accesses timed with the gaps before a launch and between two, which cost a little."""
    from autotune_cli.measure.ceilings.memory import time_accesses

    print("| access | GB/s, best | median | by events | SM / memory MHz |\n| --- | --- | --- | --- | --- |")
    timed = time_accesses("cuda", timer, gpu, environment.l2_bytes, REPEATS)
    others = {entry.what: entry.rate for entry in time_accesses("cuda", events, None, environment.l2_bytes, REPEATS)}
    for entry in timed:
        middle = entry.amount / median(entry.us) * 1e6
        by_events = others.get(entry.what, 0.0)
        print(
            f"| {entry.what} | {entry.rate / 1e9:,.0f} | {middle / 1e9:,.0f} | {by_events / 1e9:,.0f} "
            f"| {_mhz(entry.sm_clock_mhz)} / {_mhz(entry.memory_clock_mhz)} |"
        )
    print()


def _products(timer: Timer, gpu: Gpu, environment: Environment) -> None:
    from autotune_cli.measure.ceilings.matrix import ProductShape, fp8_product, half_product, time_products
    from autotune_cli.measure.ceilings.trials import Timed, Trial, time_trials

    def row(dtype: str, what: str, bursts: Sequence[Timed]) -> None:
        best = max(bursts, key=lambda burst: burst.rate)
        middle = median([burst.amount / median(burst.us) * 1e6 for burst in bursts])
        highest = at_highest_clock(best.rate, best.sm_clock_mhz, environment.max_sm_clock_mhz) or best.rate
        clocks = ", ".join(_mhz(burst.sm_clock_mhz) for burst in bursts)
        print(
            f"| {dtype} | {what} | {best.rate / 1e12:,.1f} | {middle / 1e12:,.1f} | {clocks} | {highest / 1e12:,.1f} |"
        )

    print("| product | shape | TFLOP/s, best | median | SM MHz of each burst | best at the highest clock |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dtype, product in (("bf16", half_product), ("fp8", fp8_product)):
        bursts: dict[str, list[Timed]] = {}
        for _ in range(BURSTS):
            for entry in time_products(product, "cuda", timer, gpu, environment.multiprocessors):
                bursts.setdefault(entry.what, []).append(entry)
        for what, entries in bursts.items():
            row(dtype, what, entries)
    shape = ProductShape(8192, 8192, 8192)
    flops = 2.0 * shape.m * shape.n * shape.k
    row("bf16", f"{shape}, {SERIES} in a row",
        time_trials(timer, [Trial("", flops, half_product(shape, "cuda"))], SERIES, gpu))  # fmt: skip
    print()


def check(paths: Sequence[str], now: Environment | None) -> bool:
    """Print a line for each device of a file; is every candidate that is right at or below its floor?"""
    if not paths:
        return True
    print("| file | device | floors | highest share | above 100 % | workloads above the floors of now |")
    print("| --- | --- | --- | --- | --- | --- |")
    lines = []
    for path in find_all(paths):
        run = read_run(path)
        by_device: dict[str, list[WorkloadResult]] = {}
        for result in run.workloads:
            by_device.setdefault(run.environments[result.environment].device, []).append(result)
        for device, results in by_device.items():
            here = now if now is not None and now.device == device else None
            shares = [share for result in results for share in _shares(result)]
            found = [(result, candidate) for result in results for candidate in above_floor(result)]
            others = "-" if here is None else str(sum(_is_above(result, here, run.settings.l2) for result in results))
            floors = sum(result.floor_us is not None for result in results)
            highest = f"{100 * max(shares):.1f} %" if shares else "-"
            print(f"| {path} | {device} | {floors} | {highest} | {len(found)} | {others} |")
            lines += [
                f"{path}: {result.key}: {candidate.label}, {candidate.median_us:.2f} us {candidate.interval_us}, "
                f"floor {result.floor_us:.2f} us"
                for result, candidate in found
            ]
    print("\n".join(["", *lines, f"{len(lines)} above their floor, beyond their interval"]))
    return not lines


def _shares(result: WorkloadResult) -> list[float]:
    if result.floor_us is None:
        return []
    right = [entry for entry in result.candidates if entry.status in MEASURED and entry.median_us is not None]
    return [result.floor_us / entry.median_us for entry in right if entry.median_us is not None]


def _is_above(result: WorkloadResult, now: Environment, l2: str) -> bool:
    """Would a candidate stand above the floor that follows from the ceilings measured now?"""
    again = result.model_copy(update={"floor_us": floor_us(cost(result.workload), now, l2)})
    return any(is_above_floor(again, entry) for entry in again.candidates if entry.status in MEASURED)


def _mhz(clock: float | None) -> str:
    return "-" if clock is None else f"{clock:.0f}"


def main(arguments: Sequence[str]) -> int:
    """Measure, then check."""
    now = measure()
    return 0 if check(arguments, now) else 1


if __name__ == "__main__":
    from starting import start

    start(main, __doc__, least=0)
