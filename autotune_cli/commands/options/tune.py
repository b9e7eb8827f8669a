"""The options of ``autotune tune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.declaring import Said
from autotune_cli.commands.helping import complete_words
from autotune_cli.commands.kinds import ROUNDS, Counts, Duration
from autotune_cli.commands.options import shared
from autotune_cli.commands.options import traffic as served
from autotune_cli.kernels.properties import PROPERTIES
from autotune_cli.measure.timers import in_words, known_timers

_SUITE = "What to tune"
_WHICH = "Which kernels"
_HELD = "What winners are held to"
_HOW = "How to measure"
_FILES = "Where results go"
_PRINTED = "What is printed"


@dataclass(frozen=True)
class TuneOptions:
    """What to tune, how, and where results go. None: not given; the engine or the device decides."""

    model: Annotated[shared.Model, Said(_SUITE)] = None
    config: Annotated[shared.Config, Said(_SUITE)] = None
    tp: Annotated[shared.TensorParallel, Said(_SUITE)] = 1
    op: Annotated[
        str | None,
        typer.Option(
            help="Operations: decode, prefill, extend, topk, and verify, which no suite has unasked; commas between.",
            metavar="WORDS",
            rich_help_panel=_SUITE,
        ),
    ] = None
    batch: Annotated[
        tuple[int, ...] | None,
        typer.Option(help="Batch sizes (top-k: rows), commas between.", metavar="NUMBERS", rich_help_panel=_SUITE),
        Counts(),
    ] = None
    context: Annotated[
        tuple[int, ...] | None,
        typer.Option(
            help="Keys a request (top-k: scores a row), commas between.", metavar="NUMBERS", rich_help_panel=_SUITE
        ),
        Counts(),
    ] = None
    new: Annotated[
        tuple[int, ...] | None,
        typer.Option(
            help="New tokens a request of an extend, drafts of one to verify, commas between.",
            metavar="NUMBERS",
            rich_help_panel=_SUITE,
        ),
        Counts(),
    ] = None
    eagle_topk: Annotated[
        tuple[int, ...] | None,
        typer.Option(
            help="Verify: most drafts of a level of the tree, 1: a chain. Commas between.",
            metavar="NUMBERS",
            rich_help_panel=_SUITE,
        ),
        Counts(),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(
            help="eager, graph or both. Default: graph for decode and verify, eager for the rest.",
            metavar="MODE",
            rich_help_panel=_SUITE,
        ),
    ] = None
    spread: Annotated[
        str | None,
        typer.Option(
            help="Lengths in a batch: uneven (half to all of --context) or even. Default: uneven; top-k: both.",
            metavar="WORD",
            rich_help_panel=_SUITE,
        ),
    ] = None
    lengths: Annotated[
        str | None,
        typer.Option(
            help="Decode: choose once a batch size, over all these lengths: suite (its contexts), uniform (up to "
            "--context) or a file (a number a line, or JSON). Default: at each context.",
            metavar="LENGTHS",
            rich_help_panel=_SUITE,
            autocompletion=complete_words("suite", "uniform"),
        ),
    ] = None
    dtype: Annotated[shared.DTypeName, Said(_SUITE)] = None
    kv_dtype: Annotated[shared.KvDType, Said(_SUITE)] = None
    q_dtype: Annotated[
        str | None,
        typer.Option(
            help="What queries are rounded to over a float8_e4m3fn cache. Default: on a GPU float8_e4m3fn, as SGLang's "
            "fa3 on Hopper; bfloat16 keeps bfloat16 queries.",
            metavar="TYPE",
            rich_help_panel=_SUITE,
        ),
    ] = None
    scores: Annotated[
        str | None,
        typer.Option(
            help="Top-k: score distributions to be right on, timed on the first. Default: six; all: 19 kinds.",
            metavar="WORDS",
            rich_help_panel=_SUITE,
        ),
    ] = None
    scores_file: Annotated[
        Path | None,
        typer.Option(
            help="Top-k: captured scores [rows, width] in a file .npy, .pt or .safetensors; timed on these.",
            metavar="FILE",
            rich_help_panel=_SUITE,
        ),
    ] = None
    dry_run: Annotated[served.DryRun, Said(_SUITE)] = False
    traffic: served.Logs = None
    traffic_workloads: served.Workloads = 12
    max_running_requests: served.MaxRunning = None
    chunked_prefill_size: served.ChunkedPrefill = None
    max_total_tokens: served.MaxTokens = None
    cuda_graph_bs: served.Captured = None
    step_ms: served.StepMs = None
    backend: Annotated[
        str | None,
        typer.Option(
            help="Only these backends (flashinfer, flashinfer.decode, torch ...), and the default.",
            metavar="NAMES",
            rich_help_panel=_WHICH,
        ),
    ] = None
    page_size: Annotated[
        tuple[int, ...] | None,
        typer.Option(help="Only these KV page sizes.", metavar="NUMBERS", rich_help_panel=_WHICH),
        Counts(),
    ] = None
    engine: Annotated[
        str,
        typer.Option(
            help="What serves the model: sglang, vllm or flashinfer.",
            metavar="NAME",
            rich_help_panel=_HELD,
            autocompletion=complete_words("sglang", "vllm", "flashinfer"),
        ),
    ] = "sglang"
    baseline: Annotated[
        str | None,
        typer.Option(
            help="What the table's speed-ups are over, such as 'sglang --attention-backend flashinfer', or a "
            "candidate. Default: what the engine runs when nobody says anything.",
            metavar="BASELINE",
            rich_help_panel=_HELD,
        ),
    ] = None
    kernels: Annotated[
        shared.KernelFiles, Said(_WHICH, "A Python file that registers your own backends; may be repeated.")
    ] = None
    focus: Annotated[
        str | None,
        typer.Option(
            help="With --no-cache, race only these beside the baselines and the best competitor of the last run: "
            "'mine' (what --kernels registers), or how a backend's or candidate's name begins.",
            metavar="NAME",
            rich_help_panel=_WHICH,
        ),
    ] = None
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="Let only kernels win that are shown to be deterministic, batch-invariant, or (top-k) tie-break=small "
            "or tie-break=large, and tell what that costs; may be repeated.",
            metavar="PROPERTY",
            rich_help_panel=_WHICH,
            autocompletion=complete_words(*PROPERTIES),
        ),
    ] = None
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Reuse and keep results in cache/<name>.json, or write a fresh runs/<name>.<time>.json. "
            "Also AUTOTUNE_CACHE, then SGLANG_FLASHINFER_AUTOTUNE_CACHE. Default: cache.",
            rich_help_panel=_FILES,
        ),
    ] = None
    explain_miss: Annotated[
        bool,
        typer.Option(
            "--explain-miss", help="Say field by field why a cached result was not used.", rich_help_panel=_FILES
        ),
    ] = False
    keep_noisy: Annotated[
        bool,
        typer.Option(
            "--keep-noisy", help="Keep results in the cache although they are too noisy.", rich_help_panel=_FILES
        ),
    ] = False
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the result. Default: the model's; on a CPU <model>-cpu where cache/<model>.json is a GPU's.",
            metavar="NAME",
            rich_help_panel=_FILES,
        ),
    ] = None
    root: Annotated[shared.Root, Said(_FILES)] = Path()
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was killed.", rich_help_panel=_FILES)
    ] = False
    budget: Annotated[
        float | None,
        typer.Option(
            help="Time for the whole run, such as 60s or 5m, shared out fairly.", metavar="TIME", rich_help_panel=_HOW
        ),
        Duration(),
    ] = None
    """Seconds."""
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Measure every candidate to full precision; none drops out.", rich_help_panel=_HOW
        ),
    ] = False
    rounds: Annotated[
        int | None,
        typer.Option(help="Rounds of a candidate that stays in the race.", metavar="N", rich_help_panel=_HOW),
        ROUNDS,
    ] = None
    timeout: Annotated[shared.Timeout, Said(_HOW)] = 60.0
    """Seconds."""
    timer: Annotated[
        str | None,
        typer.Option(
            help=f"{in_words()}. Default: the best one.",
            metavar="TIMER",
            rich_help_panel=_HOW,
            autocompletion=complete_words(*known_timers()),
        ),
    ] = None
    warm_l2: Annotated[
        bool, typer.Option("--warm-l2", help="Don't flush the L2 cache between iterations.", rich_help_panel=_HOW)
    ] = False
    seed: Annotated[shared.Seed, Said(_HOW)] = 0
    device: Annotated[shared.Device, Said(_HOW)] = "auto"
    gpus: Annotated[
        str | None,
        typer.Option(help="GPUs to share the workloads out to: 0,1 or all.", metavar="GPUS", rich_help_panel=_HOW),
    ] = None
    executor: Annotated[
        str,
        typer.Option(
            help="What measures: local, this machine; ray, the nodes of a Ray cluster, a worker for each GPU.",
            metavar="WORD",
            rich_help_panel=_HOW,
            autocompletion=complete_words("local", "ray"),
        ),
    ] = "local"
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="The Ray cluster: HOST:PORT of its head. Default: RAY_ADDRESS, or the one that this machine is a "
            "node of.",
            metavar="ADDRESS",
            rich_help_panel=_HOW,
        ),
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(
            help="Hold the result against an earlier one: previous (of the same name), latest, a name, a file, none. "
            "Default: previous with --kernels and --no-cache, else none.",
            metavar="RESULT",
            rich_help_panel=_PRINTED,
        ),
    ] = None
    format: Annotated[shared.RunFormat, Said(_PRINTED)] = "table"
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the result's path and a summary as JSON, for scripts.", rich_help_panel=_PRINTED
        ),
    ] = False
    """The same as ``format`` json."""
    output: Annotated[shared.Output, Said(_PRINTED)] = None
    every: Annotated[shared.Every, Said(_PRINTED)] = False
