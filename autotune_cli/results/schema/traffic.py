"""The traffic that a suite was made from, and what of it each workload stands for (docs/traffic.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from autotune_cli.results.schema.base import FileRecord

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Traffic(FileRecord):
    """What a server did, in logs or as it was simulated from them."""

    digest: str
    """First 16 hex digits of a SHA-256 of all batches: equal ones are the same traffic under the same rules."""
    files: tuple[str, ...]
    """Names without folders, with what each was read as: ``azure.csv (lengths and times)``."""
    requests: NonNegativeInt = 0
    """Requests that were simulated; 0: batches were recorded, and nothing was simulated."""
    prompt_tokens: NonNegativeInt = 0
    """Of these requests, those included that lay in the cache."""
    output_tokens: NonNegativeInt = 0
    steps: PositiveInt
    """Forward passes of the server."""
    scheduler: str = ""
    """The rules and numbers by which they were simulated, in words; empty: they were recorded."""

    @property
    def label(self) -> str:
        """``azure.csv (lengths and times), 0123abcd``."""
        return f"{', '.join(self.files)}, {self.digest[:8]}"


class StandsFor(FileRecord):
    """The steps of a server that a workload stands for. Ranges are the least and the most."""

    steps: PositiveInt
    layers: PositiveInt
    """Layers of the model that run it in each of these steps; of kinds whose number isn't known, 1."""
    step_share: _Share
    """Of the server's steps. A step that prefills and decodes has two workloads, each with its share."""
    time_share: _Share
    """Of the time of all workloads, as it was estimated from bytes and operations before anything was measured."""
    batch: tuple[PositiveInt, PositiveInt]
    """Requests."""
    context: tuple[PositiveInt, PositiveInt]
    """Keys of a request, the mean of each step's; new ones included."""
    new: tuple[PositiveInt, PositiveInt] = (1, 1)
    """New tokens of a request, the mean of each step's."""
