"""FlashInfer: a folder that ``FLASHINFER_TRACE_APPLY`` loads, with which it decodes with our kernel.

Read in FlashInfer 0.6.18.post1 (``flashinfer/trace_apply``, ``trace/solution.py``, ``trace/templates/attention.py``): a
folder has ``definitions/`` and ``solutions/`` in the layout of flashinfer-bench; a call is looked up by the name of its
definition, which heads, head dim and page size make. A solution is given the tensors of the call and no wrapper, so it
can't fall back to FlashInfer's own kernel, nor does it learn of a window, a softcap or how full a last page is: hence
pages of one key (those of SGLang's flashinfer backend), and models all of whose layers see everything.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.version import Version

from autotune_cli.exporting.target import Exported, Material, NothingToExport, Target
from autotune_cli.exporting.trace_apply import Entry, files_of
from autotune_cli.kernels.attention.family import FAMILY
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import parse_key
from autotune_cli.measure.statistics import Ratio
from autotune_cli.planning.times import Time, Weighed, ratio_of, ratio_of_steps, time_of
from autotune_cli.planning.weights import weights_of
from autotune_cli.render import plan_words as words
from autotune_cli.render.text import plural
from autotune_cli.results.schema import RunFile, WorkloadResult

# The first release whose wheel has flashinfer/trace_apply; older ones were not read.
FIRST = "0.6.18"
_OWN = "triton.decode"
_THEIRS = ("flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)",
           "flashinfer.decode(path=cuda_cores,page_size=1,split=none,pdl=none)")  # fmt: skip


def _make(material: Material) -> Exported:
    run = material.run
    weights = weights_of(run.workloads, material.request.weights)
    files: dict[str, str] = {}
    notes: list[str] = []
    refused: list[str] = []
    by_geometry: dict[Geometry, list[WorkloadResult]] = {}
    for result in run.workloads:
        workload = result.workload
        if isinstance(workload, AttentionWorkload) and workload.operation == FAMILY.served["decode"]:
            by_geometry.setdefault(workload.geometry, []).append(result)
    plain = all(_is_plain(geometry) for geometry in by_geometry)
    for geometry, results in by_geometry.items():
        if not plain:
            refused.append(
                "a solution isn't told of windows, softcaps, sinks and FP8 caches, of which this model has some"
            )
            continue
        entries = _entries(results, run)
        if not entries:
            refused.append(f"no {_OWN} over pages of 1 was measured")
            continue
        gained, lines = _gains(results, entries, weights.by_workload, run)
        if gained is None or gained.low <= 1.0:
            ratio = "unknown" if gained is None else words.ratio(gained)
            refused.append(f"{_OWN} over pages of 1 gains nothing over FlashInfer's own: {ratio}")
            continue
        notes += [f"decode steps: {words.ratio(gained)} over FlashInfer's own kernel, both over pages of 1", *lines]
        files |= files_of(geometry, entries, run, words.ratio(gained))
    if not files:
        detail = "; ".join(dict.fromkeys(refused)) or "the result has no decode step"
        raise NothingToExport(target="flashinfer", detail=detail)
    return Exported(files, (*_loading(run), *notes))


def _is_plain(geometry: Geometry) -> bool:
    special = (geometry.window_left, geometry.softcap, geometry.q_dtype)
    return special == (None, None, None) and not geometry.sinks and geometry.kv_dtype in (None, geometry.dtype)


def _entries(results: Sequence[WorkloadResult], run: RunFile) -> list[Entry]:
    """Of each batch size what is fastest at its longest context: a captured graph is replayed at every length, and a
    solution can't know which.
    """
    longest: dict[int, WorkloadResult] = {}
    for result in sorted(results, key=lambda each: each.workload.sizes["context"]):
        longest[result.workload.sizes["batch_size"]] = result
    found = []
    for batch, result in longest.items():
        times = _own_times(result, run)
        if times:
            key = min(sorted(times), key=lambda name: times[name].us)
            knobs = {name: value for name, value in parse_key(key)[1] if isinstance(value, int)}
            found.append(Entry(batch, knobs, key))
    return sorted(found, key=lambda entry: entry.batch)


def _own_times(result: WorkloadResult, run: RunFile) -> dict[str, Time]:
    """Of our kernel over pages of 1 with a fixed number of splits."""
    found = {}
    for candidate in result.candidates:
        backend, knobs = parse_key(candidate.key)
        values = dict(knobs)
        if backend == _OWN and values.get("page_size") == 1 and isinstance(values.get("splits"), int):
            time = time_of(result, candidate, run.device.device_kind)
            if time is not None and result.keeps(candidate):
                found[candidate.key] = time
    return found


def _gains(
    results: Sequence[WorkloadResult], entries: Sequence[Entry], weights: Mapping[str, float], run: RunFile
) -> tuple[Ratio | None, list[str]]:
    """Over FlashInfer's own kernel: of all steps by weight; and what to know, a line each."""
    by_batch = {entry.batch: entry for entry in entries}
    before, after, lines = [], [], []
    unknown = 0
    for result in results:
        entry = by_batch.get(result.workload.sizes["batch_size"])
        theirs = [
            time
            for candidate in result.candidates
            if candidate.key in _THEIRS and (time := time_of(result, candidate, run.device.device_kind)) is not None
        ]
        weight = weights[result.key]
        own = None if entry is None else _own_times(result, run).get(entry.key)
        if not weight:
            continue
        if own is None or not theirs or entry is None:
            unknown += 1
            continue
        slow = Weighed(weight, "theirs", min(theirs, key=lambda time: time.us))
        fast = Weighed(weight, entry.key, own)
        before.append(slow)
        after.append(fast)
        ratio = ratio_of(slow, fast)
        if ratio.high < 1.0:
            lines.append(f"slower: {result.workload.shape}, {words.ratio(ratio)}")
    if unknown:
        lines.append(f"not in that figure, as that setting was not measured there: {plural(unknown, 'workload')}")
    return ratio_of_steps(before, after), lines


def _loading(run: RunFile) -> list[str]:
    """How it is loaded, and whether the FlashInfer that is installed can."""
    lines = ["load it: FLASHINFER_TRACE_APPLY=1 FLASHINFER_TRACE_APPLY_PATH=FOLDER, in the server's environment"]
    lines.append(
        f"it is for {run.device.device} and needs Triton; a call that it doesn't fit raises, as FlashInfer has it"
    )
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.version("flashinfer-python")
        found = importlib.util.find_spec("flashinfer")
        folders = [] if found is None else list(found.submodule_search_locations or ())
        if any((Path(folder) / "trace_apply").is_dir() for folder in folders):
            return [*lines, f"the installed FlashInfer {installed} can load it"]
        return [*lines, f"the installed FlashInfer {installed} can't load it: it has no trace_apply (from {FIRST} on)"]
    measured = run.device.libraries.get("flashinfer", "not installed")
    if _is_older(measured):
        return [*lines, f"the FlashInfer that was measured, {measured}, can't load it (from {FIRST} on)"]
    return [*lines, f"FlashInfer loads it from {FIRST} on; none is installed here"]


def _is_older(version: str) -> bool:
    """Of a result; of what is no version nobody knows."""
    try:
        return Version(version) < Version(FIRST)
    except ValueError:  # "not installed", or a number of thousands of digits
        return False


ABOUT = Target("a folder that FLASHINFER_TRACE_APPLY loads: decode with our kernel", _make, name="flashinfer")
