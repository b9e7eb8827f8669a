"""Is the cache on? An option beats our variable, which beats SGLang's, which beats the default (on)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from autotune_cli.errors import BadVariable

CACHE_VARIABLES = ("AUTOTUNE_CACHE", "SGLANG_FLASHINFER_AUTOTUNE_CACHE")
CACHE_DEFAULT = True

# SGLang's EnvBool (sglang/srt/environ.py): lower case, not stripped; anything else warns and takes the default.
_TRUE = frozenset({"true", "1", "yes", "y"})
_FALSE = frozenset({"false", "0", "no", "n"})
NEITHER = "neither yes (true, 1, yes, y) nor no (false, 0, no, n)"


class Toggle(NamedTuple):
    """A yes or no, and where it came from."""

    on: bool
    source: str
    """``option``, the variable's name or ``default``."""
    warning: str | None = None
    """Names the variable and the value that could not be read."""


def parse_bool(value: str) -> bool | None:
    """As SGLang reads a variable: true/1/yes/y, false/0/no/n in any case; None for anything else."""
    lowered = value.lower()
    if lowered in _TRUE:
        return True
    return False if lowered in _FALSE else None


def cache_toggle(option: bool | None, environ: Mapping[str, str]) -> Toggle:
    """Whether results are reused and kept.

    Args:
        option: what was asked for; None: nothing was.
        environ: such as ``os.environ``. The first of ``CACHE_VARIABLES`` that is set decides; an empty one isn't.

    Raises:
        BadVariable: neither a yes nor a no.
    """
    if option is not None:
        return Toggle(option, "option")
    for name in CACHE_VARIABLES:
        value = environ.get(name)
        if not value:
            continue
        parsed = parse_bool(value)
        # Not SGLang's default with a warning: AUTOTUNE_CACHE=off is written for a purpose.
        if parsed is None:
            raise BadVariable(variable=name, value=value, detail=f"is {NEITHER}")
        return Toggle(parsed, name)
    return Toggle(CACHE_DEFAULT, "default")
