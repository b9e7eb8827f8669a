"""Capture and replay against eager calls: what the host spends on a decode step, for each backend, MHA and MLA.

    python benchmarks/replay_host.py run [BUDGET]        on the GPU: 12 workloads in one run, 90s unless told otherwise
    python benchmarks/replay_host.py table [RUN.json]    the Markdown table of a run, by default the newest

Of each backend but torch's the candidate that is fastest from a graph. ``plan``: the host work of a new batch, which a
server does before each step, captured or not, once for all layers. ``launch``: of one layer, without waiting for the
device. The graphs here have one layer, so a replay's launch is about what the driver takes for it; a server's graph has
all layers.
"""

from __future__ import annotations

import itertools
import sys

from racing import backends, command_line, head, measured, race, row, us

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import Mode
from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.statistics import geometric_mean
from autotune_cli.results.schema import RunFile, WorkloadResult
from autotune_cli.tuning.request import RunOutcome

NAME = "replay-host"
BATCHES, CONTEXT = (1, 16, 64), 4096
PAGES = (64,)
ROUNDS = 2
# Llama-3.1-8B, and DeepSeek-V3 over eight GPUs.
PLAIN = Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128)
LATENT = LatentGeometry(num_heads=16, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128)


def pairs() -> list[tuple[AnyWorkload, AnyWorkload]]:
    """Each step eagerly and from a graph."""
    return [
        (_workload(latent, batch, "eager"), _workload(latent, batch, "graph"))
        for latent, batch in itertools.product((False, True), BATCHES)
    ]


def _workload(latent: bool, batch: int, mode: Mode) -> AnyWorkload:
    if latent:
        return MlaWorkload(operation="attention.mla_decode", latent=LATENT, batch=batch, context=CONTEXT, mode=mode)
    return AttentionWorkload(operation="attention.decode", geometry=PLAIN, batch=batch, context=CONTEXT, mode=mode)


def table(run: RunFile) -> str:
    """A row for each backend of each step that is right both ways, and the geometric mean of the launches' ratio."""
    known = {result.key: result for result in run.workloads}
    names = (
        "operation", "batch x keys", "candidate", "device us, eager", "device us, replay", "plan us",
        "launch us, eager", "launch us, replay", "eager / replay",
    )  # fmt: skip
    lines, ratios = [f"{run.device.device}, {run.name}:\n", head(*names)], []
    for eager, graph in pairs():
        if eager.key not in known or graph.key not in known:
            continue
        for cells, ratio in _rows(known[eager.key], known[graph.key]):
            lines.append(row(graph.operation, graph.shape, *cells))
            ratios.append(ratio)
    mean = geometric_mean(ratios)
    if mean is not None:
        lines.append(f"\nAn eager launch takes {mean.value:.1f} times as long as a replay (geometric mean).")
    return "\n".join(lines)


def _rows(eager: WorkloadResult, graph: WorkloadResult) -> list[tuple[list[str], float]]:
    """Of each backend, the cells from the candidate on, and how much longer an eager launch takes."""
    beside = {one.key: one for one in measured(eager)}
    found: dict[str, tuple[list[str], float]] = {}
    for one in measured(graph):
        other = beside.get(one.key)
        if one.backend in found or other is None or not other.host.launch_us or not one.host.launch_us:
            continue
        ratio = other.host.launch_us / one.host.launch_us
        plan = "-" if one.host.plan_us is None else f"{one.host.plan_us:.0f}"
        times = [f"{us(other):.1f}", f"{us(one):.1f}", plan, f"{other.host.launch_us:.0f}", f"{one.host.launch_us:.0f}"]
        found[one.backend] = [one.label, *times, f"{ratio:.1f}"], ratio
    return list(found.values())


def run(budget: str) -> RunOutcome:
    """All pairs, in one run."""
    workloads = [workload for pair in pairs() for workload in pair]
    names = backends("attention.decode", "attention.mla_decode")
    return race(NAME, workloads, rounds=ROUNDS, backends=names, page_sizes=PAGES, budget=budget)


def main(arguments: list[str]) -> int:
    """The command line of the docstring above."""
    return command_line(arguments, __doc__, NAME, run, table, "90s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
