"""Names and messages of others in everything that is printed: shown, not sent, and no markup of any kind."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from render_builders import ENVIRONMENT, SETTINGS, candidate, decode, extend, failed, result, run_file, topk
from rich.table import Table
from rich.text import Text
from running import Finished

from autotune_cli.plain_text import shown
from autotune_cli.render.console import Console
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.watch_lines import Lines
from autotune_cli.render.watch_table import LiveTable
from autotune_cli.results.files import dump_run
from autotune_cli.results.schema import RunFile
from autotune_cli.tuning.progress import BuildsState

Usage = Callable[..., Finished]
NAMES = {
    "escape": "\x1b[2J\x1b[31m\x1b]0;title\x07\x1b]8;;http://evil\x1b\\x",
    "C1": "\x9b31m\x90q\x85",
    "bidirectional": "a\u202eb\u2066c\u200bd\ufeff",
    "lines": "x\n| ok |\n\n**PASS**\r\n\ty",
    "surrogate": "s\ud800 \udcff",
    "no character": "\x00\ufffe\uffff\U000e0041",
    "markup": "[red]x[/red] [/] [link=http://a]b :fire:",
    "html": "<img src=x> ![i](http://a/b.png) `a` ]]> & \" '",
    "formula": "=cmd|' /C calc'!A0",
    "at": "@everyone #12",
}


def hostile(name: str, faster: float = 1.0) -> RunFile:
    """A run in which all that may be anything is ``name``."""
    environment = ENVIRONMENT.model_copy(
        update={"device": name, "driver": name, "libraries": {name: name}, "variables": {f"SGLANG_{name}": name}}
    )
    changes: dict[str, Any] = {"label": name, "backend": name, "fix": name}
    results = []
    for workload in (decode(), decode(4), extend(), topk()):
        candidates = (
            candidate("fast", 134.0 / faster, **changes),
            candidate("slow", 171.3, default=True, **changes),
            failed("wrong", "incorrect", name, rough_us=1.0, **changes),
            failed("bad", "error", name, **changes),
        )
        results.append(result(workload, *candidates, stopped=name, identity={name: name}))
    return run_file(*results, environment=environment, command=("autotune", name), program=name)


# A result file with half a character is refused; the other inputs aren't read so strictly.
@pytest.fixture(params=[kind for kind in NAMES if kind != "surrogate"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """The name, and two files with it, B slower."""
    files = []
    for number, faster in enumerate((1.0, 0.5)):
        path = tmp_path / f"{number}.json"
        # As JSON any text can be written; dump_run() has "?" for a surrogate.
        path.write_text(
            json.dumps(json.loads(dump_run(hostile("NAME", faster)))).replace(
                "NAME", json.dumps(NAMES[request.param])[1:-1]
            )
        )
        files.append(str(path))
    return NAMES[request.param], files[0], files[1]


def check_text(text: str) -> None:
    """Nothing in it is obeyed, and all of it can be written."""
    assert not {character for character in text if not character.isprintable() and character != "\n"}
    text.encode("utf-8")
    # A name with lines of its own forges none.
    assert not {"| ok |", "**PASS**"} & {line.strip() for line in text.splitlines()}


def test_show(usage: Usage, pair: tuple[str, str, str], tmp_path: Path) -> None:
    name, file, _ = pair
    done = usage("show", file, "--all", "--svg", tmp_path / "shown.svg", variables={"COLUMNS": "400"})
    # A note may say that the file was edited, and names the device.
    assert done.code == 0
    check_text(done.err)
    check_text(done.out)
    picture = (tmp_path / "shown.svg").read_text()
    check_text(picture)
    xml.dom.minidom.parseString(picture)
    if name == NAMES["markup"]:
        assert name in done.out
    if name == NAMES["escape"]:
        assert r"\x1b[2J\x1b[31m\x1b]0;title\x07" in done.out


@pytest.mark.parametrize("columns", [60, 80, 400])
def test_tables_of_any_width(monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str, str], columns: int) -> None:
    """On a narrow terminal rows are folded into records, another renderer's work."""
    from autotune_cli.comparing.decisions import DecisionRule
    from autotune_cli.comparing.exit_status import exit_status, fail_on
    from autotune_cli.comparing.loading import load_side
    from autotune_cli.comparing.report import compare
    from autotune_cli.render.diff_table import print_diff
    from autotune_cli.render.summary import print_run
    from autotune_cli.results.files import read_run

    _, *files = pair
    target = Console(file=io.StringIO(), width=columns)
    print_run(target, read_run(Path(files[0])), True)
    report = compare(load_side([Path(files[0])]), load_side([Path(files[1])]), DecisionRule(threshold=0.01), ())
    print_diff(target, report, exit_status(report, fail_on("slower")), True)
    assert isinstance(target.file, io.StringIO)
    check_text(target.file.getvalue())


