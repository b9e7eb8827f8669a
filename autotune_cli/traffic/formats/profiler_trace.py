"""A torch-profiler trace of a running server: its scheduler's steps, by what SGLang and vLLM call them.

SGLang 0.5.23 (model_executor/step_span_utils.py): ``step[DECODE bs=8]``, ``step[EXTEND bs=4 toks=2013]``; with detailed
annotations sums of new tokens and of keys too, ``g_sq`` and ``g_sk`` of decodes, ``c_sq`` and ``c_sk`` of extends.
vLLM: ``execute_context_2(8155)_generation_37(37)``, in some versions with sums:
``execute_8192_context_9(sq8155sk8430...)``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from autotune_cli.fields import Message
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.readers.stream import EventStream
from autotune_cli.traffic.errors import BadTraffic
from autotune_cli.traffic.formats.base import Format, Reading, Recorded
from autotune_cli.traffic.log import tokens
from autotune_cli.traffic.source import Source
from autotune_cli.traffic.steps import Steps

_SGLANG = re.compile(r"step\[([A-Z]\w*)((?: \w+=\d{1,15})*)\]")
_FIELD = re.compile(r"(\w+)=(\d+)")
_VLLM = re.compile(r"execute_(?:\d+_)?context_(\d{1,9})(?:\(([^()]*)\))?_generation_(\d{1,9})(?:\(([^()]*)\))?")
_SUMS = re.compile(r"^sq(\d{1,15})sk(\d{1,15})")
_HEADER = re.compile(r'"(?:traceEvents|schemaVersion|deviceProperties|displayTimeUnit|baseTimeNanoseconds)"\s*:')
_BARE = re.compile(r'^\s*\[\s*\{[^{}]*"(?:ph|cat|ts)"\s*:')


@dataclass(frozen=True)
class StepPart:
    """The requests of a step that are decoded, or those that are not."""

    batch: int
    new: int
    keys: int | None
    """Of all requests; None: not told."""
    decode: bool


def _read(source: Source, reading: Reading) -> Recorded:
    recorded = Recorded("steps of a server's trace", Steps(reading.captured))
    steps, left_out = recorded.steps, Counter[str]()
    without = 0
    for name in _names(source):
        parts = step_parts(name)
        if isinstance(parts, str):
            left_out[parts] += 1
            continue
        for part in parts:
            keys = part.keys
            if keys is None:
                without += 1
                keys = _untold(source, reading, name, part)
            if isinstance(tokens(part.batch), str) or isinstance(tokens(max(part.new, keys)), str):
                raise source.bad(f"a step of no possible size: {name!r:.80}")
            if part.decode:
                steps.decode(part.batch, max(keys, part.batch), graph=len(parts) == 1)
            else:
                steps.count("extend" if keys > part.new else "prefill", part.batch, part.new, max(keys, part.new))
        steps.passes += 1
    if not steps.passes:
        raise source.bad(
            "a trace without steps of a server: it has neither SGLang's step[DECODE bs=8] nor vLLM's execute_context_.."
        )
    for kind, number in sorted(left_out.items()):
        recorded.notes.append(f"{number:,} {kind} steps are left out")
    if without:
        recorded.notes.append(
            f"the trace doesn't tell how long requests were in {without:,} steps: "
            f"decode steps are taken to have {reading.context or 'no'} keys a request, others no prefix"
        )
    return recorded


def _untold(source: Source, reading: Reading, name: str, part: StepPart) -> int:
    """Keys of a step that doesn't tell them.

    Raises:
        BadTraffic: it is a decode, and nobody says how long its requests were.
    """
    if not part.decode:
        return part.new
    if reading.context is None:
        text = "a decode step without contexts ({name}): {fields.context} N says how long requests were"
        raise source.bad(Message(text, name=name[:80]))
    return part.batch * reading.context


def _names(source: Source) -> Iterator[str]:
    """Names of the steps of one rank; a merged trace has the same steps of each."""
    group: str | None = None
    try:
        for event in EventStream(source.path, None, source.stream):
            name = event.get("name")
            if event.get("cat") != "user_annotation" or not isinstance(name, str) or event.get("ph") != "X":
                continue
            if not name.startswith(("step[", "execute_")):
                continue
            process = event.get("pid")
            rank = process.partition("]")[0] if isinstance(process, str) and process.startswith("[") else ""
            group = rank if group is None else group
            if rank == group:
                yield name
    except BadTrace as error:
        raise BadTraffic(source.path, str(error.values["detail"])) from None


def step_parts(name: str) -> list[StepPart] | str:
    """The parts of a step; or, where it has none that is tuned, what kind of step it is."""
    found = _SGLANG.fullmatch(name)
    if found:
        return _of_sglang(found[1], {key: int(value) for key, value in _FIELD.findall(found[2])})
    found = _VLLM.fullmatch(name)
    if found is None:
        return "other"
    parts = []
    for count, sums, decode in ((found[1], found[2], False), (found[3], found[4], True)):
        if int(count):
            summed = _SUMS.match(sums or "")
            plain = int(sums) if sums and sums.isascii() and sums.isdigit() and len(sums) < 16 else 0
            new = int(summed[1]) if summed else plain or int(count)
            # Drafts to verify are no decode of one token.
            if decode and new != int(count):
                return "verification"
            parts.append(StepPart(int(count), new, int(summed[2]) if summed else None, decode))
    return parts or "idle"


def _of_sglang(mode: str, sizes: dict[str, int]) -> list[StepPart] | str:
    batch = sizes.get("bs", 0)
    if not batch:
        return mode.lower()
    if mode == "DECODE" and sizes.get("g_sq", batch) == batch:
        return [StepPart(batch, batch, sizes.get("g_sk"), True)]
    if mode == "EXTEND":
        new = sizes.get("c_sq") or sizes.get("toks", 0)
        return [StepPart(batch, new, sizes.get("c_sk"), False)] if new >= batch else mode.lower()
    if mode == "MIXED" and sizes.get("c") and sizes.get("g"):
        return [
            StepPart(sizes["c"], sizes.get("c_sq", sizes["c"]), sizes.get("c_sk"), False),
            StepPart(sizes["g"], sizes["g"], sizes.get("g_sk"), True),
        ]
    return mode.lower()


def _recognises(head: str) -> bool:
    return _HEADER.search(head[:4096]) is not None or _BARE.match(head) is not None


FORMAT = Format(
    rank=10,
    about="traces of torch's profiler with the steps of SGLang or vLLM",
    recognises=_recognises,
    read=_read,
)
