"""Settings that the user has fixed: ``page_size=64``."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.planning.server import Server

_FIELD = "pin"
DEFAULT = "default"
"""What pins a knob to what the engine does by itself."""


def parse_pins(server: Server, version: str | None, texts: Sequence[str]) -> dict[str, str]:
    """Values of knobs by name; an option that stands for several (``attention-backend``) pins each.

    Args:
        texts: ``page_size=64``, ``attention-backend=fa3``, ``page_size=default``; dashes and underscores are alike.

    Raises:
        UnknownName: no such setting, or no such value of it.
        BadField: no ``=``, or a setting that is pinned to two values.
    """
    knobs = {knob.name: knob for knob in server.knobs(version)}
    names = [*server.together, *knobs]
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.lstrip("-")
        known = {each.replace("_", "-").lower(): each for each in names}.get(name.replace("_", "-").lower())
        if known is None:
            raise UnknownName(f"setting of {server.table.title}", name, names)
        if not equals or not value:
            raise BadField(_FIELD, f"{text!r} has no value: {known}=VALUE")
        for single in server.together.get(known, (known,)):
            if single not in knobs:
                continue
            allowed = server.values(knobs[single])
            usual = "" if knobs[single].variable else server.table.defaults[single]
            taken = "" if value in (DEFAULT, usual) else value
            if taken not in allowed:
                shown = dict.fromkeys([usual or DEFAULT, *filter(None, allowed)])
                raise UnknownName(f"value of {server.table.title}'s {known}", value, shown)
            if found.setdefault(single, taken) != taken:
                raise BadField(_FIELD, f"{single} is pinned to two values")
    return found
