"""Attention problems: the inputs of a batch, its KV cache in pages, and the judge of outputs.

All candidates of a case share its tensors; every page size holds the same logical keys and values. Where queries are
FP8, a logical key is a cached value times ``k_scale``, a logical value one times ``v_scale``.
"""

from __future__ import annotations

import copy
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from autotune_cli.kernels.attention.borders import mark_blocks, mark_window
from autotune_cli.kernels.attention.edges import edge_lengths, edge_trees
from autotune_cli.kernels.attention.paging import PagedKV, PageLayout, indptr, rows_of, spans
from autotune_cli.kernels.attention.reference import AttentionReference, compute_reference, judge
from autotune_cli.kernels.attention.trees import Tree
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.base import LengthPoint
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.geometry import Geometry

if TYPE_CHECKING:
    from autotune_cli.kernels.steps import StepLayer
    from autotune_cli.kernels.workload import AnyWorkload

CASES = ("workload", "edges")
# Logits get a spread of about 1.5: neither uniform weights (then a wrong scale hardly shows) nor one-hot.
KEY_SCALE = 1.5
# In the edge case of a soft-capped model, odd requests get logits with a spread of this share of the cap. Logits
# around 1 would hardly be capped, and a kernel without the cap would pass.
CAPPED_SHARE = 0.2
# What the KV slots beyond a request's length hold. Kernels load whole tiles and multiply masked values by a weight
# of 0, which is legitimate but turns NaN and infinity into NaN; so: finite, and huge enough to ruin what reads it.
GARBAGE = {torch.float8_e4m3fn: 448.0}
GARBAGE_ELSE = 3.0e4
# What cached keys and values are multiplied by where queries are FP8 as well; a calibrated checkpoint has such scales.
# Neither 1 nor equal, so that a kernel that ignores them is wrong. They have 2 and 3 significant bits: a product with
# e4m3's 4 bits is exact in bfloat16, and the ragged new tokens hold the same numbers as the cache.
K_SCALE, V_SCALE = 0.75, 1.25
_CHUNK = 1 << 24


def cases(workload: AnyWorkload) -> tuple[str, ...]:
    """``workload``: itself, timed. ``edges``: a small batch of the same geometry with awkward lengths."""
    return CASES


def make_problem(workload: AnyWorkload, case: str, device: str, seed: int) -> AttentionProblem:
    """Draw the inputs of a case on ``device``; the same seed gives the same inputs there.

    Raises:
        ValueError: an unknown case, another family's workload, or queries that arrive in FP8 (``q_dtype`` casts them).
    """
    if not isinstance(workload, AttentionWorkload):
        raise ValueError(f"{workload.operation} is not an attention workload")
    if workload.geometry.dtype == "float8_e4m3fn":
        raise ValueError("FP8 queries are cast from bfloat16 ones: set q_dtype, not dtype")
    if case == "workload":
        return AttentionProblem(workload, workload.lengths, device, seed, trees=workload.trees)
    if case == "edges" and workload.eagle_topk is not None:
        trees, prefix = zip(*edge_trees(workload), strict=True)
        drafts = tuple(map(len, trees))
        lengths = Lengths(drafts, tuple(new + cached for new, cached in zip(drafts, prefix, strict=True)))
        return AttentionProblem(workload, lengths, device, seed, edges=True, trees=trees)
    if case == "edges":
        return AttentionProblem(workload, edge_lengths(workload), device, seed, edges=True)
    raise ValueError(f"unknown case {case!r}; known: {', '.join(CASES)}")


def step_problem(layer: StepLayer, device: str, seed: int) -> AttentionProblem:
    """The inputs of a layer of a server's step, whose lengths may be others than the workload's.

    Raises:
        ValueError: another family's layer.
    """
    workload = layer.workload
    if not isinstance(workload, AttentionWorkload):
        raise ValueError(f"{workload.operation} is not an attention workload")
    lengths = workload.lengths if layer.lengths is None else Lengths(*layer.lengths)
    return AttentionProblem(workload, lengths, device, seed, trees=layer.trees)


