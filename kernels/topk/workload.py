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

TopkOperation = Literal["topk.select", "topk.paged", "topk.ragged", "topk.indexer"]
"""``select``: positions in a row. Fused with what SGLang's sparse attention reads next: ``paged``, slots of a KV cache,
by a page table; ``ragged``, indices of keys that lie one behind the other. ``indexer``: as ``paged``, with the scores,
which are computed from an indexer's FP8 queries and keys: what a decode step pays."""


PAGED: tuple[TopkOperation, ...] = ("topk.paged", "topk.indexer")
"""Those whose keys lie in pages."""


class TopkWorkload(BaseWorkload):
    """The ``k`` largest of each of ``rows`` rows of up to ``width`` scores, as int32 indices."""

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
    page_size: PositiveInt = 1
    """Keys of a page; of ``topk.paged``."""
    requests: PositiveInt | None = None
    """Requests whose queries the rows are, in equal shares, each query seeing one key more than the one before it.
    None: each row is one request's (decode)."""
    packed: bool = False
    """A row holds scores of all requests' keys side by side, of which its window is its own request's (extend)."""
    batch_idx_list: bool = False
    """The requests are some rows of a larger page table, in another order (prefill context parallelism)."""
    index_heads: PositiveInt | None = None
    """Query heads whose products with a key are a score; of ``topk.indexer``."""
    index_dim: PositiveInt | None = None
    """Numbers of a query and of a key; of ``topk.indexer``."""

    @model_validator(mode="after")
    def _has_scores(self) -> TopkWorkload:
        if not self.distributions:
            raise ValueError("at least one distribution of scores is needed")
        file = self.captured
        if file is not None and (file.rows, file.width, file.dtype) != (self.rows, self.width, self.dtype):
            raise ValueError("captured scores have another shape or type")
        return self

    @model_validator(mode="after")
    def _fits_its_operation(self) -> TopkWorkload:
        paged, fused = self.operation in PAGED, self.operation != "topk.select"
        if self.page_size & (self.page_size - 1):
            raise ValueError("page_size is no power of two")
        if not paged and (self.page_size > 1 or self.batch_idx_list):
            raise ValueError("only topk.paged and topk.indexer have pages")
        if not fused and (self.requests is not None or self.packed):
            raise ValueError("only fused selections have requests")
        if self.request_count > self.rows or self.keys < 1:
            raise ValueError("more requests than rows, or than scores of a row")
        if self.packed and self.requests is None:
            raise ValueError("packed rows are of several requests")
        computed = self.operation == "topk.indexer"
        if (self.index_heads is None or self.index_dim is None) == computed:
            raise ValueError("index_heads and index_dim are of topk.indexer, which needs both")
        if computed and (self.requests is not None or self.batch_idx_list or self.captured is not None):
            raise ValueError("topk.indexer is a decode step: a query of each request, whose scores it computes")
        return self

    @property
    def request_count(self) -> int:
        return self.rows if self.requests is None else self.requests

    @property
    def queries(self) -> tuple[int, ...]:
        """Rows of each request."""
        each, more = divmod(self.rows, self.request_count)
        return tuple(each + (number < more) for number in range(self.request_count))

    @property
    def keys(self) -> int:
        """Most keys of a request: the widest window of a row."""
        return self.width // self.request_count if self.packed else self.width

    @property
    def lengths(self) -> tuple[int, ...]:
        """Valid scores of each row."""
        if self.captured is not None and self.captured.lengths is not None:
            return self.captured.lengths
        lengths = spread_lengths(self.keys, self.request_count, self.spread)
        return tuple(
            max(0, length - after)
            for length, queries in zip(lengths, self.queries, strict=True)
            for after in reversed(range(queries))
        )

    @property
    def shape(self) -> str:
        return f"{self.rows} x {self.width}"

    @property
    def key(self) -> str:
        even = "" if self.spread == "even" else " uneven"
        scores = "" if self.distributions == DISTRIBUTIONS else f" scores {','.join(self.distributions)}"
        file = "" if self.captured is None else f" captured {self.captured.digest}"
        return f"{self.operation} {self.shape}{even}{self._batch} k{self.k} {self.mode} {self.dtype}{file}{scores}"

    @property
    def _batch(self) -> str:
        """`` page64 4 requests packed``, as far as a fused selection has it."""
        page = f" page{self.page_size}" if self.operation in PAGED else ""
        page += "" if self.index_heads is None else f" heads {self.index_heads}x{self.index_dim}"
        requests = "" if self.requests is None else f" {self.requests} requests"
        return page + requests + " packed" * self.packed + " batch_idx_list" * self.batch_idx_list

    @property
    def title(self) -> str:
        """The operation, with its pages and requests, and whether it selects from captured scores."""
        return f"{self.operation}{self._batch}{'' if self.captured is None else ' captured'}"

    @property
    def full_shape(self) -> str:
        """``64 x ≤65536`` of uneven lengths: suites have that shape with even ones too."""
        return " x ".join(self.cells)

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
        return {"attention": "dsa", "k": self.k, "packed": self.packed}

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
