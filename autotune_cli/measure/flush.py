"""Makes the L2 cache cold between iterations."""

from __future__ import annotations

import torch

# Reading this many times the L2's size leaves nothing of what was in it.
_TIMES_L2 = 4
_SMALLEST = 64 << 20


class Flush:
    """Reads a large buffer.

    Reading, not writing: a write leaves the cache full of dirty lines, and their write-back is then charged to the
    candidate (H200, decode 8 x 2048: 32.3 us after a fill, 26.6 us after a read, or after a fill and a read).
    """

    def __init__(self, device: torch.device | str = "cuda") -> None:
        l2 = torch.cuda.get_device_properties(device).L2_cache_size
        self._buffer = torch.ones(max(_TIMES_L2 * l2, _SMALLEST) // 4, dtype=torch.float32, device=device)
        self._result = torch.empty((), dtype=torch.float32, device=device)

    def __call__(self) -> None:
        torch.amax(self._buffer, dim=0, out=self._result)
