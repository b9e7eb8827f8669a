"""Workloads of a toy family: sums over rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import PositiveInt

from autotune_cli.kernels.base import LENGTHS_RULE, BaseWorkload, Mode, Spread


class SumsWorkload(BaseWorkload):
    """The sum of each of ``rows`` rows of ``width`` float32 numbers."""

    operation: Literal["sums.rows"]
    rows: PositiveInt
    width: PositiveInt
    mode: Mode
    spread: Spread = "even"
    lengths_rule: int = LENGTHS_RULE

    @property
    def shape(self) -> str:
        return f"{self.rows} x {self.width}"

    @property
    def key(self) -> str:
        return f"{self.operation} {self.shape} {self.mode}"

    @property
    def title(self) -> str:
        return f"{self.operation} toy"

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"rows": self.rows, "width": self.width}

    @property
    def cells(self) -> tuple[str, str]:
        return str(self.rows), str(self.width)

    @property
    def situation(self) -> Mapping[str, Any]:
        return {}
