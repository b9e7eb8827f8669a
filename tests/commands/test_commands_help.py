"""--help is quick, as nothing heavy is imported; and it is whole: groups, examples, summaries, plain words."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer

from autotune_cli.app import app
from autotune_cli.commands.helping import HelpfulGroup
from autotune_cli.kernels.models import model_names

# Typer itself imports pydantic, if that is installed, for a command with options.
HEAVY = ("torch", "numpy", "pandas", "rich", "flashinfer", "sgl_kernel", "triton", "filelock", "pynvml")

SCRIPT = """
import sys
sys.argv = ["autotune", *{arguments!r}]
from autotune_cli.app import main
try:
    main()
except SystemExit as error:
    assert not error.code, error.code
print("LOADED", *sorted(name for name in sys.modules if name in {heavy!r}))
"""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--help",), "tune"),
        (("tune", "--help"), "--no-cache"),
        (("kernels", "--help"), "--kernels"),
        (("verify", "--help"), "--base"),
        (("--version",), "kernel-autotune"),
    ],
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], text: str) -> None:
    script = SCRIPT.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert text in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED", done.stdout.splitlines()[-1]


def test_the_parent_of_a_run_never_imports_torch() -> None:
    """All of the engine but what runs in a worker."""
    script = (
        "import sys, autotune_cli.tuning.run, autotune_cli.render.watch_table, autotune_cli.render.summary, "
        "autotune_cli.kernels.models\nfrom autotune_cli.kernels.registry import REGISTRY\nREGISTRY.all()\n"
        "print(*sorted({'torch', 'flashinfer', 'sgl_kernel', 'triton'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- what it says ----------------------------------------------------------------------------------------------------

COMMANDS = list(HelpfulGroup.entries)
GROUP: Any = typer.main.get_command(app)


def command(name: str) -> Any:
    return GROUP.get_command(GROUP.make_context("autotune", [], resilient_parsing=True), name)


def help_of(name: str = "", columns: int = 80) -> str:
    """The text of ``autotune <name> --help`` on a terminal."""
    whole = GROUP.make_context("autotune", [name], resilient_parsing=True, terminal_width=columns)
    if not name:
        return str(GROUP.get_help(whole))
    chosen = command(name)
    return str(chosen.get_help(chosen.make_context(name, [], parent=whole, resilient_parsing=True)))


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``autotune`` as a process."""
    line = [sys.executable, "-m", "autotune_cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **variables})


def test_the_list_of_commands_has_whole_summaries() -> None:
    text = help_of()
    assert "..." not in text.replace("[ARGS]...", "")
    words = " ".join(text.split())
    for name, entry in HelpfulGroup.entries.items():
        summary = " ".join((inspect.getdoc(entry.function) or "").partition("\n\n")[0].split())
        assert f"{name} {summary}" in words


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_the_help_and_none_with_a_python_type(name: str) -> None:
    text = help_of(name)
    options = [param for param in command(name).params if param.param_type_name == "option"]
    assert len(options) > 1
    for option in options:
        assert re.search(rf"^  (-\w, )?{option.opts[-1]}( |$)", text, re.MULTILINE), option.opts
    assert not re.search(r"<(str|path|int|float|bool|list.*)>|\[str\]|\bPath\b|\bTEXT\b|\bINTEGER\b|\bFLOAT\b", text)
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("name", ["tune", "profile", "diff"])
def test_options_are_in_groups_each_once_and_help_comes_last(name: str) -> None:
    text = help_of(name)
    titles = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert len(titles) == len(set(titles)) > 4
    assert titles[-2:] == ["Options", "Examples"]
    assert " ".join(text.split("Options:")[1].split("Examples:")[0].split()) == "-h, --help Show this message and exit."


@pytest.mark.parametrize("name", COMMANDS)
def test_two_examples_that_parse(name: str) -> None:
    examples = [line.strip() for line in help_of(name).partition("Examples:\n")[2].strip().splitlines()]
    assert len(examples) == 2
    for example in examples:
        program, called, *arguments = shlex.split(example)
        assert (program, called) == ("autotune", name)
        command(name).make_context(name, arguments).close()  # raises where an option is unknown or lacks its value


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_fit_and_can_be_copied_where_they_are_long(name: str) -> None:
    text = help_of(name, columns=60)
    assert max(len(line) for line in text.splitlines()) <= 60
    narrow, wide = (
        [" ".join(shlex.split(line)) for line in part.replace("\\\n", "").strip().splitlines()]
        for part in (shown.partition("Examples:\n")[2] for shown in (text, help_of(name, columns=200)))
    )
    assert narrow == wide


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("tune", "--xyz"), "no such option: --xyz (see 'autotune tune -h')"),
        (("tun",), "no such command 'tun'. Did you mean 'tune'? (see 'autotune -h')"),
        (("show", "a", "b\n"), "got unexpected extra argument(s) (b\\x0a) (see 'autotune show -h')"),
        (("--nope",), "no such option: --nope (see 'autotune -h')"),
        (("tune", "--model"), "option '--model' requires an argument"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_told_as_every_error_is(arguments: tuple[str, ...], line: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {line}\n")


def test_without_arguments_the_help_is_told() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands:" in done.stderr


@pytest.mark.parametrize("arguments", [("-h",), *[(name, "-h") for name in COMMANDS]])
def test_short_help_is_help(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        GROUP(list(arguments))
    assert ended.value.code == 0


@pytest.mark.parametrize("name", ["tune", "profile"])
def test_a_question_mark_for_a_model_lists_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Whatever else is wrong: who asks for the names gets them.
    for more in ([], ["--tp", "0"]):
        with pytest.raises(SystemExit) as ended:
            GROUP([name, "--model", "?", *more])
        assert ended.value.code == 0
        assert capsys.readouterr().out.split() == list(model_names())


def test_a_misspelt_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        GROUP(["tun"])
    assert ended.value.code == 2
    assert "Did you mean 'tune'?" in capsys.readouterr().err


def test_the_version() -> None:
    assert run("--version").stdout == run("-V").stdout == "kernel-autotune 0.1.0\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("autotune s", ["show"]),
        ("autotune tune --mod", ["--model", "--mode"]),
        ("autotune tune --model llama-3.1-8", ["llama-3.1-8b"]),
        ("autotune diff a.json b.json --format m", ["markdown"]),
        ("autotune diff a.json b.json --fail-on s", ["slower", "status"]),
        ("autotune diff a.json b.json --fail-on slower,", ["slower,choice", "slower,status", "slower,ambiguous"]),
        ("autotune diff a.json b.json --allow-different t", ["timer"]),
    ],
)
def test_the_shell_completes(typed: str, offered: list[str]) -> None:
    """As bash asks, with the script of ``--show-completion``; the program's name chooses the variable."""
    program = "import sys; sys.argv = ['autotune']; from autotune_cli.app import main; main()"
    variables = {
        "_AUTOTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **variables}
    )
    assert sorted(done.stdout.split()) == sorted(offered)
