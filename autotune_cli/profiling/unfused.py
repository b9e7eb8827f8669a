"""Attention without an attention kernel: scores by a matmul, softmax, a matmul with the values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MATMUL, SOFTMAX, ELEMENTWISE = 1, 2, 3
_CODES = {"matmul": MATMUL, "softmax": SOFTMAX, "elementwise": ELEMENTWISE}


def role_code(role: str) -> int:
    """The number of a kernel's role (``KernelKind.role`` in ``classify``); 0: none that matters here."""
    return _CODES.get(role, 0)


def softmax_between_matmuls(codes: npt.NDArray[np.int64], streams: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which kernels are a softmax with a matmul before it and one after it, elementwise kernels (scale, mask) aside.

    Args:
        codes: [kernels] of :func:`role_code`, stream by stream and in the order of their start.
        streams: [kernels] on which they ran.
    """
    found = np.zeros(len(codes), dtype=np.bool_)
    solid = np.flatnonzero(codes != ELEMENTWISE)
    kinds, on = codes[solid], streams[solid]
    middle = (kinds[1:-1] == SOFTMAX) & (kinds[:-2] == MATMUL) & (kinds[2:] == MATMUL)
    middle &= (on[:-2] == on[1:-1]) & (on[1:-1] == on[2:])
    found[solid[1:-1][middle]] = True
    return found
