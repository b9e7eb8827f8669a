"""Our kernel time against Nsight Compute's gpu__time_duration, on kernels over 30 us.

    python benchmarks/truth.py            # needs a GPU, FlashInfer and ncu

Each candidate is measured by our timer in a process of its own, then launched once more under ncu, which flushes
all caches before it (--cache-control all) and leaves the clocks alone (--clock-control none).
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from typing import Any

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.measure.statistics import median

LLAMA = Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128)
TOPK = TopkWorkload(operation="topk.select", rows=16, width=262144, k=2048, mode="eager")
LAUNCHES = 7
ROUNDS = 10


def _attention(operation: str, batch: int, new: int, context: int) -> AttentionWorkload:
    return AttentionWorkload.model_validate(
        {"operation": operation, "geometry": LLAMA, "batch": batch, "new": new, "context": context, "mode": "eager"}
    )


# Workload, backend, knobs that must hold. All of them launch one kernel that matters.
CASES: list[tuple[Any, str, dict[str, Any]]] = [
    (_attention("attention.decode", 64, 1, 8192), "flashinfer.decode", {"path": "tensor_cores", "page_size": 16}),
    (_attention("attention.prefill", 4, 1024, 1024), "flashinfer.ragged", {}),
    (_attention("attention.extend", 4, 1024, 5120), "flashinfer.paged", {"page_size": 16}),
    (_attention("attention.extend", 16, 256, 4096), "flashinfer.paged", {"page_size": 64}),
    (TOPK, "flashinfer.top_k_ragged_transform", {}),
    (TOPK, "sgl_kernel.fast_topk_v2", {}),
]


def _launch(index: int) -> tuple[Any, Candidate, Any]:
    import torch

    from autotune_cli.kernels.family import family
    from autotune_cli.measure.environment import collect, device_of
    from autotune_cli.worker.launching import prepare

    workload, backend, wanted = CASES[index]
    device = device_of(collect("cuda")[0])
    module = family(workload.operation)
    problem = module.make_problem(workload, module.cases(workload)[0], "cuda", 0)
    registered = REGISTRY.get(backend)
    candidate = next(
        candidate
        for candidate in registered.candidates(workload, device)
        if registered.why_unsupported(workload, device, candidate) is None
        and wanted.items() <= dict(candidate.knobs).items()
    )
    launch = prepare(candidate, problem, captured=False)
    for _ in range(3):
        launch.run()
    torch.cuda.synchronize()
    return workload, candidate, launch


def ours(index: int) -> None:
    """Print our time of a case, in microseconds: the median of the rounds' medians."""
    from autotune_cli.measure.timers import make_timer

    _, _, launch = _launch(index)
    timer = make_timer("cupti", "cuda")
    kernels = timer.inspect(launch.run, 5).kernels
    rounds = [median(timer.measure([launch.run], 25)[0].us) for _ in range(ROUNDS)]
    print(f"{median(rounds)},{len(kernels)}")


def profiled(index: int) -> None:
    """Launch a case between the profiler's start and stop."""
    import torch

    _, _, launch = _launch(index)
    torch.cuda.profiler.start()
    for _ in range(LAUNCHES):
        launch.run()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def _ncu(index: int) -> tuple[float, float]:
    """Kernel time of a launch in microseconds, the median of the launches, and the SM clock under ncu in MHz."""
    command = ["ncu", "--csv", "--clock-control", "none", "--cache-control", "all", "--profile-from-start", "off"]
    command += ["--metrics", "gpu__time_duration.sum,sm__cycles_elapsed.max"]
    command += [sys.executable, __file__, "profiled", str(index)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = list(csv.DictReader(io.StringIO(text[text.index('"ID"') :])))
    unit = {"ns": 1e-3, "us": 1.0, "usecond": 1.0, "nsecond": 1e-3, "ms": 1e3, "msecond": 1e3}
    times, cycles = [], []
    for row in rows:
        value = float(row["Metric Value"].replace(",", ""))
        if row["Metric Name"] == "sm__cycles_elapsed.max":
            cycles.append(value)
        else:
            times.append(value * unit[row["Metric Unit"]])
    count = len(times) // LAUNCHES
    totals = [sum(times[i * count : (i + 1) * count]) for i in range(LAUNCHES)]
    return median(totals), sum(cycles) / sum(times)


def main() -> None:
    """Print a Markdown table."""
    if len(sys.argv) == 3:
        {"ours": ours, "profiled": profiled}[sys.argv[1]](int(sys.argv[2]))
        return
    print("| workload | candidate | kernels | ours us | ncu us | difference | SM clock under ncu |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for index, (workload, backend, wanted) in enumerate(CASES):
        text = subprocess.run(
            [sys.executable, __file__, "ours", str(index)], capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        us, kernels = float(text.split(",")[0]), text.split(",")[1]
        theirs, clock = _ncu(index)
        knobs = " ".join(f"{name} {value}" for name, value in wanted.items())
        difference = 100 * (us / theirs - 1)
        shown = f"{workload.key} | {backend} {knobs} | {kernels} | {us:.2f} | {theirs:.2f}"
        print(f"| {shown} | {difference:+.2f} % | {clock:.0f} MHz |", flush=True)


if __name__ == "__main__":
    main()
