"""``autotune profile``: did the selected kernels fire?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from autotune_cli.profiling.readers.stream import Progress
    from autotune_cli.profiling.trace import Trace
    from autotune_cli.profiling.verdict import Expectation

_FORMATS = ("table", "markdown", "json")
_RUN = "Running a path"
_LIVE_ONLY = (
    *("model", "config", "tp", "backend", "fa", "phases", "batch", "new", "context", "calls", "pad_mode"),
    *("deterministic", "multimodal", "multi_item_scoring", "bitwise", "dtype", "kv_dtype", "kernels", "trace"),
    *("timeout", "seed"),
)


def profile(
    from_trace: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A recorded trace: torch's profiler (.json, .json.gz), Nsight Systems (.sqlite), a folder of them; "
            "'example' and 'example-ragged' come along.",
        ),
    ] = None,
    paged: Annotated[
        bool | None,
        typer.Option(
            "--paged/--no-paged",
            help="Expect paged attention and nothing else, or SGLang's ragged path. Default: "
            "SGLANG_FLASHINFER_USE_PAGED, else ragged.",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="Forward mode: extend, decode, verify, mixed, idle, draft_extend, dllm_extend; to run: topk."
        ),
    ] = "extend",
    prefix: Annotated[
        bool | None,
        typer.Option("--prefix/--no-prefix", help="Ragged path: with cached keys or without. Default: either."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="Judge this range (a name, or a pattern with *); may be repeated."),
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Judge this rank of a folder or of a trace of several.")] = None,
    rules: Annotated[
        list[Path] | None, typer.Option(help="Own rules for kernel names, before the program's; may be repeated.")
    ] = None,
    expect: Annotated[
        list[str] | None, typer.Option(help="A kernel must fit this regular expression; may be repeated.")
    ] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(help="No kernel may fit this regular expression; may be repeated.")
    ] = None,
    self_check: Annotated[
        bool, typer.Option("--self-check", help="Show that the verdict can fail: plant kernels it must stop.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="table, markdown or json.")] = "table",
    model: Annotated[
        str | None, typer.Option(help="A known model. Default: llama-3.1-8b.", rich_help_panel=_RUN)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A Hugging Face config.json instead of --model.", rich_help_panel=_RUN)
    ] = None,
    tp: Annotated[
        int | None, typer.Option(help="Tensor parallelism: the heads one of TP GPUs has.", rich_help_panel=_RUN)
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="flashinfer: SGLang's path, the default. Or a candidate as `tune` names it, such as torch.sdpa.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    fa: Annotated[
        str | None,
        typer.Option("--fa", help="FlashInfer's kernels: auto (as SGLang), fa2, fa3.", rich_help_panel=_RUN),
    ] = None,
    phases: Annotated[
        str | None,
        typer.Option(help="eager, capture, replay, piecewise; commas between. Default: all.", rich_help_panel=_RUN),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Requests (top-k: rows).", rich_help_panel=_RUN)] = None,
    new: Annotated[int | None, typer.Option(help="New tokens of the longest request.", rich_help_panel=_RUN)] = None,
    context: Annotated[
        int | None, typer.Option(help="Keys of the longest request, new ones included.", rich_help_panel=_RUN)
    ] = None,
    calls: Annotated[
        int | None, typer.Option(help="Attention calls of a step; kinds of layers take turns.", rich_help_panel=_RUN)
    ] = None,
    pad_mode: Annotated[
        str | None,
        typer.Option(
            help="Piecewise: fake-request (SGLang 0.5.10) or narrow (later). Default: fake-request.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Deterministic inference.", rich_help_panel=_RUN)
    ] = False,
    multimodal: Annotated[
        bool, typer.Option("--multimodal", help="A batch with images or the like.", rich_help_panel=_RUN)
    ] = False,
    multi_item_scoring: Annotated[
        bool, typer.Option("--multi-item-scoring", help="Multi-item scoring is on.", rich_help_panel=_RUN)
    ] = False,
    bitwise: Annotated[
        bool,
        typer.Option(
            "--bitwise", help="Eager and replay, and another batch, must give the same bits.", rich_help_panel=_RUN
        ),
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="bfloat16 or float16.", rich_help_panel=_RUN)] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="Of the KV cache.", rich_help_panel=_RUN)] = None,
    kernels: Annotated[
        list[Path] | None, typer.Option(help="A Python file with your own backends.", rich_help_panel=_RUN)
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Keep the trace: a .json or .json.gz.", rich_help_panel=_RUN)
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds a phase may take; builds count apart.", rich_help_panel=_RUN)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the inputs.", rich_help_panel=_RUN)] = None,
) -> None:
    """Prove that only the attention kernels you selected fire, phase by phase: run a path here, or judge a trace.

    Exit code: 0 they did, 1 a kernel fired that must not (or one is missing), 2 bad usage or input, 3 nothing to judge,
    4 it could not be run.
    """
    from autotune_cli.errors import BadOption

    if form not in _FORMATS:
        raise BadOption(option="--format", detail=f"{form!r} is none of {', '.join(_FORMATS)}")
    options = locals()
    if from_trace is None:
        from autotune_cli.commands.profile_live import run_live

        for name in ("ranges", "rank"):
            if options[name] is not None:
                raise BadOption(option=f"--{name.removesuffix('s')}", detail="goes with --from-trace")
        verdict, checked = run_live(options)
        _show(verdict, checked, form)
        raise typer.Exit(verdict.exit_code)
    for name in _LIVE_ONLY:
        # Zero and empty text are given too.
        if options[name] is not None and options[name] is not False:
            raise BadOption(
                option=f"--{name.replace('_', '-')}", detail="goes with running a path, not with --from-trace"
            )
    _judge_trace(options)


def _judge_trace(options: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from autotune_cli.profiling.attribute import split_into_phases
    from autotune_cli.profiling.checks import self_check
    from autotune_cli.profiling.classify import load_classifier
    from autotune_cli.profiling.phases import make_use
    from autotune_cli.profiling.readers.finding import find_trace, sources_of_rank
    from autotune_cli.profiling.verdict import Verdict, judge

    errors = Console(stderr=True)
    expectation, warning = _expectation(options)
    if warning:
        errors.print(Text(f"note: {warning}", style="yellow"), soft_wrap=True)
    classify = load_classifier(options["rules"] or ())
    path = find_trace(Path(options["from_trace"]), options["rank"])
    trace = _read(path, errors)
    trace.path = options["from_trace"]
    # A folder's file was chosen by its rank already.
    rank = None if os.path.isdir(options["from_trace"]) else options["rank"]
    sources = sources_of_rank(trace, rank)
    recording = split_into_phases(trace, classify, options["ranges"] or (), sources)
    verdict = judge(recording, expectation)
    checked: list[str] = []
    if options["self_check"]:
        checked, faults = self_check(recording, expectation, lambda name: make_use(name, 1, 0.0, classify))
        verdict = Verdict(verdict.recording, expectation, verdict.phases, (*verdict.problems, *faults))
    _show(verdict, checked, options["form"])
    raise typer.Exit(verdict.exit_code)


def _show(verdict: Any, checked: list[str], form: str) -> None:
    from rich.console import Console

    if form == "table":
        from autotune_cli.render.profile_table import print_profile

        output = Console()
        print_profile(output if output.is_terminal else Console(width=160), verdict, checked)
        return
    from autotune_cli.render.profile_files import profile_json_text, profile_markdown

    typer.echo(profile_json_text(verdict, checked) if form == "json" else profile_markdown(verdict, checked).rstrip())


def _expectation(options: dict[str, Any]) -> tuple[Expectation, str | None]:
    """What to expect, and a warning about the environment.

    Raises:
        AutotuneError: an unknown mode, a pattern that is no regular expression.
    """
    from autotune_cli.profiling.resolve import forced_paged, parse_mode, resolve
    from autotune_cli.profiling.verdict import Expectation, Shape

    expects, forbids = patterns(options)
    toggle = forced_paged(options["paged"], os.environ)
    mode = parse_mode(options["mode"])
    path = resolve(mode, forced_paged=toggle.on, prefix=options["prefix"] is not False)
    shape: Shape
    if toggle.source == "default" and (expects or forbids):
        shape = "any"
    elif path.planned != "ragged":
        shape = "paged"
    elif options["prefix"] is None:
        shape = "ragged or pair"
    else:
        shape = "pair" if options["prefix"] else "ragged"
    return Expectation(shape, expects, forbids), toggle.warning


def patterns(options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What ``--expect`` and ``--forbid`` say.

    Raises:
        BadOption: no regular expression.
    """
    from autotune_cli.errors import BadOption
    from autotune_cli.profiling.patterns import BadPattern, compile_pattern, shown

    found = []
    for option in ("expect", "forbid"):
        for pattern in options[option] or ():
            try:
                compile_pattern(pattern)
            except BadPattern as error:
                raise BadOption(option=f"--{option}", detail=f"{shown(pattern)} {error}") from None
        found.append(tuple(options[option] or ()))
    return found[0], found[1]


def _read(path: Path, errors: Console) -> Trace:
    """Reads the trace; on a terminal with a bar."""
    from autotune_cli.profiling.readers.finding import read_trace

    if not errors.is_terminal:
        return read_trace(path)
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("reading {task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(path.name)
        report: Progress = lambda done, total: bar.update(task, completed=done, total=total)  # noqa: E731
        return read_trace(path, report)
