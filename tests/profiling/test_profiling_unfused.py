"""A softmax between two matmuls is attention; what stands elsewhere, or on another stream, isn't."""

from __future__ import annotations

import numpy as np
import pytest

from autotune_cli.profiling.unfused import role_code, softmax_between_matmuls

ROLES = {"m": "matmul", "s": "softmax", "e": "elementwise", ".": ""}


def found(roles: str, streams: str = "") -> str:
    """The kernels that are found, as ``^`` below them."""
    codes = np.array([role_code(ROLES[role]) for role in roles], dtype=np.int64)
    on = np.array([int(stream) for stream in streams or "0" * len(roles)], dtype=np.int64)
    return "".join("^" if one else "." for one in softmax_between_matmuls(codes, on))


@pytest.mark.parametrize(
    ("roles", "dense"),
    [
        ("msm", ".^."),
        ("meesem", "...^.."),
        ("msmsm", ".^.^."),
        ("mssm", "...."),
        ("m.sm", "...."),
        ("ms", ".."),
        ("sm", ".."),
        ("s", "."),
        ("", ""),
        ("smms", "...."),
        ("emsme", "..^.."),
    ],
)
def test_in_the_order_of_one_stream(roles: str, dense: str) -> None:
    assert found(roles) == dense


@pytest.mark.parametrize(
    ("streams", "dense"), [("000", ".^."), ("111", ".^."), ("001", "..."), ("011", "..."), ("010", "...")]
)
def test_other_streams_do_not_count(streams: str, dense: str) -> None:
    assert found("msm", streams) == dense
