"""``autotune profile``: did the selected kernels fire?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune_cli.commands.helping import complete_model, complete_words, list_models

if TYPE_CHECKING:
    from autotune_cli.profiling.classify import Classifier
    from autotune_cli.profiling.phases import Recording
    from autotune_cli.profiling.readers.stream import Progress
    from autotune_cli.profiling.trace import Trace
    from autotune_cli.profiling.verdict import Expectation
    from autotune_cli.render.console import Console

_FORMATS = ("table", "markdown", "json")
EXAMPLES = """
autotune profile --paged --model llama-3.1-8b --mode decode
autotune profile --from-trace example --paged
"""
_TRACE = "Judging a trace"
_WANTED = "What must fire"
_RUN = "Running a path"
_PRINTED = "What is printed"
_LIVE_ONLY = (
    *("model", "config", "tp", "backend", "fa", "phases", "batch", "new", "context", "calls", "pad_mode"),
    *("deterministic", "multimodal", "multi_item_scoring", "bitwise", "dtype", "kv_dtype", "kernels", "trace"),
    *("timeout", "seed"),
)


def profile(
    from_trace: Annotated[
        str | None,
        typer.Option(
            help="A recorded trace: torch's profiler (.json, .json.gz), Nsight Systems (.sqlite), a folder of them; "
            "'example' and 'example-ragged' come along.",
            metavar="FILE",
            rich_help_panel=_TRACE,
        ),
    ] = None,
    paged: Annotated[
        bool | None,
        typer.Option(
            "--paged/--no-paged",
            help="Expect paged attention and nothing else, or SGLang's ragged path. Default: "
            "SGLANG_FLASHINFER_USE_PAGED, else ragged; a trace of which nothing is expected is listed.",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="Forward mode: extend (default), decode, verify, mixed, idle, draft_extend, dllm_extend; to run: "
            "topk.",
            metavar="MODE",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    prefix: Annotated[
        bool | None,
        typer.Option(
            "--prefix/--no-prefix",
            help="Ragged path: with cached keys or without. Default: either.",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="Judge this range (a name, or a pattern with *); may be repeated.",
            metavar="NAME",
            rich_help_panel=_TRACE,
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Judge this rank of a folder or of a trace of several.", metavar="N", rich_help_panel=_TRACE),
    ] = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option(
            help="Own rules for kernel names, before the program's; may be repeated.",
            metavar="FILE",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            help="A kernel must fit this regular expression; may be repeated.",
            metavar="PATTERN",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    forbid: Annotated[
        list[str] | None,
        typer.Option(
            help="No kernel may fit this regular expression; may be repeated.",
            metavar="PATTERN",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check", help="Show that the verdict can fail: plant kernels it must stop.", rich_help_panel=_WANTED
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="A known model, '?' lists them. Default: llama-3.1-8b.",
            metavar="NAME",
            rich_help_panel=_RUN,
            callback=list_models,
            is_eager=True,
            autocompletion=complete_model,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A Hugging Face config.json instead of --model.", metavar="FILE", rich_help_panel=_RUN),
    ] = None,
    tp: Annotated[
        int | None,
        typer.Option(help="Tensor parallelism: the heads one of TP GPUs has.", metavar="N", rich_help_panel=_RUN),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="flashinfer: SGLang's path, the default. Or a candidate as `tune` names it, such as torch.sdpa.",
            metavar="NAME",
            rich_help_panel=_RUN,
        ),
    ] = None,
    fa: Annotated[
        str | None,
        typer.Option(
            "--fa", help="FlashInfer's kernels: auto (as SGLang), fa2, fa3.", metavar="WORD", rich_help_panel=_RUN
        ),
    ] = None,
    phases: Annotated[
        str | None,
        typer.Option(
            help="eager, capture, replay, piecewise; commas between. Default: all.",
            metavar="WORDS",
            rich_help_panel=_RUN,
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Requests (top-k: rows).", metavar="N", rich_help_panel=_RUN)
    ] = None,
    new: Annotated[
        int | None, typer.Option(help="New tokens of the longest request.", metavar="N", rich_help_panel=_RUN)
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(help="Keys of the longest request, new ones included.", metavar="N", rich_help_panel=_RUN),
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option(help="Attention calls of a step; kinds of layers take turns.", metavar="N", rich_help_panel=_RUN),
    ] = None,
    pad_mode: Annotated[
        str | None,
        typer.Option(
            help="Piecewise: fake-request (SGLang 0.5.10) or narrow (later). Default: fake-request.",
            metavar="WORD",
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
    dtype: Annotated[
        str | None, typer.Option(help="bfloat16 or float16.", metavar="TYPE", rich_help_panel=_RUN)
    ] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="Of the KV cache.", metavar="TYPE", rich_help_panel=_RUN)] = None,
    kernels: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file with your own backends.", metavar="FILE", rich_help_panel=_RUN),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Keep the trace: a .json or .json.gz.", metavar="FILE", rich_help_panel=_RUN)
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a phase may take; builds count apart.", metavar="SECONDS", rich_help_panel=_RUN),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the inputs.", metavar="N", rich_help_panel=_RUN)] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, markdown or json.",
            metavar="FORMAT",
            rich_help_panel=_PRINTED,
            autocompletion=complete_words(*_FORMATS),
        ),
    ] = "table",
) -> None:
    """Prove that only the attention kernels you selected fire, phase by phase: run a path here, or judge a trace.

    Exit code: 0 they did, 1 a kernel fired that must not (or one is missing), 2 bad usage or input, 3 nothing to judge,
    4 it could not be run, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.errors import BadField

    if form not in _FORMATS:
        raise BadField(field="format", detail=f"{form!r} is none of {', '.join(_FORMATS)}")
    options = locals()
    judged = says_what_to_expect(options, os.environ)
    options["mode"] = "extend" if mode is None else mode
    if from_trace is None:
        from autotune_cli.commands.profile_live import run_live

        for name in ("ranges", "rank"):
            if options[name] is not None:
                raise BadField(field=name.removesuffix("s"), detail="goes with --from-trace")
        from autotune_cli.commands.flags import verdict_with_flags

        verdict, checked = run_live(options)
        verdict = verdict_with_flags(verdict)
        _show(verdict, checked, form)
        raise typer.Exit(verdict.exit_code)
    for name in _LIVE_ONLY:
        # Zero and empty text are given too.
        if options[name] is not None and options[name] is not False:
            raise BadField(field=name, detail="goes with running a path, not with --from-trace")
    _judge_trace(options) if judged else _list_trace(options)


