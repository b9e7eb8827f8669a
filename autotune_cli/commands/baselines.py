"""``--engine`` and ``--baseline``: what winners are held to, and which of it the table shows."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_cli.kernels.engines import Baseline, parse_baseline, standard_baselines

# A server's environment is taken to be this one's; other variables choose no kernel of an engine.
_PREFIX = "SGLANG_"


def chosen_baselines(
    engine: str, named: str | None, device_kind: str, environ: Mapping[str, str]
) -> tuple[tuple[Baseline, ...], str | None]:
    """The engine's default first, what is measured beside it, and the one that the user named; and that one's name.

    Raises:
        UnknownName: an engine, an option of it or a value that doesn't exist.
        BadField: an option without its value.
    """
    variables = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
    found = standard_baselines(engine.strip().lower(), device_kind, variables)
    if named is None:
        return found, None
    wanted = parse_baseline(named, variables)
    return (found if wanted in found else (*found, wanted)), wanted.name
