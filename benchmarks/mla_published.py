"""FlashMLA's published decode times (published.toml, ``latent_rows``) beside FlashMLA, FlashInfer and FA3 as measured.

    python benchmarks/mla_published.py run [BUDGET]      on the GPU: all shapes in one run, 60s unless told otherwise
    python benchmarks/mla_published.py table [RUN.json]  the Markdown table of a run, by default the newest

Lengths are even and the step is replayed from a CUDA graph. ``theirs / ours``: above 1, our best takes less time.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from racing import command_line, head, measured, race, row, us

from autotune_cli.kernels.geometry import LatentGeometry
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.results.schema import CandidateResult, RunFile
from autotune_cli.tuning.request import RunOutcome

NAME = "mla-published"
ROUNDS = 3
# A column, and how the candidates begin whose best one stands in it.
COLUMNS = {
    "FlashMLA": "sgl_kernel.flashmla",
    "FA3 qv": "sgl_kernel.fa3_mla(",
    "FlashInfer fa3": "flashinfer.mla(path=fa3",
    "FlashInfer fa2": "flashinfer.mla(path=fa2",
}


def rows() -> Iterator[tuple[dict[str, str], MlaWorkload, dict[str, float]]]:
    """Source, workload and published microseconds of each row. Heads are of DeepSeek-V3's widths."""
    data = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
    for entry in data["latent_rows"]:
        yield data["sources"][entry["source"]], _workload(entry), entry["us"]


def _workload(entry: dict[str, Any]) -> MlaWorkload:
    batch, context = entry["shape"]
    latent = LatentGeometry(
        num_heads=entry["heads"], kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128
    )
    return MlaWorkload(
        operation="attention.mla_decode", latent=latent, batch=batch, context=context, mode="graph", spread="even"
    )


def table(run: RunFile) -> str:
    """Theirs, the floor here, and the best of each library, in microseconds."""
    known = {result.key: result for result in run.workloads}
    names = ("heads", "batch x keys", "published us", "floor us", *COLUMNS, "theirs / ours", "by, on", "differences")
    lines = [f"{run.device.device}, {run.name}:\n", head(*names)]
    for source, workload, published in rows():
        result = known.get(workload.key)
        found = [] if result is None else measured(result)
        floor = None if result is None else result.floor_us
        lines.append(
            row(
                workload.latent.num_heads,
                f"{workload.batch} x {workload.context}",
                ", ".join(f"{name} {time:g}" for name, time in published.items()),
                "-" if floor is None else f"{floor:.1f}",
                *(_best(found, prefix) for prefix in COLUMNS.values()),
                f"{min(published.values()) / us(found[0]):.2f}" if found else "-",
                f"[{source['title']}]({source['link']}), {source['hardware']}",
                source["about"],
            )
        )
    return "\n".join(lines)


def _best(found: list[CandidateResult], prefix: str) -> str:
    """``175.9 page 64``: the time of the fastest one, and its knobs."""
    best = next((one for one in found if one.key.startswith(prefix)), None)
    return "-" if best is None else f"{us(best):.1f} {best.label.partition(' ')[2]}".strip()


def run(budget: str) -> RunOutcome:
    """The published shapes, in one run."""
    shapes = [workload for _, workload, _ in rows()]
    names = tuple(dict.fromkeys(name.partition("(")[0] for name in COLUMNS.values()))
    return race(NAME, shapes, rounds=ROUNDS, backends=names, budget=budget)


def main(arguments: list[str]) -> int:
    """The command line of the docstring above."""
    return command_line(arguments, __doc__, NAME, run, table, "60s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
