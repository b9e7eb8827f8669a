"""What a backend is registered with, and what its hooks return: checked, so that a slip is told where it was made.

A text is a sequence of its letters to Python, so ``knobs={"mode": "fast"}`` would be four candidates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

# More than a run could ever vet, and some 700 MB in each of two processes: what is above may have no end.
MOST_CANDIDATES = 1_000_000
_DEVICES = ("cuda", "cpu")


def checked_operations(operations: Iterable[Any], known: Collection[str]) -> tuple[str, ...]:
    """The operations of a backend.

    Raises:
        ValueError: an unknown one, or none.
    """
    named = tuple(operations)
    unknown = [str(operation) for operation in named if operation not in known]
    if unknown or not named:
        raise ValueError(f"unknown operation {', '.join(unknown) or '(none)'}; known: {', '.join(known)}")
    return named


def checked_name(name: Any) -> str:
    """A backend's name.

    Raises:
        ValueError: no text.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the name of a backend is a text, not {name!r}")
    return name


def checked_knobs(backend: str, knobs: Any) -> Mapping[str, tuple[Any, ...]] | Callable[..., Any]:
    """The values of each knob; or the function that yields them, as it is.

    Raises:
        ValueError: a knob has one value where a list of values is meant, or none.
    """
    if knobs is None or callable(knobs):
        return knobs or {}
    if not isinstance(knobs, Mapping):
        raise ValueError(f"backend {backend}: knobs={knobs!r} is neither a mapping nor a function")
    table: dict[str, tuple[Any, ...]] = {}
    for name, values in knobs.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"backend {backend}: knob {name!r} is no name of an argument")
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ValueError(
                f"backend {backend}: knob {name}={values!r} is no list of values; one value is ({values!r},)"
            )
        # A set has another order in each process, and the order decides ties.
        ordered = sorted(values, key=repr) if isinstance(values, set | frozenset) else values
        table[name] = tuple(itertools.islice(ordered, MOST_CANDIDATES + 1))
        if not table[name]:
            raise ValueError(f"backend {backend}: knob {name} has no values, so there is no candidate")
        if len(table[name]) > MOST_CANDIDATES:
            raise ValueError(f"backend {backend}: knob {name} has more than {MOST_CANDIDATES:,} values")
    return table


def checked_texts(backend: str, argument: str, values: Any) -> tuple[str, ...]:
    """A tuple of texts, such as ``requires``.

    Raises:
        ValueError: one text, or something else.
    """
    if isinstance(values, str):
        raise ValueError(f"backend {backend}: {argument}={_short(values)} is no list; one is ({_short(values)},)")
    listed = tuple(values) if isinstance(values, Iterable) else (None,)
    if not all(isinstance(value, str) for value in listed):
        raise ValueError(f"backend {backend}: {argument}={_short(values)} is no list of texts")
    return listed


def checked_values(backend: str, argument: str, values: Any) -> Mapping[str, Any]:
    """Values by the names of knobs, such as ``promises``.

    Raises:
        ValueError: no mapping of names.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"backend {backend}: {argument}={_short(values)} is no mapping of knobs to values")
    return dict(values)


def checked_devices(backend: str, values: Any) -> tuple[str, ...]:
    """As :func:`checked_texts`, of known kinds of devices."""
    devices = checked_texts(backend, "devices", values)
    unknown = [device for device in devices if device not in _DEVICES]
    if unknown or not devices:
        raise ValueError(f"backend {backend}: devices={devices!r}; known: {', '.join(map(repr, _DEVICES))}")
    return devices


def yielded_knobs(backend: str, settings: Any) -> Iterator[tuple[tuple[str, Any], ...]]:
    """The candidates of a knobs function.

    Raises:
        ValueError: it yields no mappings of names.
    """
    if not isinstance(settings, Iterable) or isinstance(settings, str | bytes | Mapping):
        raise ValueError(f"backend {backend}: its knobs function returned {_short(settings)}, not a list of mappings")
    for each in settings:
        if not isinstance(each, Mapping) or not all(isinstance(name, str) for name in each):
            raise ValueError(f"backend {backend}: its knobs function yielded {_short(each)}, not knobs by name")
        yield tuple(each.items())


def checked_reason(backend: str, reason: Any) -> str | None:
    """What ``unsupported`` returned.

    Raises:
        ValueError: neither a reason nor None. ``True`` may mean either.
    """
    if reason is None or (isinstance(reason, str) and reason.strip()):
        return reason
    raise ValueError(
        f"backend {backend}: unsupported returned {_short(reason)}; it returns the reason as text, or None where the "
        "candidate applies"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
