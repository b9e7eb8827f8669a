"""``--format`` and ``--output``: one convention for every command that prints a result."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from autotune_cli.app import app
from autotune_cli.commands.helping import HelpfulGroup
from autotune_cli.commands.printing import check_writable, write_result
from autotune_cli.errors import CannotWrite, UnknownName
from autotune_cli.render.formats import KINDS, find_format, format_names
from autotune_cli.render.kernels_formats import KernelsView
from autotune_cli.results.files import read_run
from autotune_cli.tuning.messages import BackendInfo
from autotune_cli.tuning.request import RunOutcome

Usage = Callable[..., Any]
RUN = Path(__file__).parents[1] / "data" / "diff" / "h200.20261121_073639.json"
COMMANDS = {
    "run": ("show", RUN),
    "diff": ("diff", RUN, RUN, "--fail-on", "none"),
    "profile": ("profile", "--from-trace", "example", "--paged"),
    "listing": ("profile", "--from-trace", "example"),
}


TEXTS = [(kind, name) for kind in COMMANDS for name in format_names(kind) if not find_format(kind, name).about.binary]


@pytest.mark.parametrize(("kind", "name"), TEXTS)
def test_a_file_has_what_the_pipe_gets(usage: Usage, tmp_path: Path, kind: str, name: str) -> None:
    printed = usage(*COMMANDS[kind], "--format", name)
    assert printed.code == 0, printed.err
    assert printed.out.endswith(("\n", "</svg>"))
    written = usage(*COMMANDS[kind], "--format", name, "--output", "new/result")
    assert (written.code, written.out) == (0, "")
    assert "wrote new/result" in written.err
    assert (tmp_path / "new" / "result").read_text(encoding="utf-8") == printed.out
    if name == "json":
        json.loads(printed.out)
    if name == "csv":
        rows = list(csv.reader(io.StringIO(printed.out)))
        assert len(rows) > 2
        assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_table_is_as_wide_as_the_terminal_and_plain_in_a_file(usage: Usage, tmp_path: Path, kind: str) -> None:
    """rich takes a stream for a terminal where this variable says so."""
    terminal = {"FORCE_COLOR": "1", "COLUMNS": "70", "TERM": "xterm"}
    plain = usage(*COMMANDS[kind]).out
    printed = usage(*COMMANDS[kind], variables=terminal).out
    assert "\x1b[" in printed
    widths = [len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()]
    assert max(widths) <= 70
    usage(*COMMANDS[kind], "--output", "file", variables=terminal)
    text = (tmp_path / "file").read_text(encoding="utf-8")
    assert text == plain
    assert "\x1b" not in plain
    # Data have no colours anywhere.
    assert "\x1b" not in usage(*COMMANDS[kind], "--format", "json", variables=terminal).out


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_unknown_format_is_one_message(usage: Usage, kind: str) -> None:
    done = usage(*COMMANDS[kind], "--format", "jsno")
    known = ", ".join(format_names(kind))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: unknown format 'jsno'; did you mean 'json'? (known: {known})\n"


# What export writes has no formats but targets, and a report is a page.
WITHOUT_FORMAT = ("export", "report")


@pytest.mark.parametrize("name", HelpfulGroup.entries)
def test_every_command_that_prints_a_result_takes_a_format_and_an_output(name: str) -> None:
    group: Any = typer.main.get_command(app)
    command = group.get_command(group.make_context("autotune", [], resilient_parsing=True), name)
    options = {param.name: param.opts for param in command.params}
    assert options["output"] == ["-o", "--output"]
    assert ("format" in options) == (name not in WITHOUT_FORMAT)


OTHERS = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    ("arguments", "read", "what"),
    [
        (("show", "in.json", "-o", "in.json"), RUN, "--output: in.json is the result itself"),
        (("show", "in.json", "--svg", "in.json"), RUN, "--svg: in.json is the result itself"),
        (("diff", RUN, "in.json", "-o", "in.json"), RUN, "--output: in.json is the result itself"),
        (("agree", RUN, "in.json", "-o", "./in.json"), RUN, "--output: in.json is the result itself"),
        (
            ("profile", "--from-trace", "in.json", "-o", "in.json"),
            OTHERS / "traffic" / "sglang.trace.json",
            "--output: in.json is a file that this command reads",
        ),
        *(
            (
                (command, RUN, *options, option, "in.json", "-o", "in.json"),
                OTHERS / "traffic" / "sglang.trace.json",
                "--output: in.json is a file that this command reads",
            )
            for command, options in (("plan", ()), ("export", ("--to", "csv")))
            for option in ("--step-trace", "--traffic-weights")
        ),
        (
            ("tune", "--traffic", "in.json", "--dry-run", "-o", "in.json"),
            OTHERS / "traffic" / "lengths.jsonl",
            "--output: in.json is a file that this command reads",
        ),
    ],
)
def test_what_is_read_is_never_written(
    usage: Usage, tmp_path: Path, arguments: tuple[object, ...], read: Path, what: str
) -> None:
    (tmp_path / "in.json").write_bytes(read.read_bytes())
    done = usage(*arguments)
    assert (done.code, done.out, done.err) == (2, "", f"error: {what}, and would be replaced\n")
    assert (tmp_path / "in.json").read_bytes() == read.read_bytes()


@pytest.mark.parametrize("command", ["tune", "profile", "kernels"])
def test_what_cannot_be_written_is_said_before_anything_runs(usage: Usage, command: str, tmp_path: Path) -> None:
    done = usage(command, "--output", tmp_path)
    assert (done.code, done.out) == (4, "")
    assert done.err == f"error: can't write {tmp_path}: is a folder\n"


def test_where_a_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (None, tmp_path / "file", tmp_path / "new", tmp_path / "new" / "folder" / "file"):
        check_writable(path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(CannotWrite):
            check_writable(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", RUN, "--svg", "."),
        *((*COMMANDS[kind], "--output", ".") for kind in COMMANDS),
        ("kernels", "--output", "."),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_anything_else(usage: Usage, arguments: tuple[Any, ...]) -> None:
    done = usage(*arguments)
    assert (done.code, done.out, done.err) == (4, "", "error: can't write .: is a folder\n")


def test_the_backends_in_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    found = BackendInfo("mine.one", ("topk.select",), "block=64|128", "nix", "pip install nix", ("cpu",), "")
    view = KernelsView("a | b", "cpu", [found, BackendInfo("mine.two", ("topk.select",), "", None, "", ("cuda",), "")])

    def text(name: str) -> str:
        write_result("kernels", name, view, None)
        return capsys.readouterr().out

    rows = list(csv.DictReader(io.StringIO(text("csv"))))
    assert [row["here"] for row in rows] == ["nix is not installed; get it: pip install nix", "needs an NVIDIA GPU"]
    assert [each["ready"] for each in json.loads(text("json"))["backends"]] == [False, False]
    assert r"64\|128" in text("markdown")
    assert text("table").startswith("backends on this machine (a | b)\n")
    with pytest.raises(UnknownName):
        text("svg")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_same_first_formats(kind: str) -> None:
    assert format_names(kind)[0] == "table"
    assert {"table", "markdown", "json", "csv"} <= set(format_names(kind))


@pytest.fixture
def tuned(usage: Usage, monkeypatch: pytest.MonkeyPatch) -> Usage:
    """``tune`` whose engine has a recorded result at once."""
    outcome = RunOutcome(RUN, read_run(RUN), measured=1)
    monkeypatch.setattr("autotune_cli.tuning.run.tune", lambda request, progress, stop: outcome)
    return lambda *options: usage("tune", "--device", "cpu", "--op", "topk", "--no-cache", *options)


def test_tune_json_is_short_for_the_format(tuned: Usage, usage: Usage) -> None:
    document = tuned("--json").out
    assert document == tuned("--format", "json").out == tuned("--json", "--format", "json").out
    assert document == usage("show", RUN, "--format", "json").out
    assert "wrote" not in tuned("--json").err


def test_tune_says_where_its_result_is(tuned: Usage, usage: Usage, tmp_path: Path) -> None:
    """Below the table; where something else is printed on stderr."""
    table = tuned()
    assert table.out.splitlines()[-1].startswith(f"wrote {RUN} (")
    assert table.out.startswith(usage("show", RUN).out)
    assert "wrote" not in table.err
    for name in ("markdown", "csv"):
        done = tuned("--format", name)
        assert done.out == usage("show", RUN, "--format", name).out
        assert done.err.startswith(f"wrote {RUN} (")
    done = tuned("--output", "table.txt")
    assert done.out == ""
    assert done.err.startswith(f"wrote table.txt\nwrote {RUN} (")
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") == table.out
