"""From a dataclass of options to a command: what Typer is told, and what the command gets."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import pytest
import typer

from autotune_cli.app import app
from autotune_cli.commands.declaring import Said, declared, in_panel, options_of
from autotune_cli.commands.helping import Entry, HelpfulGroup
from autotune_cli.commands.kinds import Counts, Share
from autotune_cli.commands.options import shared

Names = Annotated[str | None, typer.Option(help="Some names.", metavar="NAMES")]
EXAMPLES = "autotune toy"


@dataclass(frozen=True)
class ToyOptions:
    names: Annotated[Names, Said("Which", "Other names.")] = None
    plain: Names = None
    sizes: Annotated[tuple[int, ...] | None, typer.Option(metavar="N", rich_help_panel="Which"), Counts()] = None
    share: Annotated[float, typer.Option(metavar="PERCENT"), Share()] = 0.25
    loud: Annotated[bool, typer.Option("--loud")] = False


GOT: list[ToyOptions] = []


def toy(options: ToyOptions) -> None:
    """A toy."""
    GOT.append(options)


def call(*words: str) -> ToyOptions:
    command: Any = Entry(toy).build("toy")
    GOT.clear()
    with command.make_context("toy", list(words)) as context:
        command.invoke(context)
    (options,) = GOT
    return options


def test_the_command_gets_values() -> None:
    assert call() == ToyOptions()
    words = ("--names", "a,b", "--sizes", "1,2,1", "--share", "5%", "--loud")
    assert call(*words) == ToyOptions("a,b", None, (1, 2), 0.05, True)


def test_a_command_says_an_alias_otherwise_and_the_alias_stays() -> None:
    command: Any = Entry(toy).build("toy")
    text = command.get_help(typer.Context(command))
    assert re.search("--names NAMES +Other names.", text)
    assert re.search("--plain NAMES +Some names.", text)
    assert text.index("Which:") < text.index("--names") < text.index("--plain")
    # As it would be typed.
    assert "[default: 25%]" in text
    assert in_panel(ToyOptions, "Which") == ("names", "sizes")


def test_a_field_that_is_no_option_is_a_fault_of_the_program() -> None:
    @dataclass(frozen=True)
    class Bad:
        text: str = ""

    def bad(options: Any) -> None: ...

    bad.__annotations__["options"] = Bad
    with pytest.raises(TypeError, match="text is no option"):
        declared(bad)


def test_every_command_has_frozen_options() -> None:
    for entry in HelpfulGroup.entries.values():
        assert options_of(entry.function).__dataclass_params__.frozen


def test_what_two_commands_say_alike_is_declared_once() -> None:
    group: Any = typer.main.get_command(app)
    said: dict[tuple[str, str], set[str]] = {}
    for name in HelpfulGroup.entries:
        for param in group.get_command(typer.Context(group), name).params:
            if param.param_type_name == "option" and param.name != "help":
                said.setdefault((param.name, param.help), set()).add(name)
    shared_helps = {extra.help for alias in vars(shared).values() for extra in get_args(alias)[1:2]}
    alike = {key for key, commands in said.items() if len(commands) > 1}
    assert len(alike) > 5
    assert {text for _, text in alike} <= shared_helps


def test_options_are_called_as_their_fields_whatever_typer_makes_of_a_metavar() -> None:
    """Typer 0.27 takes ``--NAMES`` for the name of an option whose metavar is NAMES."""
    parameters = inspect.signature(declared(toy)).parameters.values()
    named = {parameter.name: get_args(parameter.annotation)[1].param_decls for parameter in parameters}
    assert named == {name: (f"--{name}",) for name in ("names", "plain", "sizes", "share")} | {"loud": ()}
