"""Requests of a log, as few of a huge one as can be simulated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from autotune_cli.kernels.models.options import MOST

MOST_REQUESTS = 100_000
"""That are simulated of one log. A simulation of so many takes seconds."""
_BLOCK = 5_000
"""Requests that stay together where not all are kept: a server's batch is made of those that are there at a time."""


class Request(NamedTuple):
    """One request that a server answered."""

    arrival: float
    """Seconds, from any time on."""
    prompt: int
    """Tokens, at least 1."""
    output: int
    """Tokens, at least 1."""
    cached: int = 0
    """Tokens of the prompt that lay in the prefix cache; less than ``prompt``."""


@dataclass
class Log:
    """What a log says of a server's requests."""

    about: str
    """What it was read as, in words."""
    requests: list[Request] = field(default_factory=list)
    seen: int = 0
    """Requests in the log, those left out for their number among them."""
    timed: bool = True
    """False: it has no times of arrival; all requests wait from the beginning."""
    most_in_flight: int | None = None
    """Requests that a benchmark keeps under way; None: as many as arrive."""
    step_s: float | None = None
    """Seconds of a decode step, measured between tokens; None: not told."""
    notes: list[str] = field(default_factory=list)

    def in_order(self) -> list[Request]:
        """By arrival; a note where the log has them otherwise."""
        late = sum(after.arrival < before.arrival for before, after in pairwise(self.requests))
        if late:
            self.notes.append(f"{late:,} requests arrived before the one above them: sorted by their times")
        return sorted(self.requests, key=lambda request: request.arrival)


class Keeper:
    """Keeps requests of a log, all of up to ``most``; of more, blocks that lie evenly in it.

    The rule needs one pass: each time that too many are kept, every second block is dropped, and from then on only as
    few are taken. Memory stays bounded whatever the log's size.
    """

    def __init__(self, log: Log, most: int = MOST_REQUESTS, block: int = _BLOCK) -> None:
        self._log = log
        self._most = most
        self._block = block
        self._stride = 1
        self._blocks: list[list[Request]] = []

    @property
    def wants_next(self) -> bool:
        """False: the next request would be left out, and :meth:`skip` is as good as adding it."""
        return not self._log.seen // self._block % self._stride

    def skip(self) -> None:
        """Count a request that is left out."""
        self._log.seen += 1

    def add(self, request: Request) -> None:
        number = self._log.seen // self._block
        self._log.seen += 1
        if number % self._stride:
            return
        if number // self._stride == len(self._blocks):
            if (len(self._blocks) + 1) * self._block > self._most:
                self._blocks = self._blocks[::2]
                self._stride *= 2
                if number % self._stride:
                    return
            self._blocks.append([])
        self._blocks[-1].append(request)

    def close(self) -> None:
        """Hand the log what was kept."""
        log = self._log
        log.requests = [request for block in self._blocks for request in block]
        if len(log.requests) < log.seen:
            log.notes.append(
                f"{len(log.requests):,} of {log.seen:,} requests are simulated, in blocks of {self._block:,} that lie "
                "evenly in the log"
            )


def tokens(value: object) -> int | str:
    """A number of tokens, at least 1; or what is wrong with it.

    Args:
        value: as JSON has it, or a text.
    """
    if isinstance(value, str):
        # What nearly all are, of millions.
        if len(value) < 8 and value.isascii() and value.isdigit() and (number := int(value)):
            return number
        text = value.strip()
        digits = text[1:] if text[:1] in "+-" else text
        if not (digits.isascii() and digits.isdigit()):
            # A spreadsheet may have written 512.0.
            value = _as_float(text)
        else:
            value = int(text) if len(digits) <= 18 else math.inf
    if isinstance(value, float):
        if math.isnan(value):
            return "is not a number"
        if value == math.inf or abs(value) > MOST:
            return f"is above {MOST:,}, more than any context"
        if not value.is_integer():
            return "is no whole number"
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return "is no whole number"
    if value < 0:
        return "is negative"
    if value == 0:
        return "is zero"
    return value if value <= MOST else f"is above {MOST:,}, more than any context"


def _as_float(text: str) -> float | str:
    try:
        # float() takes the digits of every script.
        return float(text) if text.isascii() else text
    except ValueError:
        return text
