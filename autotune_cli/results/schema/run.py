"""One run, or the cache of a name: the whole file."""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, model_validator

from autotune_cli.results.schema.base import FileRecord
from autotune_cli.results.schema.conditions import Environment, Settings
from autotune_cli.results.schema.traffic import Traffic
from autotune_cli.results.schema.workload import WorkloadResult

SCHEMA_VERSION: Final = 2


class FlashinferChoices(FileRecord):
    """What FlashInfer's own autotuner chose for the operations of FlashInfer's candidates."""

    file: str | None = None
    """Its choices, as FlashInfer writes and reads them: a path from the folder of ``cache/`` and ``runs/``. None: there
    was nothing to tune."""
    choices: NonNegativeInt = 0
    """In the file, of the run and of those before it."""
    new: NonNegativeInt = 0
    """Made in the run."""

    @model_validator(mode="after")
    def _file_has_choices(self) -> FlashinferChoices:
        if (self.file is None) != (self.choices == 0) or self.new > self.choices:
            raise ValueError("a file has choices, at least the new ones, and no file has none")
        return self


class RunFile(FileRecord):
    """One run, or the cache of a name."""

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["run", "cache"]
    name: str
    created: str
    """ISO 8601, UTC."""
    program: str
    """``kernel-autotune 0.1.0``."""
    command: tuple[str, ...]
    environments: dict[str, Environment]
    """By short hash. A run has one, on a cluster one a device; a cache may hold several of one device too."""
    environment: str
    """That of the run which wrote the file."""
    settings: Settings
    traffic: Traffic | None = None
    """What the workloads' weights are of; None: they have none."""
    noise_floor: NonNegativeFloat | None = None
    """95th percentile of the workloads' A/A differences."""
    complete: bool = True
    """False: interrupted or out of budget before every workload was judged."""
    wall_s: NonNegativeFloat = 0.0
    flashinfer: FlashinferChoices | None = None
    """None: none of FlashInfer's candidates was measured, or it wasn't recorded."""
    workloads: tuple[WorkloadResult, ...]

    @model_validator(mode="after")
    def _workloads_are_unique(self) -> RunFile:
        """One result a workload and device."""
        missing = {self.environment, *(workload.environment for workload in self.workloads)} - set(self.environments)
        if missing:
            raise ValueError(f"environment {min(missing)} is named but not there")
        seen = [(workload.key, self.environments[workload.environment].device) for workload in self.workloads]
        if len(set(seen)) != len(seen):
            raise ValueError("a workload is there twice for one device")
        return self

    @property
    def device(self) -> Environment:
        """The environment of the run which wrote the file."""
        return self.environments[self.environment]

    def is_complete(self, device: str) -> bool:
        """Is what the file has of a device all that was asked for? A cache keeps whether the last run was cut short,
        which says nothing of other devices.
        """
        return self.complete or device != self.device.device


def schema_text() -> str:
    """What docs/run.schema.json holds."""
    return json.dumps(RunFile.model_json_schema(), indent=2) + "\n"