@pytest.mark.parametrize("format", ["markdown", "json", "csv"])
def test_show_in_other_formats(usage: Usage, pair: tuple[str, str, str], format: str) -> None:
    done = usage("show", pair[1], "--all", "--format", format)
    assert done.code == 0
    check_text(done.out)
    if format == "markdown":
        check_markdown(done.out, 5)  # each workload has one


@pytest.mark.parametrize("format", ["table", "markdown", "json"])
def test_a_listing(usage: Usage, tmp_path: Path, format: str) -> None:
    for name in NAMES.values():
        trace = hostile_trace(tmp_path / "trace.json", name)
        done = usage("profile", "--from-trace", trace, "--format", format)
        assert done.code == 0
        check_text(done.out)
        if format == "markdown":
            check_markdown(done.out)


@pytest.mark.parametrize("format", ["table", "markdown", "json", "csv"])
def test_diff(usage: Usage, pair: tuple[str, str, str], format: str) -> None:
    name, *files = pair
    done = usage("diff", *files, "--all", "--format", format)
    assert (done.code, done.err) == (1, "")
    check_text(done.out)
    if format == "json":
        assert any(item["label"] == name for item in json.loads(done.out)["candidates"])
    if format == "csv":
        cells = [cell for row in csv.reader(io.StringIO(done.out)) for cell in row]
        assert not [cell for cell in cells if re.match(r"\s*[=+@-]", cell) and not re.fullmatch(r"-?[\d.e-]+", cell)]
    if format == "markdown":
        check_markdown(done.out)


def test_a_comment_is_never_longer_than_github_takes(usage: Usage, tmp_path: Path) -> None:
    for number in (0, 1):
        names = {f"@a{index}" * 99: f"{number}" + "@a" * 300 for index in range(60)}
        environment = ENVIRONMENT.model_copy(update={"libraries": names, "device": "@a" * 300})
        run = run_file(result(), environment=environment)
        (tmp_path / f"{number}.json").write_text(dump_run(run))
    done = usage("diff", tmp_path / "0.json", tmp_path / "1.json", "--all", "--format", "markdown")
    assert done.code == 0
    assert 10_000 < len(done.out) <= 65_000
    check_markdown(done.out)


