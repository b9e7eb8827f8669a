"""Names that users type, checked against those that exist."""

from __future__ import annotations

from autotune_cli.errors import UnknownName


def backends(text: str | None, has_own: bool = False) -> tuple[str, ...]:
    """Names of backends or libraries, with commas between.

    Names in a user's own kernel file are known to the worker only, so with one any name may be right.

    Raises:
        UnknownName: with the nearest known names.
    """
    if text is None:
        return ()
    from autotune_cli.kernels.registry import REGISTRY

    full = [backend.name for backend in REGISTRY.all()]
    libraries = list(dict.fromkeys(name.split(".")[0] for name in full))
    known = [*libraries, *full]
    result = []
    for part in text.split(","):
        name = part.strip()
        if name not in known and not has_own:
            raise UnknownName("backend", name, known, "autotune kernels", sorted(libraries))
        result.append(name)
    return tuple(result)
