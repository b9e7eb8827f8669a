"""What the Triton backends share: the workloads they take, the buffers that a batch fills, the kernels' arguments.

No import of torch or Triton here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _metadata as metadata
from autotune_cli.kernels.attention.backends import _refill
from autotune_cli.kernels.attention.backends._triton_build import is_compiling
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Device

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

REQUIRES = ("triton",)
INSTALL = "pip install triton"
PAGE_SIZES = (1, 16, 64)
HEAD_DIMS = (16, 32, 64, 128, 256)
# Shared memory of a block on compute capability 9.0 (CUDA C programming guide, table of technical specifications), less
# some for what Triton keeps there itself. Smaller GPUs refuse a candidate when it is built.
_SHARED_BYTES = 220 << 10
_LOG2E = math.log2(math.e)


def why_not(workload: AttentionWorkload, device: Device) -> str | None:
    """Why the Triton kernels can't compute the workload, or None."""
    g = workload.geometry
    capability = device.capability or (0, 0)
    if capability < (8, 0):
        return f"the Triton kernels need compute capability 8.0 or newer, this is {capability[0]}.{capability[1]}"
    if g.dtype not in ("bfloat16", "float16"):
        return f"the Triton kernels take queries in bfloat16 or float16, not {g.dtype}"
    if g.cache_dtype not in (g.dtype, "float8_e4m3fn"):
        return f"the Triton kernels take a cache in the queries' dtype or float8_e4m3fn, not {g.cache_dtype}"
    if g.cache_dtype == "float8_e4m3fn" and capability < (8, 9):
        return "Triton converts float8_e4m3fn from compute capability 8.9 on"
    if g.head_dim not in HEAD_DIMS:
        return f"the Triton kernels take head dims 16, 32, 64, 128 and 256, not {g.head_dim}"
    return None


def fits(workload: AttentionWorkload, rows: int, block: int, stages: int) -> bool:
    """Have the queries, and the blocks of keys and values in flight, room in shared memory?

    A block takes two stages, as its page ids are loaded before it: compiled for 9.0 with 1 to 5 stages, Triton 3.7
    keeps ``stages // 2`` blocks, and one more where the product reads them from shared memory (wgmma).
    """
    kept = 1 if stages == 1 else 1 + stages // 2
    return 2 * workload.geometry.head_dim * (rows + 2 * block * kept) <= _SHARED_BYTES


@dataclass(frozen=True)
class ServedBatch:
    """A batch as a server holds it, on the device, and the buffers that are filled from it."""

    table: torch.Tensor
    """[batch, most pages] page ids."""
    lengths: torch.Tensor
    """[batch] int32: keys, new ones included."""
    new: torch.Tensor
    """[batch] int32: new tokens."""
    page_size: int
    window_left: int | None
    buffers: metadata.KVBuffers

    @classmethod
    def of(cls, problem: AttentionProblem, page_size: int) -> ServedBatch:
        import torch

        pages = problem.paged(page_size)
        new = torch.tensor(problem.lengths.qo, dtype=torch.int32, device=problem.device)
        most = sum(len(table) for table in pages.tables)
        buffers = metadata.KVBuffers.allocate(len(new), most, problem.device)
        table, lengths = (_refill.own(problem, tensor) for tensor in (pages.block_tables, pages.seq_lens))
        return cls(table, lengths, new, page_size, problem.geometry.window_left, buffers)

    @property
    def size(self) -> int:
        return len(self.lengths)

    def take(self, problem: AttentionProblem) -> None:
        """Hold the same batch at other lengths, none of them longer."""
        _refill.fill_tables(self.table, self.lengths, problem.paged(self.page_size))

    @property
    def fillers(self) -> Any:
        """The module whose functions fill buffers: a GPU's are launched in a few kernels of Triton."""
        if not self.lengths.is_cuda and not is_compiling():
            return metadata
        from autotune_cli.kernels.attention.backends import _triton_metadata

        return _triton_metadata

    def fill(self) -> None:
        """The keys that the layer's queries see; the same for a capture and each replay."""
        self.fillers.fill_kv(
            self.buffers,
            self.table,
            self.lengths,
            self.size,
            page_size=self.page_size,
            new=self.new,
            window_left=self.window_left,
        )


def tensors(problem: AttentionProblem, batch: ServedBatch) -> dict[str, Any]:
    """What both kernels are given of the layer and its cache.

    ``scale`` turns a product into a logit in base 2; under a softcap, into what tanh is taken of. The scales of an FP8
    cache go into it and into the output. FP8 queries stay in 16 bits, which is more precise than asked.
    """
    pages = problem.paged(batch.page_size)
    cap, scale = problem.geometry.softcap, problem.geometry.scale * problem.k_scale
    return {
        "q": problem.q,
        "k": pages.k,
        "v": pages.v,
        # A layer without sinks reads none, but an argument has to be there.
        "sinks": problem.q if problem.sinks is None else problem.sinks,
        "kv_indptr": batch.buffers.kv_indptr,
        "kv_indices": batch.buffers.kv_indices,
        "kv_lens": batch.buffers.kv_lens,
        "slot_stride": pages.k.stride(1),
        "scale": scale * _LOG2E if cap is None else scale / cap,
        "out_scale": problem.v_scale,
    }


def constants(problem: AttentionProblem, page_size: int) -> dict[str, Any]:
    """What both kernels are compiled for."""
    g = problem.geometry
    return {
        "HEADS": g.num_qo_heads,
        "GROUP": g.group,
        "DIM": g.head_dim,
        "PAGE": page_size,
        "WINDOW": -1 if g.window_left is None else g.window_left,
        "CAP": 0.0 if g.softcap is None else g.softcap * _LOG2E,
        "SINKS": g.sinks,
    }
