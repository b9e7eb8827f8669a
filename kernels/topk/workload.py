"""Workloads of top-k: rows of scores to select from. Data only; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import PositiveInt, model_validator

from autotune_cli.kernels.base import (
    DISTRIBUTIONS,
    LENGTHS_RULE,
    BaseWorkload,
    CapturedScores,
    Distribution,
    DType,
    Mode,
    Spread,
    spread_lengths,
)

TopkOperation = Literal["topk.select"]


class TopkWorkload(BaseWorkload):
    """The ``k`` largest of each of ``rows`` rows of up to ``width`` float32 scores, as int32 indices."""

    operation: TopkOperation
    rows: PositiveInt
    width: PositiveInt
    k: PositiveInt
    dtype: DType = "float32"
    mode: Mode
    spread: Spread = "even"
    """``even``: every row is full, known on the host. ``uneven``: lengths differ, known on the GPU only."""
    distributions: tuple[Distribution, ...] = DISTRIBUTIONS
    """Scores on which a candidate must be right; it is timed on the first."""
    lengths_rule: int = LENGTHS_RULE
    captured: CapturedScores | None = None
    """Scores from a file, on which a candidate is timed, and must be right beside the distributions."""

    @model_validator(mode="after")
    def _has_scores(self) -> TopkWorkload:
        if not self.distributions:
            raise ValueError("at least one distribution of scores is needed")
        file = self.captured
        if file is not None and (file.rows, file.width, file.dtype) != (self.rows, self.width, self.dtype):
            raise ValueError("captured scores have another shape or type")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        """Valid scores of each row."""
        if self.captured is not None and self.captured.lengths is not None:
            return self.captured.lengths
        return spread_lengths(self.width, self.rows, self.spread)

    @property
    def shape(self) -> str:
        return f"{self.rows} x {self.width}"

    @property
    def key(self) -> str:
        even = "" if self.spread == "even" else " uneven"
        scores = "" if self.distributions == DISTRIBUTIONS else f" scores {','.join(self.distributions)}"
        file = "" if self.captured is None else f" captured {self.captured.digest}"
        return f"{self.operation} {self.shape}{even} k{self.k} {self.mode} {self.dtype}{file}{scores}"

    @property
    def title(self) -> str:
        """The operation, and whether it selects from captured scores."""
        return self.operation if self.captured is None else f"{self.operation} captured"

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"rows": self.rows, "width": self.width, "k": self.k}

    @property
    def cells(self) -> tuple[str, str]:
        """Rows, and their width."""
        return str(self.rows), f"{'' if self.spread == 'even' else '≤'}{self.width}"

    @property
    def situation(self) -> Mapping[str, Any]:
        """Only DeepSeek sparse attention selects keys so."""
        return {"attention": "dsa", "k": self.k}

    @classmethod
    def of_captured(
        cls, file: CapturedScores, operation: str, k: int, mode: Mode, distributions: tuple[Distribution, ...]
    ) -> TopkWorkload:
        """A selection from captured scores."""
        shape = {"rows": file.rows, "width": file.width, "dtype": file.dtype, "captured": file}
        spread = "even" if file.lengths is None else "uneven"
        given = {"operation": operation, "k": k, "mode": mode, "spread": spread, "distributions": distributions}
        return cls.model_validate(given | shape)

    @classmethod
    def select(cls, *, rows: int, width: int, k: int, mode: Mode = "eager") -> TopkWorkload:
        """A selection from full rows."""
        return cls(operation="topk.select", rows=rows, width=width, k=k, mode=mode)
