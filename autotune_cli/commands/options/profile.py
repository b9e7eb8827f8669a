"""The options of ``autotune profile``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.declaring import Said
from autotune_cli.commands.helping import complete_preset, list_presets
from autotune_cli.commands.kinds import RANK, SEED, TIMEOUT, Count
from autotune_cli.commands.options import shared

_TRACE = "Judging a trace"
_WANTED = "What must fire"
LIVE = "Running a path"
"""Options of this group go with running a path, not with a trace."""
_PRINTED = "What is printed"


@dataclass(frozen=True)
class ProfileOptions:
    """A trace to judge or a path to run, what must fire in it, and how it is printed. None: not given."""

    from_trace: Annotated[
        str | None,
        typer.Option(
            help="A recorded trace: torch's profiler (.json, .json.gz), Nsight Systems (.sqlite), a folder of them; "
            "'example' and 'example-ragged' come along.",
            metavar="FILE",
            rich_help_panel=_TRACE,
        ),
    ] = None
    paged: Annotated[
        bool | None,
        typer.Option(
            "--paged/--no-paged",
            help="Expect paged attention and nothing else, or SGLang's ragged path. Default: "
            "SGLANG_FLASHINFER_USE_PAGED, else ragged; a trace of which nothing is expected is listed.",
            rich_help_panel=_WANTED,
        ),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(
            help="Forward mode: extend (default), decode, verify, mixed, idle, draft_extend, dllm_extend; to run: "
            "cross (over an encoder's keys), sparse_decode, topk.",
            metavar="MODE",
            rich_help_panel=_WANTED,
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            help="What a server with this attention backend must show, '?' lists them: did it fall back?",
            metavar="NAME",
            rich_help_panel=_WANTED,
            callback=list_presets,
            is_eager=True,
            autocompletion=complete_preset,
        ),
    ] = None
    prefix: Annotated[
        bool | None,
        typer.Option(
            "--prefix/--no-prefix",
            help="Ragged path: with cached keys or without. Default: either.",
            rich_help_panel=_WANTED,
        ),
    ] = None
    range: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="Judge this range (a name, or a pattern with *); may be repeated.",
            metavar="NAME",
            rich_help_panel=_TRACE,
        ),
    ] = None
    rank: Annotated[
        int | None,
        typer.Option(help="Judge this rank of a folder or of a trace of several.", metavar="N", rich_help_panel=_TRACE),
        RANK,
    ] = None
    rules: Annotated[
        list[Path] | None,
        typer.Option(
            help="Own rules for kernel names, before the program's; may be repeated.",
            metavar="FILE",
            rich_help_panel=_WANTED,
        ),
    ] = None
    expect: Annotated[
        list[str] | None,
        typer.Option(
            help="A kernel must fit this regular expression; may be repeated.",
            metavar="PATTERN",
            rich_help_panel=_WANTED,
        ),
    ] = None
    forbid: Annotated[
        list[str] | None,
        typer.Option(
            help="No kernel may fit this regular expression; may be repeated.",
            metavar="PATTERN",
            rich_help_panel=_WANTED,
        ),
    ] = None
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check", help="Show that the verdict can fail: inject kernels it must stop.", rich_help_panel=_WANTED
        ),
    ] = False
    model: Annotated[shared.Model, Said(LIVE, "A known model, '?' lists them. Default: llama-3.1-8b.")] = None
    config: Annotated[shared.Config, Said(LIVE, "A Hugging Face config.json instead of --model.")] = None
    tp: Annotated[
        int | None,
        typer.Option(help="Tensor parallelism: the heads one of TP GPUs has.", metavar="N", rich_help_panel=LIVE),
        Count(),
    ] = None
    backend: Annotated[
        str | None,
        typer.Option(
            help="SGLang's path over flashinfer, the default, or over fa3. Or a candidate as `tune` names it, such as "
            "torch.sdpa.",
            metavar="NAME",
            rich_help_panel=LIVE,
        ),
    ] = None
    fa: Annotated[
        str | None,
        typer.Option(
            "--fa", help="FlashInfer's kernels: auto (as SGLang), fa2, fa3.", metavar="WORD", rich_help_panel=LIVE
        ),
    ] = None
    phases: Annotated[
        str | None,
        typer.Option(
            help="eager, capture, replay, piecewise, breakable; commas between. Default: by --backend.",
            metavar="WORDS",
            rich_help_panel=LIVE,
        ),
    ] = None
    batch: Annotated[
        int | None, typer.Option(help="Requests (top-k: rows).", metavar="N", rich_help_panel=LIVE), Count()
    ] = None
    new: Annotated[
        int | None,
        typer.Option(help="New tokens of the longest request.", metavar="N", rich_help_panel=LIVE),
        Count(),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(help="Keys of the longest request, new ones included.", metavar="N", rich_help_panel=LIVE),
        Count(),
    ] = None
    calls: Annotated[
        int | None,
        typer.Option(help="Attention calls of a step; kinds of layers take turns.", metavar="N", rich_help_panel=LIVE),
        Count(),
    ] = None
    eagle_topk: Annotated[
        int | None,
        typer.Option(
            help="Verify: drafts of a level, as SGLang's --speculative-eagle-topk; above 1 a tree. Default: a chain "
            "without a mask.",
            metavar="N",
            rich_help_panel=LIVE,
        ),
        Count(),
    ] = None
    pad_mode: Annotated[
        str | None,
        typer.Option(
            help="Piecewise: fake-request (SGLang 0.5.10) or narrow (later). Default: fake-request.",
            metavar="WORD",
            rich_help_panel=LIVE,
        ),
    ] = None
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Deterministic inference.", rich_help_panel=LIVE)
    ] = False
    multimodal: Annotated[
        bool, typer.Option("--multimodal", help="A batch with images or the like.", rich_help_panel=LIVE)
    ] = False
    multi_item_scoring: Annotated[
        bool, typer.Option("--multi-item-scoring", help="Multi-item scoring is on.", rich_help_panel=LIVE)
    ] = False
    bitwise: Annotated[
        bool,
        typer.Option(
            "--bitwise", help="Eager and replay, and another batch, must give the same bits.", rich_help_panel=LIVE
        ),
    ] = False
    dtype: Annotated[shared.DTypeName, Said(LIVE, "bfloat16 or float16.")] = None
    kv_dtype: Annotated[shared.KvDType, Said(LIVE, "Of the KV cache.")] = None
    kernels: Annotated[shared.KernelFiles, Said(LIVE, "A Python file with your own backends.")] = None
    trace: Annotated[
        Path | None, typer.Option(help="Keep the trace: a .json or .json.gz.", metavar="FILE", rich_help_panel=LIVE)
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a phase may take; builds count apart.", metavar="SECONDS", rich_help_panel=LIVE),
        TIMEOUT,
    ] = None
    """Seconds."""
    seed: Annotated[int | None, typer.Option(help="Seed of the inputs.", metavar="N", rich_help_panel=LIVE), SEED] = (
        None
    )
    format: Annotated[shared.ProfileFormat, Said(_PRINTED)] = "table"
    output: Annotated[shared.Output, Said(_PRINTED)] = None
