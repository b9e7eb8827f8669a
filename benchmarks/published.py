"""Our times beside those that others published for the same shapes (benchmarks/published.toml).

    python benchmarks/published.py suites                  the `autotune tune` calls that measure the shapes, to copy
    python benchmarks/published.py suites --run [OPTIONS]  makes those calls here; options go to each (--page-size 16)
    python benchmarks/published.py run [BUDGET]            all shapes in one run and one process: the least device time
    python benchmarks/published.py table [RUN.json ...]    the Markdown table; without a run, theirs alone

Lengths are even and decode is captured into a graph. ``run`` races the libraries that have a column, within a budget
such as 90s. ``table`` takes any result, and shows its workloads that have these lengths; ~ is the time of a vetting,
where all of a library's candidates dropped out before their first round. Runs land in runs/; the config.json files of
``suites`` in a temporary folder that stays.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.measure.statistics import median
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import MEASURED, CandidateResult, RunFile, WorkloadResult

DATA = Path(__file__).with_suffix(".toml")
NAME = "published"
# Rounds of a candidate that stays in the race: published figures are 10 % apart and more, so few will do.
ROUNDS = 3
OPERATIONS = ("attention.decode", "attention.prefill")
# A library's column, and the backends whose best candidate stands in it.
COLUMNS = {"FA3": ("sgl_kernel.fa3",), "FA4": ("flash_attn.",), "FlashInfer": ("flashinfer.",), "Triton": ("triton.",)}


@dataclass(frozen=True)
class Row:
    """One published workload: who measured it, and each implementation's microseconds."""

    source: dict[str, str]
    workload: AttentionWorkload
    us: dict[str, float]


def rows() -> list[Row]:
    """The rows of published.toml, in its order."""
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return [_row(data["sources"][row["source"]], row) for row in data["rows"]]


def _row(source: dict[str, str], row: dict[str, Any]) -> Row:
    queries, keys, dim = row["heads"]
    batch, context = row["shape"]
    decode = row["operation"] == "attention.decode"
    geometry = Geometry(
        num_qo_heads=queries,
        num_kv_heads=keys,
        head_dim=dim,
        dtype=row.get("dtype", "bfloat16"),
        kv_dtype=row.get("kv_dtype"),
        # FlashAttention-3 and vLLM cast queries to the cache's dtype.
        q_dtype=row.get("kv_dtype"),
    )
    workload = AttentionWorkload(
        operation=row["operation"],
        geometry=geometry,
        batch=batch,
        new=1 if decode else context,
        context=context,
        mode="graph" if decode else "eager",
        spread="even",
    )
    return Row(source, workload, row["us"])


def to_run() -> list[AttentionWorkload]:
    """Each workload once, those of one geometry together."""
    found = dict.fromkeys(row.workload for row in rows())
    return sorted(found, key=lambda workload: (workload.geometry.key, workload.operation))


def config_of(geometry: Geometry) -> dict[str, Any]:
    """A config.json of one layer with these heads."""
    return {
        "model_type": "llama",
        "num_attention_heads": geometry.num_qo_heads,
        "num_key_value_heads": geometry.num_kv_heads,
        "head_dim": geometry.head_dim,
        "hidden_size": geometry.num_qo_heads * geometry.head_dim,
        "num_hidden_layers": 1,
        "torch_dtype": geometry.dtype,
    }


def calls(folder: Path) -> Iterator[list[str]]:
    """Arguments of ``autotune`` for each geometry and batch, whose config.json is written under ``folder``."""
    groups: dict[tuple[Geometry, str, int], list[int]] = {}
    for workload in to_run():
        groups.setdefault((workload.geometry, workload.operation, workload.batch), []).append(workload.context)
    for (geometry, operation, batch), contexts in groups.items():
        name = f"{NAME}-h{geometry.num_qo_heads}-{geometry.num_kv_heads}-d{geometry.head_dim}-{geometry.dtype}"
        path = folder / name / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config_of(geometry)), encoding="utf-8")
        call = ["tune", "--config", str(path), "--op", operation.removeprefix("attention."), "--batch", str(batch)]
        call += ["--context", ",".join(map(str, contexts)), "--spread", "even"]
        call += ["--kv-dtype", geometry.kv_dtype] if geometry.kv_dtype else []
        yield [*call, "--rounds", str(ROUNDS), "--no-cache"]


def suites(run: bool, options: list[str]) -> int:
    """Print the calls, or make them. The worst exit code of them."""
    worst = 0
    folder = Path(tempfile.mkdtemp(prefix="published-"))
    for call in calls(folder):
        print(shlex.join(["autotune", *call, *options]), flush=True)
        if run:
            worst = max(worst, subprocess.run([sys.executable, "-m", "autotune_cli", *call, *options]).returncode)
    return worst


