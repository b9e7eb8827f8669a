"""Problems of latent attention: a batch's absorbed queries, its cache in pages, and the judge of outputs.

All candidates of a case share its tensors; every page size holds the same tokens.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import torch

from autotune_cli.kernels.attention.borders import key_for, long_requests, usual_logit
from autotune_cli.kernels.attention.paging import PagedKV, PageLayout, rows_of, spans
from autotune_cli.kernels.attention.problem import GARBAGE, GARBAGE_ELSE
from autotune_cli.kernels.attention.reference import AttentionReference
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.mla.batch import LOGIT_SPREAD, LatentBatch
from autotune_cli.kernels.mla.plain import PlainProblem
from autotune_cli.kernels.mla.reference import compute_reference
from autotune_cli.kernels.mla.workload import MlaWorkload

if TYPE_CHECKING:
    from autotune_cli.kernels.workload import AnyWorkload

CASES = ("workload", "edges")


@dataclass(frozen=True)
class LatentPages(PagedKV):
    """A cache of latent vectors in pages: ``k`` is their rotated part, ``v`` their latent part, both views of ``pool``.

    Page 0 belongs to nobody and holds garbage; the requests' pages are scattered at random.
    """

    pool: torch.Tensor
    """[pages, page_size, width] in the cache's dtype, the latent part first, as SGLang and FlashMLA keep it."""

    @property
    def ckv(self) -> torch.Tensor:
        """[pages, page_size, kv_lora_rank], a view."""
        return self.v[:, :, 0]

    @property
    def kpe(self) -> torch.Tensor:
        """[pages, page_size, qk_rope_head_dim], a view."""
        return self.k[:, :, 0]

    def cut(self, counts: Sequence[int]) -> LatentPages:
        """Only the first ``counts[i]`` tokens of request ``i``."""
        kept = self.up_to(counts)
        return LatentPages(self.page_size, self.k, self.v, kept.tables, kept.lengths, self.pool)

    @cached_property
    def host_lengths(self) -> torch.Tensor:
        """[batch] int32 on the CPU: tokens of each request."""
        return torch.tensor(self.lengths, dtype=torch.int32)


def cases(workload: AnyWorkload) -> tuple[str, ...]:
    """``workload``: itself, timed. ``edges``: a small batch of the same geometry with awkward lengths."""
    return CASES


def make_problem(
    workload: AnyWorkload, case: str, device: str, seed: int
) -> MlaProblem | PlainProblem | SelectedProblem:
    """Draw the inputs of a case on ``device``; the same seed gives the same inputs there.

    Raises:
        ValueError: an unknown case, another family's workload, or FP8 queries.
    """
    if not isinstance(workload, MlaWorkload):
        raise ValueError(f"{workload.operation} is no latent attention")
    if workload.latent.dtype == "float8_e4m3fn":
        raise ValueError("queries are bfloat16, float16 or float32; only the cache may be FP8")
    if case not in CASES:
        raise ValueError(f"unknown case {case!r}; known: {', '.join(CASES)}")
    lengths = workload.lengths if case == "workload" else edge_lengths(workload)
    if workload.operation == "attention.mla_prefill":
        return PlainProblem(workload, lengths, device, seed)
    if workload.operation == "attention.mla_sparse_decode":
        return SelectedProblem(workload, lengths, device, seed, edges=case == "edges")
    return MlaProblem(workload, lengths, device, seed, marked=case == "edges")


def edge_lengths(workload: MlaWorkload) -> Lengths:
    """Lengths around the page sizes 16, 64 and 128, and (extend, prefill on a prefix) with and without a prefix."""
    if workload.operation == "attention.mla_prefill" and workload.new == workload.context:
        new = (1, 15, 16, 17, 63, 64, 65, 130, 257)
        return Lengths(new, new)
    if workload.operation in ("attention.mla_extend", "attention.mla_prefill"):
        pairs = [(1, 0), (5, 15), (16, 16), (17, 0), (1, 63), (33, 65), (65, 64), (3, 127), (2, 400)]
        return Lengths(tuple(new for new, _ in pairs), tuple(new + prefix for new, prefix in pairs))
    # 1045 keys: more than one part under every KV split that is tried.
    kv = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 1045)
    return Lengths((1,) * len(kv), kv)