def check_markdown(text: str, headings: int = 1) -> None:
    """No heading but ours, no picture, link or HTML, one line a row."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "text_special", "softbreak", "strong_open", "strong_close", "code_inline"}
    assert sum(token.type == "heading_open" for token in tokens) <= headings * text.startswith("###")
    assert not any(token.type.startswith("html") for token in tokens)


def hostile_trace(path: Path, name: str) -> Path:
    kernel = {"ph": "X", "cat": "kernel", "ts": 1, "dur": 1, "pid": 0, "tid": 7}
    arguments = {"stream": 7, "correlation": 1, "device": 0}
    events = [
        {**kernel, "name": name, "args": arguments},
        {**kernel, "name": f"k{name}```", "args": arguments},
        {"ph": "X", "cat": "user_annotation", "name": f"phase.{name}", "ts": 0, "dur": 99, "pid": 0, "tid": 1},
    ]
    path.write_text(json.dumps({"schemaVersion": 1, "deviceProperties": [{"name": name}], "traceEvents": events}))
    return path


@pytest.mark.parametrize("format", ["table", "markdown", "json"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_profile(usage: Usage, tmp_path: Path, name: str, format: str) -> None:
    trace = hostile_trace(tmp_path / "trace.json", name)
    done = usage("profile", "--paged", "--from-trace", trace, "--format", format)
    assert (done.code, done.err) == (1, "")
    check_text(done.out)
    if format == "json":
        # A trace's half of a character is shown as soon as it is read.
        assert json.loads(done.out)["devices"] == [shown(name) if name == NAMES["surrogate"] else name]
    if format == "markdown":
        check_markdown(done.out)
        assert "PASS" not in [line.strip("* ") for line in done.out.splitlines()]


def test_a_pasted_rule_can_be_used(usage: Usage, tmp_path: Path) -> None:
    """The line that is shown for a kernel with a control character in its name finds that kernel."""
    trace = hostile_trace(tmp_path / "trace.json", "odd\x1b\nname'\u202e")
    lines = usage("profile", "--paged", "--from-trace", trace).out.splitlines()
    (tmp_path / "own.toml").write_text("\n".join(line.strip() for line in lines if "family = " in line))
    done = usage("profile", "--paged", "--from-trace", trace, "--rules", tmp_path / "own.toml")
    assert done.code == 3  # benign kernels only
    assert "unknown" not in done.out


@pytest.mark.parametrize(
    "name", [*(NAMES[kind] for kind in ("escape", "C1", "bidirectional", "lines")), "not UTF-8 \udcff"]
)
@pytest.mark.parametrize("command", [("show",), ("diff", "x.json"), ("profile", "--paged", "--from-trace")])
def test_errors_about_a_file_of_that_name(usage: Usage, command: tuple[str, ...], name: str) -> None:
    done = usage(*command, name)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    check_text(done.err)


def test_usage_errors(usage: Usage) -> None:
    for arguments in (("diff", "--\x1b[31m"), ("\x1b[31m\n",), ("tune", "--tp", "\x9b")):
        done = usage(*arguments)
        assert (done.code, done.out) == (2, "")
        check_text(done.err)


@pytest.mark.parametrize("watcher", [Lines, LiveTable])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_progress(watcher: type[Lines] | type[LiveTable], name: str) -> None:
    target = Console(file=io.StringIO(), width=200, height=60)
    progress = watcher(target)
    run = hostile(name)
    (first, *_), environment = run.workloads, run.environments["e"]
    progress.begin(environment, SETTINGS, [first.key])
    progress.note(name)
    progress.builds(BuildsState(3, {name: 1.0}, {f"{name}2": 1.0}, {f"{name}3": name}))
    progress.open(first.key, (), [name])
    progress.phase(first.key, "build", name)
    for entry in first.candidates:
        progress.vetted(first.key, entry)
    if isinstance(progress, LiveTable):
        target.print(progress._render())
    progress.done(first)
    if isinstance(progress, LiveTable):
        target.print(progress._render())
    progress.end()
    assert isinstance(target.file, io.StringIO)
    check_text(target.file.getvalue())


def test_the_console_lets_nothing_past() -> None:
    """Also what a renderer forgot to escape."""
    target = Console(file=io.StringIO(), width=60)
    target.print("[red]\x1b[2J[/red] :fire:", "a\u202eb")
    target.print(Text("x\x9by\nz"), soft_wrap=True)
    table = Table("\x1b[1m")
    table.add_row("[bold]\x07", Text("\x1b"))
    target.print(table)
    text = target.file.getvalue()  # type: ignore[attr-defined]
    check_text(text)
    assert r"[red]\x1b[2J[/red] :fire: a\u202eb" in text
    assert "x\\x9by\nz\n" in text


@pytest.mark.parametrize("columns", ["²", "0", "-1", "9" * 30, "99999999", "wide"])
def test_sizes_that_are_none(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    assert 0 < Console(file=io.StringIO()).width < 10_000


def test_records_are_only_copied_where_a_text_changes() -> None:
    plain = run_file(result())
    assert shown_record(plain) is plain
    odd = run_file(result(), program="\x1b")
    copied = shown_record(odd)
    assert (copied.program, odd.program) == (r"\x1b", "\x1b")
    assert copied.workloads is odd.workloads


@pytest.mark.filterwarnings("error")
def test_a_plot_shows_dollars_and_hyphens(usage: Usage, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in (NAMES["escape"], NAMES["html"], "$\\frac{x$ -- --> $$", "中🔴"):
        for number in (0, 1):
            path = tmp_path / f"{number}.json"
            path.write_text(json.dumps(json.loads(dump_run(hostile("NAME")))).replace("NAME", json.dumps(name)[1:-1]))
        done = usage("diff", tmp_path / "0.json", tmp_path / "1.json", "--plot", tmp_path / "plot.svg")
        assert (done.code, done.err) == (0, "")
        xml.dom.minidom.parse(str(tmp_path / "plot.svg"))
