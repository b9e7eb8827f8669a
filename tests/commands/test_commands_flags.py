"""The engine names fields of a request; on the terminal they are options."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import typer

import autotune_cli
from autotune_cli.app import app
from autotune_cli.commands.flags import flag, with_flags
from autotune_cli.errors import AutotuneError, BadField, NoMemory
from autotune_cli.fields import Field, Message, joined

ROOT = Path(autotune_cli.__file__).parent
KERNELS = ROOT.parent / "kernels"
# Where a field is named: {fields.batch}, Field("tp", ...), BadField(field="new", ...), parse_numbers("batch", ...).
NAMES = re.compile(
    r"""\{fields\.(\w+)\}|\bField\(\s*"(\w+)"|\bBadField\(\s*(?:field=)?"(\w+)"|\bparse_numbers\("(\w+)"""
)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Field("page_size"), "--page-size"),
        (Field("mode", "idle"), "--mode idle"),
        (Field("tp", 0), "--tp 0"),
        (Field("cache", True), "--cache"),
        (Field("cache", False), "--no-cache"),
    ],
)
def test_flags(field: Field, words: str) -> None:
    assert flag(field) == words


def test_a_message_is_text_with_the_fields_own_names() -> None:
    message = Message("{mode} needs {fields.page_size}: {what!r}", mode=Field("mode", "graph"), what="{x}")
    assert message == "mode=graph needs page_size: '{x}'"
    assert with_flags(message) == "--mode graph needs --page-size: '{x}'"
    assert with_flags(pickle.loads(pickle.dumps(message))) == with_flags(message)
    assert with_flags("{fields.x} of a user's") == "{fields.x} of a user's"


def test_messages_within_messages() -> None:
    inner = Message("give {fields.context}")
    assert with_flags(joined("; ", ("a {b}", inner))) == "a {b}; give --context"
    error = AutotuneError(detail=Message("{why} {fields.new}", why=inner))
    assert str(error) == "give context new"
    assert str(error.naming(flag)) == "give --context --new"


def test_a_template_names_fields() -> None:
    error = NoMemory(workload="w", needed_gb=3.0, device="d", available_gb=1.0)
    assert str(error).endswith("narrow it with batch or context")
    assert str(error.naming(flag)).endswith("narrow it with --batch or --context")
    assert str(BadField("page_size", "is empty").naming(flag)) == "--page-size: is empty"


def options() -> set[str]:
    """Every option of every command, without its dashes."""
    group = typer.main.get_command(app)
    names = group.list_commands(typer.Context(group))  # type: ignore[attr-defined]
    commands = [group.get_command(typer.Context(group), name) for name in names]  # type: ignore[attr-defined]
    params = [param for command in commands for param in command.params]
    return {option for param in params for option in (*param.opts, *param.secondary_opts)}


def test_every_field_that_the_engine_names_is_an_option() -> None:
    known, found = options(), set()
    files = [*ROOT.rglob("*.py"), *KERNELS.rglob("*.py")]
    for path in files:
        for match in NAMES.finditer(path.read_text(encoding="utf-8")):
            if path.name not in ("fields.py", "flags.py"):
                found.add(flag(Field(next(filter(None, match.groups())))))
    assert len(found) > 20
    # A config.json has fields too, which are no options.
    assert found - {"--model-type"} <= known


def test_no_engine_code_names_an_option() -> None:
    """Options of other programs (SGLang's, nvcc's) are not ours."""
    known = {option for option in options() if option.startswith("--")} - {"--page-size"}
    quoted = re.compile(r"""(?<!SGLang, )(?<![\w-])(--[a-z][a-z-]+)""")
    mine = ("commands", "render", "app.py", "outermost.py", "fields.py")
    # Whole command lines, docker's too, a recorded one that is read, and a reason that is kept in result files.
    told = {("naming.py", "--no-cache"), ("_fa3.py", "--q-dtype"), ("suite.py", "--tp"), ("examine.py", "--timer")}
    told |= {("gpus.py", "--gpus"), ("examine.py", "--gpus"), ("plan.py", "--baseline")}
    # What of a recorded command is left out of the one that is told.
    told |= {("plan.py", "--budget"), ("plan.py", "--resume")}
    found = {
        (path.name, match[1])
        for path in [*ROOT.rglob("*.py"), *KERNELS.rglob("*.py")]
        if not set(mine) & set(path.relative_to(ROOT.parent).parts)
        for match in quoted.finditer(path.read_text(encoding="utf-8"))
        if match[1] in known
    }
    assert found <= told
