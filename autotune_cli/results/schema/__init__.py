"""The result file: one JSON document a run. Validated on read; published as docs/run.schema.json.

Times are microseconds unless a field's name says otherwise. Illegal states can't be written: a candidate that was
measured has rounds, one that wasn't has a reason.
"""

from __future__ import annotations

from autotune_cli.results.schema.base import FileRecord
from autotune_cli.results.schema.candidate import (
    FAILED,
    MEASURED,
    CandidateResult,
    CaseEvidence,
    HostTime,
    Kernel,
    KnobValue,
    PropertyVerdict,
    Status,
)
from autotune_cli.results.schema.conditions import Ceilings, Conditions, Environment, Settings
from autotune_cli.results.schema.run import SCHEMA_VERSION, FlashinferChoices, RunFile, schema_text
from autotune_cli.results.schema.traffic import StandsFor, Traffic
from autotune_cli.results.schema.workload import BaselineResult, Choice, ConstraintCost, WorkloadResult

__all__ = [
    "FAILED",
    "MEASURED",
    "SCHEMA_VERSION",
    "BaselineResult",
    "CandidateResult",
    "CaseEvidence",
    "Ceilings",
    "Choice",
    "Conditions",
    "ConstraintCost",
    "Environment",
    "FileRecord",
    "FlashinferChoices",
    "HostTime",
    "Kernel",
    "KnobValue",
    "PropertyVerdict",
    "RunFile",
    "Settings",
    "StandsFor",
    "Status",
    "Traffic",
    "WorkloadResult",
    "schema_text",
]
