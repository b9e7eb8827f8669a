"""Where tensors lie in a GPU's memory, which a kernel's time depends on.

H200, decode 8 x 1024 of Llama-3.1-8B: medians at one placement repeat within 0.2 %, at another one they are 0.6 % away
(standard deviation); 0.2 % for kernels over 60 us. The placement differs between processes, so a run that measures at
one only can't be repeated. docs/benchmarks-diff.md has the figures.
"""

from __future__ import annotations

import random

import torch

# Up to here a round measures at several placements. Larger inputs take long to move, and one placement of them covers
# much of the memory: decode 64 x 8192 of the same model (6 GB with three page sizes) scatters by 0.2 to 0.3 %.
SMALL_BYTES = 4 << 30
# A filler's size: enough to reach other physical pages, and with odd sizes other offsets within one.
_MOST_MIB = 400
_MOST_SMALL = 40
_SMALL_STEP, _SMALL_STEPS = 512, 800
# Fillers take no more than this share of what is free.
_SHARE = 0.1
# Free memory that a move leaves alone, as a multiple of what is moved.
_SPARE = 1.5


class Placement:
    """Lets the tensors that are made next lie elsewhere. Does nothing on a CPU."""

    def __init__(self, device: str, seed: int) -> None:
        self._device = device
        self._random = random.Random(seed)
        self._fillers: list[torch.Tensor] = []

    def has_room(self, size: int) -> bool:
        """Can ``size`` bytes be held twice for a while?"""
        return self._device != "cuda" or torch.cuda.mem_get_info()[0] > _SPARE * size

    def perturb(self) -> None:
        """Perturb the allocator: give unused memory back and take some, at random; the fillers of the call before are
        freed."""
        if self._device != "cuda":
            return
        self._fillers.clear()
        torch.cuda.empty_cache()
        most = min(_MOST_MIB, int(_SHARE * torch.cuda.mem_get_info()[0]) >> 20)
        if most < 1:
            return
        sizes = [self._random.randint(1, most) << 20]
        small = self._random.randint(1, _MOST_SMALL)
        sizes += [self._random.randint(1, _SMALL_STEPS) * _SMALL_STEP for _ in range(small)]
        self._fillers = [torch.empty(size, dtype=torch.uint8, device="cuda") for size in sizes]

    def clear(self) -> None:
        """Free the fillers."""
        self._fillers.clear()