class MlaProblem(LatentBatch):
    """Absorbed queries and the latent cache in pages.

    ``q_nope`` [queries, heads, kv_lora_rank] has the up-projection of keys absorbed, ``q_pe`` [queries, heads,
    qk_rope_head_dim] is rotated; both are in the model's dtype. The output is [queries, heads, kv_lora_rank].
    """

    def __init__(
        self, workload: MlaWorkload, lengths: Lengths, device: str, seed: int, *, marked: bool = False
    ) -> None:
        """Draws the inputs.

        Args:
            marked: keys at the borders of blocks weigh much in long requests, see :meth:`_mark_blocks`.
        """
        super().__init__(workload, lengths, device, seed)
        self.cache_dtype: torch.dtype = getattr(torch, self.geometry.cache_dtype)
        g, queries = self.geometry, sum(lengths.qo)
        # A logit sums ``width`` products, times the scale.
        spread = LOGIT_SPREAD / (g.scale * math.sqrt(g.width))
        # Drawn here and in this order, so that the values don't depend on what candidates ask for first.
        self.q_nope = self._normal((queries, g.num_heads, g.kv_lora_rank), self.dtype, 1.0)
        self.q_pe = self._normal((queries, g.num_heads, g.qk_rope_head_dim), self.dtype, 1.0)
        self._tokens = self._normal((sum(lengths.kv), g.width), self.cache_dtype, spread)
        if marked:
            self._mark_blocks()
        self._joined: dict[str, torch.Tensor] = {}
        self._pages: dict[int, LatentPages] = {}
        self._layouts: dict[int, PageLayout] = {}
        # Of the batch at other lengths, for all copies of this problem.
        self._references: dict[Lengths, AttentionReference] = {}
        # The batch of which this one is at other lengths, and how its pages are cut.
        self._whole: MlaProblem | None = None
        self._cut_pages: dict[int, LatentPages] = {}

    def _mark_blocks(self) -> None:
        """As :func:`~autotune_cli.kernels.attention.borders.mark_blocks`, for the first head. The latent part is the
        value too, so only the rotated one is changed: values stay unlike each other.
        """
        g = self.geometry
        for row, start, marked, count in long_requests(self.lengths):
            level = usual_logit(count, LOGIT_SPREAD, len(marked))
            places = start + torch.tensor(marked, device=self.device)
            latent = _bits(self._tokens)[places, : g.kv_lora_rank].view(self.cache_dtype).float()
            # What the rotated part has to add to the latent one's share of the logit.
            missing = level - g.scale * (latent @ self.q_nope[row, 0].float())
            made = key_for(self.q_pe[row, 0].float(), 1.0, g.scale) * missing[:, None]
            _bits(self._tokens)[places, g.kv_lora_rank :] = _bits(made.to(self.cache_dtype))

    @property
    def q(self) -> torch.Tensor:
        """[queries, heads, width]: both parts in one tensor, the latent one first."""
        self._ask("q")
        if "q" not in self._joined:
            self._joined["q"] = torch.cat([self.q_nope, self.q_pe], dim=-1)
        return self._joined["q"]

    @cached_property
    def reference(self) -> AttentionReference:
        if self._whole is None:
            return compute_reference(self.geometry, self.lengths, self.q_nope, self.q_pe, self._tokens)
        if self.lengths not in self._references:
            pairs = zip(spans(self._whole.lengths.kv), self.lengths.kv, strict=True)
            kept = torch.cat([_bits(self._tokens)[start : start + tokens] for (start, _), tokens in pairs])
            self._references[self.lengths] = compute_reference(
                self.geometry, self.lengths, self.q_nope, self.q_pe, kept.view(self._tokens.dtype)
            )
        return self._references[self.lengths]

    def at(self, point: LengthPoint) -> Self:
        """A decode step at other lengths, none of them longer: each request's first tokens, in the same pages.

        What lies behind them are the tokens of the longer step, which would change the output.
        """
        other = copy.copy(self)
        other.__dict__.pop("reference", None)
        other.lengths, other._whole, other._cut_pages = self.workload.lengths_at(point.context), self, {}
        return other

    def paged(self, page_size: int) -> LatentPages:
        """The cache in pages of ``page_size``, new tokens included."""
        if self._whole is not None:
            if page_size not in self._cut_pages:
                self._cut_pages[page_size] = self._whole.paged(page_size).cut(self.lengths.kv)
            return self._cut_pages[page_size]
        self._ask(f"pages of {page_size}")
        if page_size not in self._pages:
            self._pages[page_size] = self._fill_pages(page_size)
        return self._pages[page_size]

    def moved(self) -> Self:
        other = copy.copy(self)
        # All but the reference lies elsewhere too.
        other.q_nope, other.q_pe, other._tokens = (part.clone() for part in (self.q_nope, self.q_pe, self._tokens))
        other._pages, other._joined, other._workspaces = {}, {}, {}
        return other

    def _take(self, whole: Self, requests: Sequence[int]) -> None:
        queries = whole.rows_of(requests)
        self.q_nope, self.q_pe = whole.q_nope[queries], whole.q_pe[queries]
        self._tokens = _bits(whole._tokens)[rows_of(whole.lengths.kv, requests)].view(whole._tokens.dtype)
        self._pages, self._joined, self._layouts = {}, {}, {}

    def inputs(self) -> Mapping[str, torch.Tensor]:
        queries = {"q_nope": self.q_nope, "q_pe": self.q_pe}
        made = {**self._joined, **{f"pages of {size}": pages.pool for size, pages in self._pages.items()}}
        if self._asked is None:
            return {**queries, "tokens": self._tokens, **made}
        return queries | {name: tensor for name, tensor in made.items() if name in self._asked}

    def _fill_pages(self, page_size: int) -> LatentPages:
        layout = self._layouts.get(page_size)
        if layout is None:
            layout = self._layouts[page_size] = PageLayout.draw(page_size, self.lengths.kv, self.seed, self.device)
        width, rank = self.geometry.width, self.geometry.kv_lora_rank
        pool = torch.empty(1 + layout.pages, page_size, width, dtype=self.cache_dtype, device=self.device)
        pool.fill_(GARBAGE.get(self.cache_dtype, GARBAGE_ELSE))
        _bits(pool).view(-1, width).index_copy_(0, layout.rows, _bits(self._tokens))
        heads = pool[:, :, None]
        return LatentPages(page_size, heads[..., rank:], heads[..., :rank], layout.tables, self.lengths.kv, pool)


