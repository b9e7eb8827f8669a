"""What A and B are: arguments, ``--base`` and ``--new``."""

from __future__ import annotations

from typing import Any

from autotune_cli.commands.helping import HelpfulCommand

# Options that take several values up to the next option: --base a1.json a2.json.
_SEVERAL = ("--base", "--new")


class DiffCommand(HelpfulCommand):
    """Lets ``--base`` and ``--new`` take several values, which click can't."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, several(args))


def several(args: list[str]) -> list[str]:
    """``--base a b --new c`` as ``--base a --base b --new c``."""
    result: list[str] = []
    option: str | None = None
    for index, arg in enumerate(args):
        if arg == "--":
            return [*result, *args[index:]]
        if arg in _SEVERAL:
            option = arg
            if index + 1 == len(args) or args[index + 1].startswith("-"):
                result.append(arg)  # click says that a value is missing
        elif arg.startswith("-") or option is None:
            option = None
            result.append(arg)
        else:
            result += [option, arg]
    return result


def split_sides(sides: list[str], base: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """What A and B are: ``A B``, ``B --base A``, ``A --new B``, or ``--base A --new B``.

    Raises:
        AutotuneError: too few, too many, or it can't be told which is which.
    """
    from autotune_cli.errors import AutotuneError, BadField

    if base and new:
        if sides:
            raise AutotuneError(detail=f"{sides[0]}: a third side beside --base and --new")
        return base, new
    if base or new:
        given, other = ("base", "new") if base else ("new", "base")
        if not sides:
            raise BadField(
                field=given,
                detail=f"the other side is missing: name it with --{other}, or in front of --{given}",
            )
        if len(sides) > 1:
            raise BadField(field=given, detail=f"the other side is {len(sides)} arguments: use --{other} for several")
        return (base, sides) if base else (sides, new)
    if len(sides) != 2:
        found = {0: "no side is named", 1: "only one side is named"}.get(len(sides), f"{len(sides)} sides are named")
        raise AutotuneError(detail=f"diff: {found}: autotune diff A B, or --base A... --new B...")
    return [sides[0]], [sides[1]]