def says_what_to_expect(options: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Is a trace to be judged? By an option or by SGLang's variable; without either it is listed."""
    from autotune_cli.profiling.resolve import forced_paged

    given = any(options[name] is not None for name in ("paged", "prefix", "mode"))
    return given or bool(options["expect"] or options["forbid"]) or forced_paged(None, environ).source != "default"


def _list_trace(options: dict[str, Any]) -> None:
    """What fired, and no verdict.

    Raises:
        BadField: a self-check needs something to judge.
    """
    from rich.text import Text

    from autotune_cli.errors import EXIT_NOT_COMPARABLE, EXIT_OK, BadField
    from autotune_cli.plain_text import shown
    from autotune_cli.profiling.resolve import forced_paged
    from autotune_cli.render import profile_listing
    from autotune_cli.render.console import Console
    from autotune_cli.streams import stdout_is_unicode

    if options["self_check"]:
        raise BadField(field="self_check", detail="needs something to expect, such as --paged or --no-paged")
    errors = Console(stderr=True)
    if warning := forced_paged(None, os.environ).warning:
        errors.print(Text(f"note: {shown(warning)}", style="yellow"), soft_wrap=True)
    recording, _ = _recorded(options, errors)
    code = EXIT_OK if profile_listing.fired(recording) else EXIT_NOT_COMPARABLE
    if options["form"] == "table":
        output = Console()
        profile_listing.print_listing(output if output.is_terminal else Console(width=160), recording)
    elif options["form"] == "json":
        print(profile_listing.listing_json(recording, code, ascii_only=not stdout_is_unicode()))
    else:
        print(profile_listing.listing_markdown(recording).rstrip())
    raise typer.Exit(code)


def _recorded(options: dict[str, Any], errors: Console) -> tuple[Recording, Classifier]:
    """The trace in phases, and the rules by which its kernels were told apart."""
    from autotune_cli.profiling.attribute import split_into_phases
    from autotune_cli.profiling.classify import load_classifier
    from autotune_cli.profiling.readers.finding import find_trace, sources_of_rank

    classify = load_classifier(options["rules"] or ())
    path = find_trace(Path(options["from_trace"]), options["rank"])
    trace = _read(path, errors)
    trace.path = options["from_trace"]
    # A folder's file was chosen by its rank already.
    rank = None if os.path.isdir(options["from_trace"]) else options["rank"]
    sources = sources_of_rank(trace, rank)
    return split_into_phases(trace, classify, options["ranges"] or (), sources), classify


def _judge_trace(options: dict[str, Any]) -> None:
    from rich.text import Text

    from autotune_cli.commands.flags import verdict_with_flags
    from autotune_cli.profiling.checks import self_check
    from autotune_cli.profiling.phases import make_use
    from autotune_cli.profiling.verdict import Verdict, judge
    from autotune_cli.render.console import Console

    errors = Console(stderr=True)
    expectation, warning = _expectation(options)
    if warning:
        errors.print(Text(f"note: {warning}", style="yellow"), soft_wrap=True)
    recording, classify = _recorded(options, errors)
    verdict = verdict_with_flags(judge(recording, expectation))
    checked: list[str] = []
    if options["self_check"]:
        checked, faults = self_check(recording, expectation, lambda name: make_use(name, 1, 0.0, classify))
        verdict = Verdict(verdict.recording, expectation, verdict.phases, (*verdict.problems, *faults))
    _show(verdict, checked, options["form"])
    raise typer.Exit(verdict.exit_code)


def _show(verdict: Any, checked: list[str], form: str) -> None:
    from autotune_cli.render.console import Console

    if form == "table":
        from autotune_cli.render.profile_table import print_profile

        output = Console()
        print_profile(output if output.is_terminal else Console(width=160), verdict, checked)
        return
    from autotune_cli.render.profile_files import profile_json_text, profile_markdown
    from autotune_cli.streams import stdout_is_unicode

    if form == "json":
        print(profile_json_text(verdict, checked, ascii_only=not stdout_is_unicode()))
    else:
        print(profile_markdown(verdict, checked).rstrip())


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
        BadField: no regular expression.
    """
    from autotune_cli.errors import BadField
    from autotune_cli.profiling.patterns import BadPattern, compile_pattern, shown

    found = []
    for option in ("expect", "forbid"):
        for pattern in options[option] or ():
            try:
                compile_pattern(pattern)
            except BadPattern as error:
                raise BadField(field=option, detail=f"{shown(pattern)} {error}") from None
        found.append(tuple(options[option] or ()))
    return found[0], found[1]


def _read(path: Path, errors: Console) -> Trace:
    """Reads the trace; on a terminal with a bar."""
    from autotune_cli.plain_text import shown
    from autotune_cli.profiling.readers.finding import read_trace

    if not errors.is_terminal:
        return read_trace(path)
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    words = TextColumn("reading {task.description}", markup=False)
    columns = (words, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(shown(path.name))
        report: Progress = lambda done, total: bar.update(task, completed=done, total=total)  # noqa: E731
        return read_trace(path, report)
