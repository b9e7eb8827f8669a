"""Scores that somebody captured: a real indexer's logits, read from a file. Nothing in a file is run.

A file holds one tensor of scores, alone or by a name: ``.npy``, ``.pt`` or ``.safetensors``. FlashInfer's dumps
(``FLASHINFER_LOGLEVEL=10``: ``inputs.pt``, ``inputs.safetensors``; api_logging.py of 0.6.18) name the arguments of a
call ``arg_0`` and ``kwarg_lengths``.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune_cli.errors import BadFile
from autotune_cli.kernels.base import CapturedScores
from autotune_cli.reading import Unreadable, open_input

# Names of the scores and of the rows' lengths, the likeliest first.
_SCORES = ("scores", "score", "logits", "input", "kwarg_input", "kwarg_score", "kwarg_scores", "kwarg_logits", "arg_0")
_LENGTHS = ("lengths", "seq_lens", "kwarg_lengths", "kwarg_seq_lens")
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# Of safetensors' format: a header's length in 8 bytes, the header as JSON, the tensors' bytes.
_HEADER_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000
_SAFETENSORS = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I32": torch.int32,
    "I64": torch.int64,
}


def describe(path: str) -> CapturedScores:
    """What a file holds, by which a workload names it.

    Raises:
        BadFile: it can't be read, holds anything but tensors, or no scores: see :func:`load`.
    """
    scores, lengths = load(path)
    host: tuple[int, ...] | None = tuple(lengths.tolist())
    if all(length == scores.shape[1] for length in host or ()):
        host = None
    rows, width = scores.shape
    return CapturedScores(
        path=str(Path(path).resolve()),
        digest=_digest(scores, lengths),
        rows=rows,
        width=width,
        dtype=_DTYPES[scores.dtype],  # type: ignore[arg-type]
        lengths=host,
    )


def captured(of: CapturedScores) -> torch.Tensor:
    """The scores [rows, width] on the CPU, which are still what they were.

    Raises:
        BadFile: they aren't, or the file can't be read any more.
    """
    scores, lengths = load(of.path)
    if _digest(scores, lengths) != of.digest:
        raise BadFile(path=of.path, detail="is not what it was when the run began")
    return scores


def load(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores float32 or bfloat16 [rows, width], and int32 [rows] the valid ones of each row, both on the CPU.

    Raises:
        BadFile: no such file, another format, another shape or dtype, NaN among the valid scores, lengths beyond the
            width, or a pickle with anything but tensors.
    """
    tensors = _tensors(path)
    scores = _scores(path, tensors)
    lengths = next((tensors[name] for name in _LENGTHS if name in tensors), None)
    rows, width = scores.shape
    if lengths is None:
        lengths = torch.full((rows,), width, dtype=torch.int32)
    elif lengths.dtype not in (torch.int32, torch.int64) or lengths.shape != (rows,):
        raise BadFile(path=path, detail=f"lengths are {_said(lengths)}, not int32 [{rows}]")
    elif bool(((lengths < 0) | (lengths > width)).any()):
        raise BadFile(path=path, detail=f"has lengths that are not from 0 to {width}, the width of its scores")
    lengths = lengths.to(torch.int32).contiguous()
    valid = torch.arange(width) < lengths[:, None]
    missing = int((scores.isnan() & valid).sum())
    if missing:
        raise BadFile(path=path, detail=f"has scores that are NaN ({missing}), so there is no right selection")
    return scores.contiguous(), lengths