def libraries() -> tuple[str, ...]:
    """The libraries of the columns that have an attention backend."""
    from autotune_cli.kernels.registry import REGISTRY

    wanted = [prefix for prefixes in COLUMNS.values() for prefix in prefixes]
    names = [backend.name for operation in OPERATIONS for backend in REGISTRY.of(operation)]
    return tuple(dict.fromkeys(name for name in names if name.startswith(tuple(wanted))))


def run_all(budget: str | None) -> int:
    """All shapes in one run: one start of torch and CUPTI instead of one for each geometry."""
    import threading

    from rich.console import Console

    from autotune_cli.commands.kinds import Duration
    from autotune_cli.render.watch_lines import Lines
    from autotune_cli.tuning.policy import RacePolicy
    from autotune_cli.tuning.request import Request
    from autotune_cli.tuning.run import tune
    from autotune_cli.worker.protocol import WorkerSettings

    request = Request(
        name=NAME,
        workloads=tuple(to_run()),
        worker=WorkerSettings("cuda"),
        policy=RacePolicy().with_rounds(ROUNDS),
        root=Path(),
        use_cache=False,
        backends=libraries(),
        budget_s=None if budget is None else Duration().value("BUDGET", budget),
        command=("benchmarks/published.py", *sys.argv[1:]),
    )
    outcome = tune(request, Lines(Console(stderr=True)), threading.Event())
    print(outcome.path)
    return 0 if all(result.choice is not None for result in outcome.run.workloads) else 4


def table(runs: list[RunFile]) -> Iterator[str]:
    """Lines of Markdown: theirs, ours, and what differs."""
    found = [(run, result) for run in runs for result in run.workloads]
    ours = {result.key: (run, result) for run, result in sorted(found, key=lambda each: each[1].measured_at)}
    columns = ["workload", "published us", "our best us", *(f"our {name} us" for name in COLUMNS), "theirs / ours"]
    yield f"| {' | '.join([*columns, 'by, on', 'differences'])} |"
    yield "|" + " --- |" * (len(columns) + 2)
    for row in rows():
        theirs = ", ".join(f"{name} {us:g}" for name, us in row.us.items())
        run, result = ours.get(row.workload.key, (None, None))
        cells = [shown(row.workload), theirs, *_ours(row, result)]
        source = f"[{row.source['title']}]({row.source['link']}), {row.source['hardware']}"
        about = row.source["about"]
        if run is not None and result is not None:
            about += f"; ours: {run.environments[result.environment].device}, {_clock(result)}"
        yield f"| {' | '.join([*cells, source, about])} |"


def shown(workload: AttentionWorkload) -> str:
    """``decode 1 x 1024, 32/4/128 float16``."""
    g = workload.geometry
    cache = f", cache {g.kv_dtype}" if g.kv_dtype else ""
    name = workload.operation.removeprefix("attention.")
    return f"{name} {workload.shape}, {g.num_qo_heads}/{g.num_kv_heads}/{g.head_dim} {g.dtype}{cache}"


def _ours(row: Row, result: WorkloadResult | None) -> list[str]:
    """Our best with its name, each library's best, and the quickest of theirs over our best."""
    if result is None:
        return ["-"] * (len(COLUMNS) + 2)
    every = tuple(prefix for prefixes in COLUMNS.values() for prefix in prefixes)
    measured = [entry for entry in result.candidates if entry.status in MEASURED and _us(entry) < float("inf")]
    found = [entry for entry in measured if entry.backend.startswith(every)]
    best = _best([entry for entry in found if entry.median_us is not None])
    cells = ["-" if best is None else f"{best.median_us:.1f} {best.label}"]
    for prefixes in COLUMNS.values():
        its = [entry for entry in found if entry.backend.startswith(prefixes)]
        # A time of the vetting may be lower by chance: it counts where the library has no other.
        own = _best([entry for entry in its if entry.median_us is not None] or its)
        cells.append("-" if own is None else f"{'' if own.median_us else '~'}{_us(own):.1f}")
    ratio = "-" if best is None or best.median_us is None else f"{min(row.us.values()) / best.median_us:.2f}"
    return [*cells, ratio]


def _best(candidates: list[CandidateResult]) -> CandidateResult | None:
    return min(candidates, key=_us, default=None)


def _us(entry: CandidateResult) -> float:
    return entry.median_us or entry.rough_us or float("inf")


def _clock(result: WorkloadResult) -> str:
    clocks = [entry.sm_clock_mhz for entry in result.conditions if entry.sm_clock_mhz and not entry.dropped]
    return f"SM clock {median(clocks):.0f} MHz" if clocks else "clocks not read"


def main(arguments: Sequence[str]) -> int:
    """The command line of the docstring above."""
    match arguments:
        case ["suites", "--run", *options]:
            return suites(True, options)
        case ["suites", *options]:
            return suites(False, options)
        case ["run"]:
            return run_all(None)
        case ["run", budget]:
            return run_all(budget)
        case ["table", *paths]:
            print("\n".join(table([read_run(path) for path in find_all(paths)])))
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    from starting import start

    start(main, __doc__, least=1)
