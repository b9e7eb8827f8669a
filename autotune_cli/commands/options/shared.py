"""Options that several commands have, each declared once. A command says otherwise by :class:`.Said`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autotune_cli.commands.helping import complete_last, complete_model, complete_words, list_models
from autotune_cli.commands.kinds import MILLISECONDS, SEED, TIMEOUT, Count, FormatOf
from autotune_cli.render.formats import format_names

Model = Annotated[
    str | None,
    typer.Option(
        help="A known model; '?' lists them.",
        metavar="NAME",
        callback=list_models,
        is_eager=True,
        autocompletion=complete_model,
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="A Hugging Face config.json on disk, instead of --model.", metavar="FILE")
]
TensorParallel = Annotated[
    int, typer.Option(help="Tensor parallelism: the shapes one of TP GPUs sees.", metavar="TP"), Count()
]
DTypeName = Annotated[
    str | None, typer.Option(help="bfloat16, float16 or float32 instead of the model's.", metavar="TYPE")
]
KvDType = Annotated[str | None, typer.Option(help="Type of the KV cache, such as float8_e4m3fn.", metavar="TYPE")]
KernelFiles = Annotated[
    list[Path] | None, typer.Option(help="A Python file that registers your own backends.", metavar="FILE")
]
Device = Annotated[
    str,
    typer.Option(help="auto, cuda or cpu.", metavar="DEVICE", autocompletion=complete_words("auto", "cuda", "cpu")),
]
Timeout = Annotated[
    float, typer.Option(help="Seconds a candidate may take; builds count apart.", metavar="SECONDS"), TIMEOUT
]
Seed = Annotated[int, typer.Option(help="Seed of the inputs.", metavar="N"), SEED]
Root = Annotated[
    Path,
    typer.Option(
        envvar="AUTOTUNE_ROOT", help="Folder of cache/ and runs/.", show_default="current folder", metavar="FOLDER"
    ),
]
OfName = Annotated[str | None, typer.Option(help="The name whose runs 'latest' and 'previous' mean.", metavar="NAME")]
OfDevice = Annotated[
    str | None,
    typer.Option(help="Of a file with several devices, this one: a part of its name, such as h200.", metavar="NAME"),
]
Every = Annotated[bool, typer.Option("--all", help="Show every candidate of every workload.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write to this file instead of the terminal.", metavar="FILE"),
]

# Of a result, and of a plan for one server.
Engine = Annotated[
    str | None,
    typer.Option(help="The engine that serves. Default: that of the result's default baseline.", metavar="ENGINE"),
]
EngineVersion = Annotated[
    str | None,
    typer.Option(
        help="Its version. Default: the installed one, or the newest whose rules are known.", metavar="VERSION"
    ),
]
Pins = Annotated[
    list[str] | None,
    typer.Option(help="Fix a setting, such as page_size=64 or attention_backend=fa3.", metavar="SETTING=VALUE"),
]
TrafficWeights = Annotated[
    str | None,
    typer.Option(
        help="How often each workload is in a step: equal; or decode=8,prefill=1; or 'decode 64x8192=30'; or a JSON "
        "file of weights by workload. Default: the result's traffic, or equal.",
        metavar="WEIGHTS",
    ),
]
GainsOver = Annotated[
    str | None,
    typer.Option(help="What gains are over, one of the file's baselines. Default: its default.", metavar="BASELINE"),
]
Result = Annotated[
    str,
    typer.Argument(
        metavar="RESULT",
        help="'latest', 'previous', a cache name, a run's name, or a file. Default: the latest run.",
        show_default=False,
    ),
]
StepMs = Annotated[
    float | None,
    typer.Option(help="A decode step of the untuned server: changes are shown as a share of it.", metavar="MS"),
    MILLISECONDS,
]
ChunkMs = Annotated[
    float | None, typer.Option(help="A prefill chunk of the untuned server, likewise.", metavar="MS"), MILLISECONDS
]

StepTraces = Annotated[
    list[Path] | None,
    typer.Option(
        help="A profiler trace of the untuned server, which tells both where --step-ms and --chunk-ms don't; may be "
        "repeated.",
        metavar="FILE",
    ),
]


def _complete_differences(incomplete: str) -> list[str]:
    from autotune_cli.comparing.environment import BLOCKING

    return complete_last(incomplete, BLOCKING)


AllowDifferent = Annotated[
    list[str] | None,
    typer.Option(
        help="Compare although this differs: gpu, mode, l2, timer, method; commas between.",
        metavar="WORDS",
        autocompletion=_complete_differences,
    ),
]


def _formats(kind: str) -> Any:
    *names, last = format_names(kind)
    words = f"{', '.join(names)} or {last}."
    return typer.Option(help=words, metavar="FORMAT", autocompletion=complete_words(*names, last))


RunFormat = Annotated[str, _formats("run"), FormatOf("run")]
DiffFormat = Annotated[str, _formats("diff"), FormatOf("diff")]
ProfileFormat = Annotated[str, _formats("profile"), FormatOf("profile")]
KernelsFormat = Annotated[str, _formats("kernels"), FormatOf("kernels")]
ResultsFormat = Annotated[str, _formats("results"), FormatOf("results")]
DoctorFormat = Annotated[str, _formats("doctor"), FormatOf("doctor")]
AgreeFormat = Annotated[str, _formats("agree"), FormatOf("agree")]
VerifyFormat = Annotated[str, _formats("verify"), FormatOf("verify")]
PlanFormat = Annotated[str, _formats("plan"), FormatOf("plan")]
