"""Whose scores the rows of a fused top-k hold, and where the selected keys lie: what SGLang passes with the scores.

Read in SGLang 0.5.16 and 0.5.23, ``dsa_topk_backend.py`` and ``dsa_backend.py``: ``topk_transform`` and its arguments.
All tensors are int32, on the device of the scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch

from autotune_cli.kernels.topk.workload import TopkWorkload

# In an output that is turned back into positions: no key of the row's request.
_NOWHERE = -2


@dataclass(frozen=True)
class Layout:
    """The batch behind the rows: each request has queries, which are rows, and keys, which are pages or ragged."""

    cu_seqlens_q: torch.Tensor
    """[requests + 1]: where each request's rows begin."""
    row_to_table: torch.Tensor
    """[rows]: the row's request, as a row of the page table; SGLang derives it from ``cu_seqlens_q`` and
    ``batch_idx_list``."""
    row_starts: torch.Tensor | None = None
    """[rows]: where the row's window of scores begins, if a row holds those of all requests' keys; indices count from
    there. None: at 0."""
    topk_indices_offset: torch.Tensor | None = None
    """[rows]: where the request's keys begin among the ragged ones; added to each selected index."""
    page_table: torch.Tensor | None = None
    """[table rows, pages]: pages of each request's keys; page 0 is no request's."""
    batch_idx_list: torch.Tensor | None = None
    """[requests]: which rows of the page table are the requests'; None: all in order. A list of numbers in SGLang."""
    position_of: torch.Tensor | None = None
    """[slots]: which key of its request lies there. For the judge only."""
    owner_of: torch.Tensor | None = None
    """[slots]: row of the page table whose key lies there, or -1. For the judge only."""

    def inputs(self) -> Mapping[str, torch.Tensor]:
        """What a candidate may read."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        hidden = ("position_of", "owner_of")
        return {name: tensor for name, tensor in every.items() if tensor is not None and name not in hidden}

    def moved(self) -> Layout:
        """The same in other tensors."""
        return replace(self, **{name: tensor.clone() for name, tensor in self.inputs().items()})

    def of_requests(
        self, requests: Sequence[int], rows: Sequence[int], counts: Sequence[int], row_starts: torch.Tensor | None
    ) -> Layout:
        """Of a batch of these requests only, in that order.

        Args:
            rows: of the whole batch, those of the part.
            counts: how many of them each request has.
            row_starts: [rows of the part], where they have such.
        """
        offsets = self.topk_indices_offset
        device = self.row_to_table.device
        part = replace(
            self,
            cu_seqlens_q=torch.tensor([0, *itertools.accumulate(counts)], dtype=torch.int32, device=device),
            row_to_table=self.row_to_table[rows],
            row_starts=row_starts,
            topk_indices_offset=None if offsets is None else offsets[rows],
        )
        kept = list(requests)
        if self.batch_idx_list is not None:
            return replace(part, batch_idx_list=self.batch_idx_list[kept])
        numbers = torch.arange(len(kept), dtype=torch.int32)
        part = replace(part, row_to_table=numbers.repeat_interleave(torch.tensor(counts)).to(device))
        if self.page_table is None or self.owner_of is None:
            return part
        # Of a request that is there twice the judge knows the last place only. What is nobody's (-1) stays so.
        renamed = torch.full((len(self.page_table) + 1,), -1, dtype=torch.int32, device=device)
        renamed[kept] = numbers.to(device)
        return replace(part, page_table=self.page_table[kept], owner_of=renamed[self.owner_of.long()])

    def positions(self, output: torch.Tensor) -> torch.Tensor:
        """From slots or ragged indices int32 [rows, k] back to the positions in their rows' windows; -1 stays -1, and
        what is no key of the row's request becomes a position that no row has.
        """
        if self.page_table is None:
            assert self.topk_indices_offset is not None
            found = output.long() - self.topk_indices_offset[:, None]
            reachable = found >= 0
        else:
            assert self.position_of is not None
            assert self.owner_of is not None
            slot = output.long()
            inside = slot.clamp(0, len(self.owner_of) - 1)
            reachable = (slot == inside) & (self.owner_of[inside] == self.row_to_table[:, None])
            found = self.position_of[inside].long()
        found = torch.where(reachable, found.clamp(max=2**31 - 1), _NOWHERE)
        return torch.where(output == -1, -1, found).to(torch.int32)


def make_layout(workload: TopkWorkload, device: str, seed: int) -> Layout | None:
    """The layout of a fused top-k's batch; None: the operation has none. Pages lie in no order."""
    if workload.operation == "topk.select":
        return None

    def of(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    requests, counts, keys = workload.request_count, workload.queries, workload.keys
    request = [number for number, count in enumerate(counts) for _ in range(count)]
    begins = [0]
    for count in counts:
        begins.append(begins[-1] + count)
    starts = of([number * keys for number in request])
    common = {"cu_seqlens_q": of(begins), "row_starts": starts if workload.packed else None}
    if workload.operation == "topk.ragged":
        return Layout(row_to_table=of(request), topk_indices_offset=starts.clone(), **common)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    # As prefill context parallelism has it: some of the requests of a larger table, in an order of their own.
    rows = 2 * requests if workload.batch_idx_list else requests
    listed = torch.randperm(rows, generator=generator)[:requests].tolist() if workload.batch_idx_list else None
    table_row = [listed[number] for number in request] if listed else request
    pages = -(-keys // workload.page_size)
    order = torch.randperm(rows * pages, generator=generator).to(torch.int32) + 1
    table = order.reshape(rows, pages).to(device)
    position_of, owner_of = _owners(table, workload.page_size)
    return Layout(
        row_to_table=of(table_row),
        page_table=table,
        batch_idx_list=of(listed) if listed else None,
        position_of=position_of,
        owner_of=owner_of,
        **common,  # type: ignore[arg-type]
    )


def _owners(table: torch.Tensor, page_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each slot, the position of its key and the row of the page table that has its page."""
    rows, pages = table.shape
    size = (rows * pages + 1) * page_size
    position = torch.full((size,), _NOWHERE, dtype=torch.int32, device=table.device)
    owner = torch.full((size,), -1, dtype=torch.int32, device=table.device)
    within = torch.arange(page_size, device=table.device)
    slots = table.long()[:, :, None] * page_size + within
    positions = torch.arange(pages * page_size, dtype=torch.int32, device=table.device).reshape(pages, page_size)
    position[slots] = positions.expand(slots.shape).contiguous()
    owner[slots] = torch.arange(rows, dtype=torch.int32, device=table.device)[:, None, None].expand(slots.shape)
    return position, owner
