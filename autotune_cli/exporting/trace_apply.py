"""The files of a folder that FlashInfer's trace apply loads: a definition and a solution for each shape of a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import autotune_cli.kernels
from autotune_cli import __version__
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.results.schema import RunFile

_API = "flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run"
_KERNELS = Path(autotune_cli.kernels.__path__[0]) / "attention" / "backends" / "_triton_kernels.py"
_DISPATCH = Path(__file__).parent / "solutions" / "dispatch.py"
# The measured kernel reads lengths from a buffer that is filled once a step. A solution is called once a layer, so its
# kernel takes them from kv_indptr, which holds them for pages of one key.
_FROM_BUFFER = "length = tl.load(kv_lens + request)"
_FROM_INDPTR = "length = tl.load(kv_indptr + request + 1) - tl.load(kv_indptr + request)"
# tl.dot wants 16 rows; of a larger group, 64 heads share a tile (triton_decode.py).
_LEAST_ROWS, _MOST_ROWS = 16, 64


@dataclass(frozen=True)
class Entry:
    """What one batch size decodes with."""

    batch: int
    knobs: Mapping[str, int]
    key: str


def files_of(geometry: Geometry, entries: Sequence[Entry], run: RunFile, gained: str) -> dict[str, str]:
    """A definition and a solution for each shape that a cache of pages of one key may have."""
    capability = run.device.capability or (9, 0)
    table = {
        "heads": geometry.num_qo_heads,
        "kv_heads": geometry.num_kv_heads,
        "dim": geometry.head_dim,
        "rows": min(_MOST_ROWS, max(_LEAST_ROWS, 1 << (geometry.group - 1).bit_length())),
        "device": run.device.device,
        "entries": [
            {"batch": entry.batch, "candidate": entry.key}
            | {name: entry.knobs[name] for name in ("block", "warps", "stages", "splits")}
            for entry in entries
        ],
    }
    sources = [
        {"path": "dispatch.py", "content": _DISPATCH.read_text(encoding="utf-8")},
        {"path": "kernels.py", "content": kernel_source()},
        {"path": "table.json", "content": json.dumps(table, indent=1) + "\n"},
    ]
    digest = hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:8]
    files = {}
    for name, pages in _names(geometry):
        solution = {
            "name": f"autotune_{digest}_{name}",
            "definition": name,
            "author": f"kernel-autotune {__version__}",
            "description": f"{run.name} on {run.device.device}: {gained} over FlashInfer's own decode",
            "spec": {
                "language": "triton",
                "target_hardware": [f"sm{capability[0]}{capability[1]}"],
                "entry_point": "dispatch.py::run",
                "dependencies": ["triton"],
                "destination_passing_style": False,
            },
            "sources": sources,
        }
        files[f"definitions/gqa_paged/{name}.json"] = _json(_definition(name, geometry, pages))
        files[f"solutions/gqa_paged/{name}.json"] = _json(solution)
    return files


def kernel_source() -> str:
    """The text of the measured kernels, whose decode takes lengths from ``kv_indptr``."""
    text = _KERNELS.read_text(encoding="utf-8")
    head, name, rest = text.partition("def paged_decode_kernel(")
    body, end, others = rest.partition('@triton.jit(do_not_specialize=["most"])\ndef decode_split_merge_kernel(')
    assert name
    assert end
    assert body.count(_FROM_BUFFER) == 1
    return head + name + body.replace(_FROM_BUFFER, _FROM_INDPTR) + end + others


def _names(geometry: Geometry) -> list[tuple[str, tuple[str, ...]]]:
    """Names of the definitions with the axes of the caches.

    A cache of pages of one key may come without that axis, as SGLang's does. FlashInfer's template reads sizes by their
    places, so its name then has the KV heads as the page size, and the head dim as the KV heads.
    """
    heads, kv, dim = geometry.num_qo_heads, geometry.num_kv_heads, geometry.head_dim
    prefix = f"gqa_paged_decode_h{heads}"
    return [
        (f"{prefix}_kv{kv}_d{dim}_ps1", ("num_pages", "page_size", "num_kv_heads", "head_dim")),
        (f"{prefix}_kv{dim}_d{dim}_ps{kv}", ("num_pages", "page_size", "num_kv_heads")),
    ]


def _definition(name: str, geometry: Geometry, pages: tuple[str, ...]) -> dict[str, object]:
    flat = len(pages) == 3
    constants = {
        "num_qo_heads": geometry.num_qo_heads,
        "num_kv_heads": geometry.head_dim if flat else geometry.num_kv_heads,
        "head_dim": geometry.head_dim,
        "page_size": geometry.num_kv_heads if flat else 1,
    }
    axes: dict[str, object] = {"batch_size": {"type": "var"}, "num_pages": {"type": "var"}}
    axes |= {axis: {"type": "const", "value": value} for axis, value in constants.items()}
    axes |= {axis: {"type": "var"} for axis in ("len_indptr", "num_kv_indices")}
    cache = {"shape": list(pages), "dtype": geometry.dtype}
    query = {"shape": ["batch_size", "num_qo_heads", "head_dim"], "dtype": geometry.dtype}
    return {
        "name": name,
        "op_type": "gqa_paged",
        "description": "decode over pages of one key",
        "axes": axes,
        "inputs": {
            "q": query,
            "k_cache": cache,
            "v_cache": cache,
            "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32", "optional": True},
            "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32", "optional": True},
            "sm_scale": {"shape": None, "dtype": "float32", "optional": True},
            "return_lse": {"shape": None, "dtype": "int32", "optional": True},
        },
        "outputs": {
            "output": query,
            "lse": {"shape": ["batch_size", "num_qo_heads"], "dtype": "float32", "optional": True},
        },
        "tags": [f"fi_api:{_API}", "stage:decode"],
    }


def _json(document: object) -> str:
    return json.dumps(document, indent=1) + "\n"