def _scores(path: str, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    names = [name for name in _SCORES if name in tensors] or (list(tensors) if len(tensors) == 1 else [])
    if not names:
        having = ", ".join(sorted(tensors)) or "none"
        raise BadFile(path=path, detail=f"has no tensor named {' or '.join(_SCORES[:3])}, but: {having}")
    found = tensors[names[0]]
    if found.dim() != 2 or 0 in found.shape:
        raise BadFile(path=path, detail=f"{names[0]} is {_said(found)}; scores are [rows, width]")
    if found.dtype not in _DTYPES:
        raise BadFile(path=path, detail=f"{names[0]} is {_said(found)}; scores are float32 or bfloat16")
    return found


def _tensors(path: str) -> Mapping[str, torch.Tensor]:
    readers = {".npy": _read_npy, ".pt": _read_pt, ".pth": _read_pt, ".safetensors": _read_safetensors}
    read = readers.get(Path(path).suffix.lower())
    if read is None:
        raise BadFile(path=path, detail="scores are in a file .npy, .pt or .safetensors")
    try:
        # The readers below go back and forth in a file; a pipe or a device would be waited for.
        open_input(Path(path), pipes=False).close()
        return read(path)
    except Unreadable as error:
        raise BadFile(path=path, detail=str(error)) from error
    except OSError as error:
        raise BadFile(path=path, detail=(error.strerror or str(error)).lower()) from error
    except MemoryError as error:
        raise BadFile(path=path, detail="holds more than there is memory for, or says so") from error


def _read_npy(path: str) -> Mapping[str, torch.Tensor]:
    try:
        # Not np.load, which takes archives and pickles by the same name.
        with Path(path).open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        # NumPy's own words advise to load what may run code.
        detail = "is no whole .npy file of numbers (Python objects in it are not loaded)"
        raise BadFile(path=path, detail=detail) from error
    try:
        return {"scores": torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))}
    except TypeError as error:
        raise BadFile(path=path, detail=f"its {array.dtype} is no type of scores") from error


def _read_pt(path: str) -> Mapping[str, torch.Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise BadFile(path=path, detail="holds something else than tensors, so it is not loaded") from error
    except Exception as error:  # a damaged archive raises whatever its damage leads to
        raise BadFile(path=path, detail=f"is no file of torch.save: {str(error).partition(chr(10))[0]}") from error
    tensors = {"scores": found} if isinstance(found, torch.Tensor) else found
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in tensors.items()
    ):
        raise BadFile(path=path, detail="holds neither a tensor nor tensors by name")
    if any(value.layout != torch.strided or value.is_quantized for value in tensors.values()):
        raise BadFile(path=path, detail="holds a tensor that is sparse or quantised")
    if any(value.device.type != "cpu" for value in tensors.values()):
        raise BadFile(path=path, detail="holds a tensor without its numbers (device meta)")
    return tensors


def _read_safetensors(path: str) -> Mapping[str, torch.Tensor]:
    """By the format's description (huggingface/safetensors, README.md)."""
    data = bytearray(Path(path).read_bytes())
    try:
        (length,) = _HEADER_LENGTH.unpack_from(data)
        if length > min(_LONGEST_HEADER, len(data) - _HEADER_LENGTH.size):
            raise ValueError("its header is longer than the file")
        begin = _HEADER_LENGTH.size + length
        header = json.loads(data[_HEADER_LENGTH.size : begin])
        header.pop("__metadata__", None)
        found = {name: _tensor(data, begin, entry) for name, entry in header.items() if entry["dtype"] in _SAFETENSORS}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError, struct.error) as error:
        raise BadFile(path=path, detail=f"is no .safetensors file: {str(error).partition(chr(10))[0]}") from error
    other = [f"{name} is {entry['dtype']}" for name, entry in header.items() if name in _SCORES and name not in found]
    if other and not found:
        raise BadFile(path=path, detail=f"{other[0]}; scores are float32 or bfloat16")
    return found


def _tensor(data: bytearray, base: int, entry: Any) -> torch.Tensor:
    dtype, (begin, end) = _SAFETENSORS[entry["dtype"]], entry["data_offsets"]
    if not all(isinstance(length, int) and 0 <= length < 1 << 63 for length in entry["shape"]):
        raise ValueError("a tensor has no shape")
    size = end - begin
    if not 0 <= begin <= end <= len(data) - base or size % dtype.itemsize:
        raise ValueError("a tensor lies beyond its end")
    # Copied: tensors of a file may lie at any address.
    found = torch.frombuffer(bytearray(data[base + begin : base + end]), dtype=dtype) if size else torch.empty(0)
    return found.reshape(entry["shape"])


def _digest(scores: torch.Tensor, lengths: torch.Tensor) -> str:
    """First 16 hex digits of the SHA-256 of the bits, the shape and the type."""
    digest = hashlib.sha256(f"{_said(scores)} ".encode())
    for tensor in (scores, lengths):
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _said(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