class SelectedProblem(MlaProblem):
    """A decode step that reads the tokens which an indexer selected.

    ``selected`` [requests, index_topk] int32 on the device: places of tokens in their request, in no order, each once,
    and -1 where there is none: behind the others, as there are fewer tokens; of the edge case between them too, as a
    top-k may leave it (SGLang #30645).
    """

    def __init__(self, workload: MlaWorkload, lengths: Lengths, device: str, seed: int, edges: bool = False) -> None:
        super().__init__(workload, lengths, device, seed)
        assert workload.index_topk is not None
        shuffle = torch.Generator().manual_seed(seed)
        rows = torch.full((len(lengths.kv), workload.index_topk), -1, dtype=torch.int32)
        for number, (row, tokens) in enumerate(zip(rows, lengths.kv, strict=True)):
            chosen = torch.randperm(tokens, generator=shuffle, dtype=torch.int32)[: workload.index_topk]
            row[: len(chosen)] = chosen
            if edges and number % 2:
                # Half of them are missing, but one, and what is left lies anywhere.
                row[len(chosen) // 2 + 1 :] = -1
                row.copy_(row[torch.randperm(len(row), generator=shuffle)])
        self.selected = rows.to(device)
        self._slots: dict[int, torch.Tensor] = {}

    def slots(self, page_size: int) -> torch.Tensor:
        """[requests, index_topk] int32 on the device: where ``selected`` lies in a cache seen as one row of tokens; -1
        stays. What a server's top-k hands to the kernel.
        """
        self._ask(f"slots in pages of {page_size}")
        if page_size not in self._slots:
            table, place = self.paged(page_size).block_tables.long(), self.selected.long().clamp(min=0)
            found = table.gather(1, place // page_size) * page_size + place % page_size
            self._slots[page_size] = torch.where(self.selected < 0, -1, found).int()
        return self._slots[page_size]

    @cached_property
    def reference(self) -> AttentionReference:
        parts = self._tokens.split(list(self.lengths.kv))
        kept = [_bits(part)[row[row >= 0].long()] for part, row in zip(parts, self.selected, strict=True)]
        lengths = Lengths(self.lengths.qo, tuple(map(len, kept)))
        tokens = torch.cat(kept).view(self._tokens.dtype)
        return compute_reference(self.geometry, lengths, self.q_nope, self.q_pe, tokens)

    def moved(self) -> Self:
        other = super().moved()
        other.selected, other._slots = self.selected.clone(), {}
        return other

    def _take(self, whole: Self, requests: Sequence[int]) -> None:
        super()._take(whole, requests)
        self.selected, self._slots = whole.selected[list(requests)], {}

    def inputs(self) -> Mapping[str, torch.Tensor]:
        made = {f"slots in pages of {size}": slots for size, slots in self._slots.items()}
        if self._asked is not None:
            made = {name: tensor for name, tensor in made.items() if name in self._asked}
        return {**super().inputs(), "selected": self.selected, **made}


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """FP8 as bytes: torch indexes FP8 tensors only in part."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.float8_e4m3fn else tensor
