"""``autotune tune``: parse, call the engine, render, exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune_cli.commands.helping import complete_model, complete_words, list_models

if TYPE_CHECKING:
    from autotune_cli.render.console import Console
    from autotune_cli.tuning.focus import Focus
    from autotune_cli.tuning.request import Request

EXAMPLES = """
autotune tune --model llama-3.1-8b --op decode --budget 5m
autotune tune --no-cache --kernels mine.py --op topk --batch 16 --focus mine
"""
_SUITE = "What to tune"
_WHICH = "Which kernels"
_HELD = "What winners are held to"
_HOW = "How to measure"
_FILES = "Where results go"
_PRINTED = "What is printed"

# Far beyond any use; what is above is a slip.
_MOST_ROUNDS = 1000
_LONGEST_TIMEOUT_S = 24 * 3600.0


def tune(
    model: Annotated[
        str | None,
        typer.Option(
            help="A known model; '?' lists them.",
            metavar="NAME",
            rich_help_panel=_SUITE,
            callback=list_models,
            is_eager=True,
            autocompletion=complete_model,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A Hugging Face config.json on disk, instead of --model.", metavar="FILE", rich_help_panel=_SUITE
        ),
    ] = None,
    tp: Annotated[
        int,
        typer.Option(help="Tensor parallelism: the shapes one of TP GPUs sees.", metavar="TP", rich_help_panel=_SUITE),
    ] = 1,
    op: Annotated[
        str | None,
        typer.Option(
            help="Operations: decode, prefill, extend, topk; commas between.", metavar="WORDS", rich_help_panel=_SUITE
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="Batch sizes (top-k: rows), commas between.", metavar="NUMBERS", rich_help_panel=_SUITE),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            help="Keys a request (top-k: scores a row), commas between.", metavar="NUMBERS", rich_help_panel=_SUITE
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Option(
            help="New tokens a request of an extend, commas between.", metavar="NUMBERS", rich_help_panel=_SUITE
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="eager, graph or both. Default: graph for decode, eager for the rest.",
            metavar="MODE",
            rich_help_panel=_SUITE,
        ),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(
            help="Lengths in a batch: uneven (half to all of --context) or even. Default: uneven; top-k: both.",
            metavar="WORD",
            rich_help_panel=_SUITE,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="bfloat16, float16 or float32 instead of the model's.", metavar="TYPE", rich_help_panel=_SUITE
        ),
    ] = None,
    kv_dtype: Annotated[
        str | None,
        typer.Option(help="Type of the KV cache, such as float8_e4m3fn.", metavar="TYPE", rich_help_panel=_SUITE),
    ] = None,
    q_dtype: Annotated[
        str | None,
        typer.Option(
            help="What queries are rounded to over a float8_e4m3fn cache. Default: on a GPU float8_e4m3fn, as SGLang's "
            "fa3 on Hopper; bfloat16 keeps bfloat16 queries.",
            metavar="TYPE",
            rich_help_panel=_SUITE,
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Top-k: score distributions to be right on. Default: all, narrow ones too.",
            metavar="WORDS",
            rich_help_panel=_SUITE,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Only these backends (flashinfer, flashinfer.decode, torch ...), and the default.",
            metavar="NAMES",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    page_size: Annotated[
        str | None, typer.Option(help="Only these KV page sizes.", metavar="NUMBERS", rich_help_panel=_WHICH)
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What serves the model: sglang, vllm or flashinfer.",
            metavar="NAME",
            rich_help_panel=_HELD,
            autocompletion=complete_words("sglang", "vllm", "flashinfer"),
        ),
    ] = "sglang",
    baseline: Annotated[
        str | None,
        typer.Option(
            help="What the table's speed-ups are over, such as 'sglang --attention-backend flashinfer', or a "
            "candidate. Default: what the engine runs when nobody says anything.",
            metavar="BASELINE",
            rich_help_panel=_HELD,
        ),
    ] = None,
    kernels: Annotated[
        list[Path] | None,
        typer.Option(
            help="A Python file that registers your own backends; may be repeated.",
            metavar="FILE",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    focus: Annotated[
        str | None,
        typer.Option(
            help="With --no-cache, race only these beside the baselines and the best competitor of the last run: "
            "'mine' (what --kernels registers), or how a backend's or candidate's name begins.",
            metavar="NAME",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Reuse and keep results in cache/<name>.json, or write a fresh runs/<name>.<time>.json. "
            "Also AUTOTUNE_CACHE, then SGLANG_FLASHINFER_AUTOTUNE_CACHE. Default: cache.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    explain_miss: Annotated[
        bool,
        typer.Option(
            "--explain-miss", help="Say field by field why a cached result was not used.", rich_help_panel=_FILES
        ),
    ] = False,
    keep_noisy: Annotated[
        bool,
        typer.Option(
            "--keep-noisy", help="Keep results in the cache although they are too noisy.", rich_help_panel=_FILES
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the result. Default: the model's; on a CPU <model>-cpu where cache/<model>.json is a GPU's.",
            metavar="NAME",
            rich_help_panel=_FILES,
        ),
    ] = None,
    root: Annotated[
        Path,
        typer.Option(
            envvar="AUTOTUNE_ROOT",
            help="Folder of cache/ and runs/.",
            show_default="current folder",
            metavar="FOLDER",
            rich_help_panel=_FILES,
        ),
    ] = Path(),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was killed.", rich_help_panel=_FILES)
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for the whole run, such as 60s or 5m, shared out fairly.", metavar="TIME", rich_help_panel=_HOW
        ),
    ] = None,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Measure every candidate to full precision; nobody drops out.", rich_help_panel=_HOW
        ),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(help="Rounds of a candidate that stays in the race.", metavar="N", rich_help_panel=_HOW),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds a candidate may take; builds count apart.", metavar="SECONDS", rich_help_panel=_HOW),
    ] = 60.0,
    timer: Annotated[
        str | None,
        typer.Option(
            help="cupti, events (GPU) or cpu_clock. Default: the best one.",
            metavar="TIMER",
            rich_help_panel=_HOW,
            autocompletion=complete_words("cupti", "events", "cpu_clock"),
        ),
    ] = None,
    warm: Annotated[
        bool, typer.Option("--warm-l2", help="Don't flush the L2 cache between iterations.", rich_help_panel=_HOW)
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the inputs.", metavar="N", rich_help_panel=_HOW)] = 0,
    device: Annotated[
        str,
        typer.Option(
            help="auto, cuda or cpu.",
            metavar="DEVICE",
            rich_help_panel=_HOW,
            autocompletion=complete_words("auto", "cuda", "cpu"),
        ),
    ] = "auto",
    gpus: Annotated[
        str | None,
        typer.Option(help="GPUs to share the workloads out to: 0,1 or all.", metavar="GPUS", rich_help_panel=_HOW),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Hold the result against an earlier one: previous (of the same name), latest, a name, a file, none. "
            "Default: previous with --kernels and --no-cache, else none.",
            metavar="RESULT",
            rich_help_panel=_PRINTED,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the result's path and a summary as JSON, for scripts.", rich_help_panel=_PRINTED
        ),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show every candidate of every workload.", rich_help_panel=_PRINTED)
    ] = False,
) -> None:
    """Find the fastest kernel and knobs that are right, for each workload of a model on this device.

    Exit code: 0 every workload has a winner, 2 bad usage or input, 4 the run could not be completed, 70 a fault of the
    program itself, 130 Ctrl-C (what was measured is written).
    """
    from autotune_cli.commands.compare import choose_earlier, loop
    from autotune_cli.commands.flags import with_flags
    from autotune_cli.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED
    from autotune_cli.plain_text import json_text, shown
    from autotune_cli.render.console import Console
    from autotune_cli.render.run_data import summary
    from autotune_cli.render.summary import print_run
    from autotune_cli.render.watch import Lines, LiveTable
    from autotune_cli.streams import stdout_is_unicode
    from autotune_cli.tuning.run import tune as run_tuning

    errors = Console(stderr=True)
    request, column = _request(locals(), errors)
    compared = choose_earlier(compare, bool(kernels), request.use_cache, root, request.name, resume)
    watcher = (LiveTable if errors.is_terminal and not as_json else Lines)(errors, with_flags)
    stop = threading.Event()
    signals = _Signals(stop)
    try:
        with signals:
            outcome = run_tuning(request, watcher, stop)
    except KeyboardInterrupt:
        # Before anything was measured, or a second signal. SIGTERM is how a scheduler ends a job: an incomplete one.
        if signals.first != signal.SIGTERM:
            raise
        errors.print("interrupted", style="yellow")
        raise typer.Exit(EXIT_INCOMPLETE) from None
    own = loop(compared, outcome.path, outcome.run, bool(kernels))
    if as_json:
        document = summary(outcome.path, outcome.run) | own.data()
        print(json_text(document, ascii_only=not stdout_is_unicode()))
    else:
        output = Console()
        if not output.is_terminal:
            output = Console(width=160)
        print_run(output, outcome.run, every, column)
        own.print(output, every)
        verb = "wrote" if outcome.measured or not request.use_cache else "nothing to measure:"
        output.print(f"{verb} {shown(str(outcome.path))} ({outcome.run.wall_s:.1f} s)", soft_wrap=True)
    if outcome.interrupted:
        errors.print("interrupted; go on with the same command and --resume", style="yellow")
        raise typer.Exit(EXIT_INTERRUPTED if signals.first == signal.SIGINT else EXIT_INCOMPLETE)
    if any(result.choice is None for result in outcome.run.workloads):
        raise typer.Exit(EXIT_INCOMPLETE)


def _request(options: dict[str, Any], errors: Console) -> tuple[Request, str | None]:
    """The request from the options as typed, and the name of the baseline to show (None: the default).

    Raises:
        AutotuneError: something in them makes no sense.
    """
    from rich.text import Text

    from autotune_cli.commands.baselines import chosen_baselines
    from autotune_cli.commands.devices import choose_device, require_torch
    from autotune_cli.commands.flags import with_flags
    from autotune_cli.commands.parsing import backends, between, duration, numbers
    from autotune_cli.kernels.models import build_suite, choose_model
    from autotune_cli.measure.timers import check_timer
    from autotune_cli.plain_text import shown
    from autotune_cli.results.default_name import default_name
    from autotune_cli.results.runs import check_name
    from autotune_cli.results.toggles import cache_toggle
    from autotune_cli.tuning.guard import refuse_slow_builds
    from autotune_cli.tuning.jobs import WorkerSettings
    from autotune_cli.tuning.race import RacePolicy
    from autotune_cli.tuning.request import Request

    kind, gpus = choose_device(options["device"], options["gpus"])
    refuse_slow_builds(os.environ, kind)
    suite = build_suite(
        choose_model(options["model"], options["config"], kind, options["op"]),
        kind,
        tp=options["tp"],
        operations=options["op"],
        modes=options["mode"],
        batches=options["batch"],
        contexts=options["context"],
        new=options["new"],
        dtype=options["dtype"],
        kv_dtype=options["kv_dtype"],
        q_dtype=options["q_dtype"],
        scores=options["scores"],
        spread=options["spread"],
    )
    toggle = cache_toggle(options["cache"], os.environ)
    for note in map(with_flags, suite.notes):
        errors.print(Text(f"note: {shown(note)}", style="yellow"), soft_wrap=True)
    name = options["name"]
    if name is None:
        name, beside = default_name(options["root"], suite.name, kind) if toggle.on else (suite.name, None)
        if beside is not None:
            errors.print(Text(f"note: {shown(with_flags(beside))}", style="yellow"), soft_wrap=True)
    check_name(name)
    files = tuple(str(path.resolve()) for path in options["kernels"] or ())
    if options["timer"] is not None:
        check_timer(options["timer"], kind)
    seed = between("seed", options["seed"], 0, 2**63 - 1)
    policy = RacePolicy(exhaustive=options["exhaustive"])
    if kind == "cpu":
        policy = RacePolicy.for_cpu(options["exhaustive"])
    if options["rounds"] is not None:
        policy = policy.with_rounds(between("rounds", options["rounds"], 3, _MOST_ROUNDS))
    require_torch(kind)
    held, column = chosen_baselines(options["engine"], options["baseline"], kind, os.environ)
    request = Request(
        name=name,
        workloads=suite.workloads,
        worker=WorkerSettings(kind, options["timer"], "warm" if options["warm"] else "cold", seed, files),
        policy=policy,
        root=options["root"],
        use_cache=toggle.on,
        gpus=gpus,
        backends=backends(options["backend"], has_own=bool(files)),
        baselines=held,
        model_type=suite.model_type,
        focus=_focus(options, name, toggle.on, [workload.key for workload in suite.workloads]),
        page_sizes=numbers("page_size", options["page_size"]),
        timeout_s=between("timeout", options["timeout"], 0.1, _LONGEST_TIMEOUT_S),
        budget_s=duration("budget", options["budget"]),
        resume=options["resume"],
        explain_miss=options["explain_miss"],
        keep_noisy=options["keep_noisy"],
        command=("autotune", *sys.argv[1:]),
    )
    return request, column


def _focus(options: dict[str, Any], name: str, use_cache: bool, workloads: list[str]) -> Focus | None:
    """What ``--focus`` says.

    Raises:
        BadField: it goes neither with the cache nor, as ``mine``, without ``--kernels``.
    """
    from autotune_cli.errors import BadField
    from autotune_cli.tuning.focus import MINE, focus_on

    if options["focus"] is None:
        return None
    wanted = options["focus"].strip()
    if not wanted:
        raise BadField(field="focus", detail="is empty")
    if use_cache:
        raise BadField(field="focus", detail="goes with --no-cache: the cache keeps whole races")
    if wanted == MINE and not options["kernels"]:
        raise BadField(field="focus", detail=f"{MINE} means what --kernels registers, and there is none")
    return focus_on(wanted, options["root"], name, workloads)


class _Signals:
    """Ctrl-C and SIGTERM set the stop event; a second one ends the program at once."""

    def __init__(self, stop: threading.Event) -> None:
        self.first: int | None = None
        """Number of the signal that came first."""
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = number
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()
