"""The options of ``autotune verify``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from autotune_cli.commands.declaring import Said
from autotune_cli.commands.helping import complete_words
from autotune_cli.commands.kinds import TIMEOUT, OneOf, Share, Whole
from autotune_cli.commands.options import shared

_SERVERS = "The servers"
_ASKED = "What is asked"
_JUDGED = "What counts"
_PRINTED = "What is printed"
_APIS = ("completions", "chat")
_METRICS = ("ttft", "itl", "throughput")


@dataclass(frozen=True)
class VerifyOptions:
    """The two servers, what they are asked, and what is said of it."""

    base: Annotated[
        str | None,
        typer.Option(help="Address of the server as it was.", metavar="URL", rich_help_panel=_SERVERS),
    ] = None
    new: Annotated[
        str | None,
        typer.Option(help="Address of the server with the change.", metavar="URL", rich_help_panel=_SERVERS),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            help="The model's name at both.",
            metavar="NAME",
            show_default="the first that each serves",
            rich_help_panel=_SERVERS,
        ),
    ] = None
    api: Annotated[
        str,
        typer.Option(
            help="completions or chat.",
            metavar="API",
            autocompletion=complete_words(*_APIS),
            rich_help_panel=_SERVERS,
        ),
        OneOf(_APIS),
    ] = "completions"
    api_key_variable: Annotated[
        str | None,
        typer.Option(
            help="The environment variable that holds the servers' key.", metavar="NAME", rich_help_panel=_SERVERS
        ),
    ] = None
    timeout: Annotated[
        float,
        typer.Option(help="Seconds an answer may take.", metavar="SECONDS", rich_help_panel=_SERVERS),
        TIMEOUT,
    ] = 120.0
    """Seconds."""
    pairs: Annotated[
        int,
        typer.Option(help="Pairs of measurements, one on each server.", metavar="N", rich_help_panel=_ASKED),
        Whole(3, 10_000),
    ] = 20
    concurrency: Annotated[
        int,
        typer.Option(help="Requests at a time.", metavar="N", rich_help_panel=_ASKED),
        Whole(1, 1024),
    ] = 1
    input_words: Annotated[
        int,
        typer.Option(help="Words of a prompt, drawn anew for each request.", metavar="N", rich_help_panel=_ASKED),
        Whole(1, 1_000_000),
    ] = 256
    output_tokens: Annotated[
        int,
        typer.Option(help="Tokens of an answer.", metavar="N", rich_help_panel=_ASKED),
        Whole(2, 1_000_000),
    ] = 64
    ignore_eos: Annotated[
        bool,
        typer.Option(
            "--ignore-eos/--no-ignore-eos",
            help="Ask for all tokens, even after the end of an answer; SGLang and vLLM know this.",
            rich_help_panel=_ASKED,
        ),
    ] = True
    warm_up: Annotated[
        int,
        typer.Option(help="Measurements of each server that don't count.", metavar="N", rich_help_panel=_ASKED),
        Whole(0, 1000),
    ] = 2
    seed: Annotated[shared.Seed, Said(_ASKED, "Seed of the prompts and of the order.")] = 0
    threshold: Annotated[
        float,
        typer.Option(help="A smaller change is no news.", metavar="PERCENT", rich_help_panel=_JUDGED),
        Share(),
    ] = 0.01
    """A share."""
    expect: Annotated[
        float | None,
        typer.Option(
            help="The improvement that was promised: exit 1 if it is smaller.",
            metavar="PERCENT",
            rich_help_panel=_JUDGED,
        ),
        Share(),
    ] = None
    """A share of less time, or of more tokens."""
    metric: Annotated[
        str,
        typer.Option(
            help="What --expect speaks of: ttft, itl (time between tokens) or throughput.",
            metavar="NAME",
            autocompletion=complete_words(*_METRICS),
            rich_help_panel=_JUDGED,
        ),
        OneOf(_METRICS),
    ] = "itl"
    format: Annotated[shared.VerifyFormat, Said(_PRINTED)] = "table"
    output: Annotated[shared.Output, Said(_PRINTED)] = None