class AttentionProblem:
    """One batch on one device; everything heavy is made when first asked for, and kept.

    ``q`` [queries, query heads, head dim] is in the model's dtype, even if there is a ``q_dtype``: the cast is the
    candidate's, inside ``run``. ``sinks`` [query heads] is float32 on the device, exact in bfloat16 too, or None.
    ``k_scale`` and ``v_scale`` are 1.0 but for FP8 queries.
    """

    def __init__(
        self,
        workload: AttentionWorkload,
        lengths: Lengths,
        device: str,
        seed: int,
        edges: bool = False,
        trees: tuple[Tree, ...] | None = None,
    ) -> None:
        """Draws the inputs.

        Args:
            trees: of each request, where its new tokens are drafts that see their ancestors instead of all before them.

        Raises:
            ValueError: trees that don't have the requests' new tokens.
        """
        if trees is not None and tuple(map(len, trees)) != tuple(lengths.qo):
            raise ValueError(f"trees of {[len(tree) for tree in trees]} drafts for {list(lengths.qo)} new tokens")
        self.workload, self.trees = workload, trees
        self.geometry: Geometry = workload.geometry
        self.lengths = lengths
        self.device = device
        self.graph = workload.mode == "graph"
        self.seed = seed
        self.dtype: torch.dtype = getattr(torch, self.geometry.dtype)
        self.cache_dtype: torch.dtype = getattr(torch, self.geometry.cache_dtype)
        self._edges = edges
        # A logical key is the cache's value times k_scale, a logical value times v_scale.
        scaled = self.geometry.q_dtype is not None
        self.k_scale, self.v_scale = (K_SCALE, V_SCALE) if scaled else (1.0, 1.0)
        self._generator = torch.Generator(device).manual_seed(seed)
        heads, dim = self.geometry.num_kv_heads, self.geometry.head_dim
        # Drawn here and in this order, so that the values don't depend on what candidates ask for first.
        self.q = self._normal(sum(lengths.qo), self.geometry.num_qo_heads, dim, self.dtype, 1.0)
        self._keys = self._normal(sum(lengths.kv), heads, dim, self.cache_dtype, KEY_SCALE / self.k_scale)
        self._values = self._normal(sum(lengths.kv), heads, dim, self.cache_dtype, 1.0 / self.v_scale)
        # [query heads] float32 on the device, exact in bfloat16 as well.
        self.sinks: torch.Tensor | None = self._draw_sinks() if self.geometry.sinks else None
        if edges and self.geometry.softcap is not None:
            for number, (start, stop) in enumerate(spans(lengths.qo)):
                if number % 2:
                    self.q[start:stop] *= CAPPED_SHARE * self.geometry.softcap / KEY_SCALE
        if edges and self.geometry.q_dtype is not None:
            # Kernels that round them and kernels that don't must agree where masks are decided; see FP8_QUERY_LIMITS.
            self.q = self.q.to(getattr(torch, self.geometry.q_dtype)).to(self.dtype)
        if edges and self.geometry.window_left is not None:
            mark_window(self.geometry, lengths, self.q, self._keys, self.k_scale, KEY_SCALE, in_order=trees is None)
        elif edges:
            mark_blocks(self.geometry, lengths, self.q, self._keys, self.k_scale, KEY_SCALE)
        self._pages: dict[int, PagedKV] = {}
        self._ragged: dict[str, torch.Tensor] = {}
        # Names of the inputs that a view's candidate has asked for.
        self._asked: set[str] | None = None
        # By page size; the same wherever the pages lie.
        self._layouts: dict[int, PageLayout] = {}
        self._workspaces: dict[int, torch.Tensor] = {}
        # Of the batch at other lengths, for all copies of this problem.
        self._references: dict[Lengths, AttentionReference] = {}
        # The batch of which this one is at other lengths, and how its pages are cut.
        self._whole: AttentionProblem | None = None
        self._cut_pages: dict[int, PagedKV] = {}

    @cached_property
    def qo_indptr(self) -> torch.Tensor:
        """[batch + 1] int32 on the CPU: where each request's queries begin in ``q``."""
        return indptr(self.lengths.qo)

    @property
    def k(self) -> torch.Tensor:
        """[new tokens, kv heads, head dim]: keys of the new tokens, ragged, in the model's dtype."""
        return self._ragged_part("ragged k", self._keys, self.k_scale)

    @property
    def v(self) -> torch.Tensor:
        return self._ragged_part("ragged v", self._values, self.v_scale)

    @property
    def prefix(self) -> tuple[int, ...]:
        """Tokens of each request before its new ones."""
        return tuple(kv - qo for qo, kv in zip(*self.lengths, strict=True))

    @cached_property
    def reference(self) -> AttentionReference:
        """The exact output; see :mod:`.reference`."""
        if self._whole is None:
            return self._computed(self._keys, self._values)
        if self.lengths not in self._references:
            pairs = zip(spans(self._whole.lengths.kv), self.lengths.kv, strict=True)
            kept = [slice(start, start + tokens) for (start, _), tokens in pairs]
            cut = [
                torch.cat([_bits(part)[each] for each in kept]).view(part.dtype) for part in (self._keys, self._values)
            ]
            self._references[self.lengths] = self._computed(*cut)
        return self._references[self.lengths]

    def _computed(self, keys: torch.Tensor, values: torch.Tensor) -> AttentionReference:
        return compute_reference(
            self.geometry,
            self.lengths,
            self.q,
            keys,
            values,
            sinks=self.sinks,
            k_scale=self.k_scale,
            v_scale=self.v_scale,
            trees=self.trees,
            causal=self.workload.causal,
        )

    def paged(self, page_size: int, part: Literal["all", "prefix"] = "all") -> PagedKV:
        """The KV cache in pages of ``page_size``: all tokens, or the ones before each request's new tokens."""
        if self._whole is not None:
            if page_size not in self._cut_pages:
                self._cut_pages[page_size] = self._whole.paged(page_size).up_to(self.lengths.kv)
            cut = self._cut_pages[page_size]
            return cut if part == "all" else cut.up_to(self.prefix)
        self._ask(*_names(page_size))
        whole = self._pages.get(page_size)
        if whole is None:
            whole = self._pages[page_size] = self._fill_pages(page_size)
        if part == "all":
            return whole
        return whole.up_to(self.prefix)

    def workspace(self, size: int) -> torch.Tensor:
        """``size`` bytes (uint8), zero at first, shared by all candidates that ask for as much."""
        if size not in self._workspaces:
            self._workspaces[size] = torch.zeros(size, dtype=torch.uint8, device=self.device)
        return self._workspaces[size]

    def inputs(self) -> Mapping[str, torch.Tensor]:
        """Tensors that no candidate may change. Ask after a candidate is prepared: pages are made on demand."""
        held = {"q": self.q, "keys": self._keys, "values": self._values, **self._ragged}
        if self.sinks is not None:
            held["sinks"] = self.sinks
        for page_size, pages in self._pages.items():
            held |= zip(_names(page_size), (pages.k, pages.v), strict=True)
        if self._asked is None:
            return held
        return {name: tensor for name, tensor in held.items() if name in self._asked or name in ("q", "sinks")}

    def view(self) -> AttentionProblem:
        other = copy.copy(self)
        other._asked = set()
        return other

    def at(self, point: LengthPoint) -> AttentionProblem:
        """A decode step at other lengths, none of them longer: each request's first keys, in the same pages.

        What lies behind them are the keys of the longer step, which would change the output.
        """
        other = copy.copy(self)
        other.__dict__.pop("reference", None)
        other.lengths, other._whole, other._cut_pages = self.workload.lengths_at(point.context), self, {}
        return other

    @property
    def batch(self) -> int:
        """Requests."""
        return len(self.lengths.kv)

    def rows_of(self, requests: Sequence[int]) -> list[int]:
        """Rows of ``q``, and of an output, that are those requests'."""
        return rows_of(self.lengths.qo, requests)

    def of_requests(self, requests: Sequence[int]) -> AttentionProblem:
        """Only these requests, in that order, also more than once: a batch of its own, in pages of its own."""
        other = copy.copy(self)
        for made in ("qo_indptr", "reference"):
            other.__dict__.pop(made, None)
        other.workload = self.workload.model_copy(update={"batch": len(requests)})
        other.lengths = Lengths(*(tuple(tokens[number] for number in requests) for tokens in self.lengths))
        other.trees = None if self.trees is None else tuple(self.trees[number] for number in requests)
        other.q = self.q[self.rows_of(requests)]
        keys = rows_of(self.lengths.kv, requests)
        other._keys, other._values = (_bits(part)[keys].view(part.dtype) for part in (self._keys, self._values))
        other._pages, other._layouts, other._ragged, other._references = {}, {}, {}, {}
        return other

    def check(self, output: Any) -> Verdict:
        """Judge ``out`` or ``(out, lse)``; limits and measures: :func:`.reference.judge`."""
        return judge(output, self.reference, self.geometry, self.lengths, exact_queries=self._edges)

    def moved(self) -> AttentionProblem:
        other = copy.copy(self)
        # All but the reference lies elsewhere too.
        other.q, other._keys, other._values = (part.clone() for part in (self.q, self._keys, self._values))
        other.sinks = None if self.sinks is None else self.sinks.clone()
        other._pages, other._ragged, other._workspaces = {}, {}, {}
        return other

    def for_graphs(self) -> AttentionProblem:
        view = copy.copy(self)
        view.graph = True
        return view

    def _normal(self, tokens: int, heads: int, dim: int, dtype: torch.dtype, scale: float) -> torch.Tensor:
        """Normal values, drawn in float32 a chunk at a time (64 MiB) so that a large cache fits."""
        result = torch.empty(tokens, heads, dim, dtype=dtype, device=self.device)
        step = max(1, _CHUNK // (heads * dim))
        for start in range(0, tokens, step):
            shape = (min(step, tokens - start), heads, dim)
            drawn = torch.randn(shape, generator=self._generator, device=self.device)
            result[start : start + step] = (drawn * scale).to(dtype)
        return result

    def _draw_sinks(self) -> torch.Tensor:
        """Sinks of a size that matters: even heads' are about the log-sum-exp of a usual row, which halves its output.

        The others' are about 0, as trained ones are often: they weigh on short rows only. They differ, so that a kernel
        that takes another head's is wrong.
        """
        window = self.geometry.window_left
        seen = [kv - qo // 2 for qo, kv in zip(*self.lengths, strict=True)]
        usual = statistics.median(seen if window is None else [min(n, window + 1) for n in seen])
        # Logits have a spread of about KEY_SCALE: the mean of their exponentials is exp(KEY_SCALE^2 / 2).
        heads = self.geometry.num_qo_heads
        sinks = torch.randn(heads, generator=self._generator, device=self.device)
        sinks[::2] = 0.5 * sinks[::2] + math.log(usual) + KEY_SCALE**2 / 2
        return sinks.bfloat16().float()

    def _ask(self, *names: str) -> None:
        if self._asked is not None:
            self._asked.update(names)

    def _ragged_part(self, name: str, cached: torch.Tensor, scale: float) -> torch.Tensor:
        self._ask(name)
        if name not in self._ragged:
            self._ragged[name] = self._new(cached, scale)
        return self._ragged[name]

    def _new(self, cached: torch.Tensor, scale: float) -> torch.Tensor:
        """The new tokens' part. FP8 keys and values widen exactly, so all layouts hold the same numbers."""
        new = cached
        if self.lengths.qo != self.lengths.kv:
            ends = itertools.accumulate(self.lengths.kv)
            parts = [cached[end - qo : end] for qo, end in zip(self.lengths.qo, ends, strict=True)]
            new = torch.cat([_bits(part) for part in parts]).view(cached.dtype)
        new = new.to(self.dtype)
        return new if scale == 1.0 else new * scale

    def _fill_pages(self, page_size: int) -> PagedKV:
        layout = self._layouts.get(page_size)
        if layout is None:
            layout = self._layouts[page_size] = PageLayout.draw(page_size, self.lengths.kv, self.seed, self.device)
        shape = (1 + layout.pages, page_size, self.geometry.num_kv_heads, self.geometry.head_dim)
        caches = []
        for logical in (self._keys, self._values):
            garbage = GARBAGE.get(self.cache_dtype, GARBAGE_ELSE)
            cache = torch.empty(shape, dtype=self.cache_dtype, device=self.device).fill_(garbage)
            _bits(cache).view(-1, *shape[2:]).index_copy_(0, layout.rows, _bits(logical))
            caches.append(cache)
        return PagedKV(page_size, caches[0], caches[1], layout.tables, self.lengths.kv)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """FP8 as bytes: torch indexes and joins FP8 tensors only in part."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.float8_e4m3fn else tensor


def _names(page_size: int) -> tuple[str, str]:
    """Of the two inputs of a page size."""
    return f"k in pages of {page_size}", f"v in pages of {page_size}"
