"""Workloads of a FlashInfer trace: JSON lines, a call of an attention wrapper each.

FlashInfer-Bench's dataset, and what is collected for it, has in ``workloads/<op>/<definition>.jsonl`` the sizes of each
call (``workload.axes``). What ``FLASHINFER_TRACE_DUMP=1`` itself writes are definitions, a file for each kernel and
geometry (flashinfer 0.6.18 and 0.7.2, fi_trace.py and trace/template.py): batch sizes and lengths are not in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from autotune_cli.traffic.formats._fields import count_of, parse_line
from autotune_cli.traffic.formats.base import Format, Reading, Recorded
from autotune_cli.traffic.source import Source
from autotune_cli.traffic.steps import Steps

_DEFINITION = re.compile(r'"op_type"\s*:')
_AXES = re.compile(r'"axes"\s*:')
_WORKLOAD = re.compile(r'"workload"\s*:')
# The page size is part of a definition's name: gqa_paged_decode_h32_kv8_d128_ps16.
_PAGE = re.compile(r"_ps([0-9]{1,6})(?:_|$)")


def _read(source: Source, reading: Reading) -> Recorded:
    if not _WORKLOAD.search(source.head):
        raise source.bad(
            "a definition of a kernel, as FLASHINFER_TRACE_DUMP writes it: it has neither batch sizes nor lengths. "
            "Workloads of FlashInfer-Bench have (workloads/<op>/<definition>.jsonl), and logs and profiler traces"
        )
    recorded = Recorded("FlashInfer workloads", Steps(reading.captured))
    others = 0
    for number, text in source.lines():
        document = parse_line(source, number, text)
        if not isinstance(document, dict) or not isinstance(document.get("definition"), str):
            raise source.bad("no workload of FlashInfer-Bench: it has no definition", number)
        workload = document.get("workload")
        axes = workload.get("axes") if isinstance(workload, dict) else None
        if not isinstance(axes, dict):
            raise source.bad("a workload without axes", number)
        count = _READERS.get(_operation(document["definition"]))
        if count is None:
            others += 1
            continue
        count(recorded.steps, source, number, document["definition"], axes)
        recorded.steps.passes += 1
    if not recorded.steps.passes:
        raise source.bad("has no call of a paged or ragged attention wrapper")
    if others:
        recorded.notes.append(f"{others:,} workloads of other operations than attention are left out")
    recorded.notes.append("FlashInfer workloads are taken as steps of a server, each as often as it is in the file")
    return recorded


def _operation(definition: str) -> str:
    return next((name for name in _READERS if definition.startswith(name)), "")


def _axis(source: Source, number: int, axes: Mapping[str, Any], name: str) -> int:
    if name not in axes:
        raise source.bad(f"axes without {name}", number)
    return count_of(source, number, name, axes[name])


def _keys(source: Source, number: int, definition: str, axes: Mapping[str, Any], batch: int) -> int:
    """Of all requests. A last page may be filled partly: half of it, on the average."""
    found = _PAGE.search(definition)
    page = max(1, int(found[1])) if found else 1
    pages = _axis(source, number, axes, "num_kv_indices")
    return max(batch, pages * page - batch * ((page - 1) // 2))


def _decode(steps: Steps, source: Source, number: int, definition: str, axes: Mapping[str, Any]) -> None:
    batch = _axis(source, number, axes, "batch_size")
    steps.decode(batch, _keys(source, number, definition, axes, batch))


def _paged(steps: Steps, source: Source, number: int, definition: str, axes: Mapping[str, Any]) -> None:
    batch = _requests(source, number, axes)
    new = _axis(source, number, axes, "total_q")
    keys = max(new, _keys(source, number, definition, axes, batch))
    steps.count("extend" if keys > new else "prefill", batch, new, keys)


def _ragged(steps: Steps, source: Source, number: int, definition: str, axes: Mapping[str, Any]) -> None:
    batch = _requests(source, number, axes)
    new = _axis(source, number, axes, "total_q")
    keys = max(new, _axis(source, number, axes, "total_kv"))
    steps.count("extend" if keys > new else "prefill", batch, new, keys)


def _requests(source: Source, number: int, axes: Mapping[str, Any]) -> int:
    """An indptr has one entry more than there are requests."""
    ends = _axis(source, number, axes, "len_indptr")
    if ends < 2:
        raise source.bad("len_indptr 1: a batch without requests", number)
    return ends - 1


_Count = Callable[[Steps, Source, int, str, Mapping[str, Any]], None]
# By how a definition's name begins (flashinfer, trace/templates/attention.py).
_READERS: Mapping[str, _Count] = {
    "gqa_paged_decode": _decode,
    "mla_paged_decode": _decode,
    "gqa_paged_prefill": _paged,
    "mla_paged_prefill": _paged,
    "gqa_ragged": _ragged,
}


def _recognises(head: str) -> bool:
    if not head.lstrip().startswith("{"):
        return False
    is_workload = '"definition"' in head and _WORKLOAD.search(head) is not None
    return is_workload or (_DEFINITION.search(head) is not None and _AXES.search(head) is not None)


FORMAT = Format(
    rank=20,
    about="workloads of a FlashInfer trace (JSON lines with definition and workload.axes)",
    recognises=_recognises,
    read=_read,
)
