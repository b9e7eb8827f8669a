"""Problems of latent attention: a batch's absorbed queries, its cache in pages, and the judge of outputs.

All candidates of a case share its tensors; every page size holds the same tokens.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from autotune_cli.kernels.attention.problem import GARBAGE, GARBAGE_ELSE, PagedKV, indptr
from autotune_cli.kernels.attention.reference import Reference
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.mla.reference import compute_reference, judge
from autotune_cli.kernels.mla.workload import MlaWorkload

if TYPE_CHECKING:
    from autotune_cli.kernels.workload import AnyWorkload

CASES = ("workload", "edges")
# Logits get a spread of about 1.5, as in attention: neither uniform weights nor one-hot.
LOGIT_SPREAD = 1.5
_CHUNK = 1 << 24


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

    @cached_property
    def host_lengths(self) -> torch.Tensor:
        """[batch] int32 on the CPU: tokens of each request."""
        return torch.tensor(self.lengths, dtype=torch.int32)


def cases(workload: AnyWorkload) -> tuple[str, ...]:
    """``workload``: itself, timed. ``edges``: a small batch of the same geometry with awkward lengths."""
    return CASES


def make_problem(workload: AnyWorkload, case: str, device: str, seed: int) -> MlaProblem:
    """Draw the inputs of a case on ``device``; the same seed gives the same inputs there.

    Raises:
        ValueError: an unknown case, another family's workload, or FP8 queries.
    """
    if not isinstance(workload, MlaWorkload):
        raise ValueError(f"{workload.operation} is no latent attention")
    if workload.latent.dtype == "float8_e4m3fn":
        raise ValueError("queries are bfloat16, float16 or float32; only the cache may be FP8")
    if case == "workload":
        return MlaProblem(workload, workload.lengths, device, seed)
    if case == "edges":
        return MlaProblem(workload, edge_lengths(workload), device, seed)
    raise ValueError(f"unknown case {case!r}; known: {', '.join(CASES)}")


def edge_lengths(workload: MlaWorkload) -> Lengths:
    """Lengths around the page sizes 16, 64 and 128, and (extend) with and without a prefix."""
    if workload.operation == "attention.mla_extend":
        pairs = [(1, 0), (5, 15), (16, 16), (17, 0), (1, 63), (33, 65), (65, 64), (3, 127), (2, 400)]
        return Lengths(tuple(new for new, _ in pairs), tuple(new + prefix for new, prefix in pairs))
    # 1045 keys: more than one part under every KV split that is tried.
    kv = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 1045)
    return Lengths((1,) * len(kv), kv)


class MlaProblem:
    """One batch on one device; what is heavy is made when first asked for, and kept.

    ``q_nope`` [queries, heads, kv_lora_rank] has the up-projection of keys absorbed, ``q_pe`` [queries, heads,
    qk_rope_head_dim] is rotated; both are in the model's dtype. The output is [queries, heads, kv_lora_rank].
    """

    def __init__(self, workload: MlaWorkload, lengths: Lengths, device: str, seed: int) -> None:
        self.workload = workload
        self.geometry = workload.latent
        self.lengths = lengths
        self.device = device
        self.graph = workload.mode == "graph"
        self.seed = seed
        self.dtype: torch.dtype = getattr(torch, self.geometry.dtype)
        self.cache_dtype: torch.dtype = getattr(torch, self.geometry.cache_dtype)
        self._generator = torch.Generator(device).manual_seed(seed)
        g, queries = self.geometry, sum(lengths.qo)
        # A logit sums ``width`` products, times the scale.
        spread = LOGIT_SPREAD / (g.scale * math.sqrt(g.width))
        # Drawn here and in this order, so that the values don't depend on what candidates ask for first.
        self.q_nope = self._normal((queries, g.num_heads, g.kv_lora_rank), self.dtype, 1.0)
        self.q_pe = self._normal((queries, g.num_heads, g.qk_rope_head_dim), self.dtype, 1.0)
        self._tokens = self._normal((sum(lengths.kv), g.width), self.cache_dtype, spread)
        self._pages: dict[int, LatentPages] = {}
        self._workspaces: dict[int, torch.Tensor] = {}

    @cached_property
    def q(self) -> torch.Tensor:
        """[queries, heads, width]: both parts in one tensor, the latent one first."""
        return torch.cat([self.q_nope, self.q_pe], dim=-1)

    @cached_property
    def qo_indptr(self) -> torch.Tensor:
        """[batch + 1] int32 on the CPU: where each request's queries begin."""
        return indptr(self.lengths.qo)

    @cached_property
    def reference(self) -> Reference:
        """The exact output; see :mod:`.reference`."""
        return compute_reference(self.geometry, self.lengths, self.q_nope, self.q_pe, self._tokens)

    def paged(self, page_size: int) -> LatentPages:
        """The cache in pages of ``page_size``, new tokens included."""
        if page_size not in self._pages:
            self._pages[page_size] = self._fill_pages(page_size)
        return self._pages[page_size]

    def workspace(self, size: int) -> torch.Tensor:
        """``size`` bytes (uint8), zero at first, shared by all candidates that ask for as much."""
        if size not in self._workspaces:
            self._workspaces[size] = torch.zeros(size, dtype=torch.uint8, device=self.device)
        return self._workspaces[size]

    def inputs(self) -> list[torch.Tensor]:
        """Tensors that no candidate may change. Ask after a candidate is prepared: pages are made on demand."""
        joined = self.__dict__.get("q")
        held = [self.q_nope, self.q_pe, self._tokens, *([] if joined is None else [joined])]
        return held + [pages.pool for pages in self._pages.values()]

    def check(self, output: Any) -> Verdict:
        """Judge ``out`` or ``(out, lse)``; limits and measures: :func:`.reference.judge`."""
        return judge(output, self.reference, self.geometry, self.lengths)

    def moved(self) -> MlaProblem:
        other = copy.copy(self)
        # Made from the tensors: all but the reference lies elsewhere too.
        other.__dict__.pop("q", None)
        other.q_nope, other.q_pe, other._tokens = (part.clone() for part in (self.q_nope, self.q_pe, self._tokens))
        other._pages, other._workspaces = {}, {}
        return other

    def for_graphs(self) -> MlaProblem:
        view = copy.copy(self)
        view.graph = True
        return view

    def _normal(self, shape: tuple[int, ...], dtype: torch.dtype, scale: float) -> torch.Tensor:
        """Normal values, drawn in float32 a chunk at a time (64 MiB) so that a large cache fits."""
        result = torch.empty(shape, dtype=dtype, device=self.device)
        step = max(1, _CHUNK // math.prod(shape[1:]))
        for start in range(0, shape[0], step):
            part = (min(step, shape[0] - start), *shape[1:])
            drawn = torch.randn(part, generator=self._generator, device=self.device)
            result[start : start + step] = (drawn * scale).to(dtype)
        return result

    def _fill_pages(self, page_size: int) -> LatentPages:
        counts = [-(-n // page_size) for n in self.lengths.kv]
        shuffle = torch.Generator().manual_seed(self.seed + page_size)
        order = 1 + torch.randperm(sum(counts), generator=shuffle, dtype=torch.int32)
        tables: tuple[torch.Tensor, ...] = torch.split(order, counts)  # type: ignore[no-untyped-call]
        rows = []
        for table, tokens in zip(tables, self.lengths.kv, strict=True):
            token = torch.arange(tokens)
            rows.append(table.long()[token // page_size] * page_size + token % page_size)
        width, rank = self.geometry.width, self.geometry.kv_lora_rank
        pool = torch.empty(1 + sum(counts), page_size, width, dtype=self.cache_dtype, device=self.device)
        pool.fill_(GARBAGE.get(self.cache_dtype, GARBAGE_ELSE))
        _bits(pool).view(-1, width).index_copy_(0, torch.cat(rows).to(self.device), _bits(self._tokens))
        heads = pool[:, :, None]
        return LatentPages(page_size, heads[..., rank:], heads[..., :rank], tables, self.lengths.kv, pool)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """FP8 as bytes: torch indexes FP8 tensors only in part."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.float8_e4m3fn else tensor
