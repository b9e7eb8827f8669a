"""What was tuned, for a server to ask at run time: the fastest candidate of the nearest workload. No torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autotune_cli.api.covering import fewest
from autotune_cli.api.run import load_cache
from autotune_cli.errors import AutotuneError
from autotune_cli.results.schema import MEASURED, WorkloadResult

# So many different questions are remembered; a server asks few.
_MOST_REMEMBERED = 1 << 16


class OtherDevice(AutotuneError):
    """A table that has nothing of the device that it is for."""

    template = "{path} has results of {found}, not of {device}; device={example!r} takes them all the same"


class NoGpu(Exception):
    """This machine's GPU can't be told: there is none, no driver, or ``CUDA_VISIBLE_DEVICES`` names something else."""


class NotInTable(AutotuneError):
    """A question that a table has no answer to."""

    template = "{path}: {detail}"


@dataclass(frozen=True)
class Best:
    """The candidate to run."""

    backend: str
    knobs: Mapping[str, Any]
    candidate: str
    """Its key, as result files have it."""
    us: float
    """Its time in the workload, in microseconds."""
    slowdown: float
    """That time over the best candidate's: above 1.0 in a table that ``max_slowdown`` has narrowed."""
    workload: str
    """Key of the tuned workload that is nearest."""
    factors: Mapping[str, float]
    """Of each size, what was asked for over what was tuned; 1.0: the same."""
    weight: float | None = None
    """How often a server runs the tuned workload, as against the table's others; None: it was not tuned for traffic."""

    @property
    def is_exact(self) -> bool:
        """Was the very workload tuned?"""
        return all(factor == 1.0 for factor in self.factors.values())


@dataclass(frozen=True)
class _Tuned:
    """A workload with what may be chosen for it."""

    result: WorkloadResult
    times: Mapping[str, float]
    """Medians by candidate, the winner's first."""

    @cached_property
    def logs(self) -> tuple[tuple[str, float], ...]:
        return tuple((name, math.log(size)) for name, size in self.result.workload.sizes.items())

    def choose(self, among: Iterable[str] | None, sizes: Mapping[str, int]) -> Best:
        (first, least), *_ = self.times.items()
        key = first if among is None else min(set(among) & self.times.keys(), key=lambda name: self.times[name])
        candidate = self.result.candidate(key)
        tuned = self.result.workload.sizes
        return Best(
            candidate.backend,
            candidate.knobs,
            key,
            self.times[key],
            max(1.0, self.times[key] / least),
            self.result.key,
            {name: size / tuned[name] for name, size in sizes.items()},
            self.result.weight,
        )


@dataclass(frozen=True)
class Table:
    """The results of one device; safe to ask from several threads."""

    path: Path
    device: str
    max_slowdown: float
    _groups: Mapping[tuple[str, str], tuple[_Tuned, ...]] = field(repr=False)
    _narrowed: Mapping[tuple[str, str], frozenset[str]] = field(repr=False)
    _known: dict[tuple[Any, ...], Best] = field(default_factory=dict, repr=False)

    @property
    def operations(self) -> tuple[str, ...]:
        """What can be asked for: ``attention.decode``, or with a window ``attention.decode window 128``."""
        return tuple(dict.fromkeys(title for title, _ in self._groups))

    @property
    def candidates(self) -> Mapping[str, frozenset[str]]:
        """Keys of the candidates that :meth:`best` can answer with, by operation: what a server must have ready."""
        found: dict[str, frozenset[str]] = {}
        for (title, mode), group in self._groups.items():
            narrowed = self._narrowed.get((title, mode)) or {next(iter(tuned.times)) for tuned in group}
            found[title] = found.get(title, frozenset()) | narrowed
        return found

    def best(self, operation: str, *, mode: str | None = None, **sizes: int) -> Best:
        """The fastest right candidate of the tuned workload that is nearest.

        Args:
            operation: one of :attr:`operations`.
            mode: ``eager`` or ``graph``; None: as it was tuned, where that is one of them.
            sizes: of the batch: ``batch_size`` and ``context`` of a decode or prefill, ``new`` as well of an extend;
                ``rows``, ``width`` and ``k`` of a top-k. Nearest is what differs least in the sum of their logarithms.

        Raises:
            NotInTable: nothing of the operation, or of that mode.
            TypeError: other sizes than the operation has; ValueError: one below 1, or none.
        """
        question = (operation, mode, *sizes.items())
        known = self._known.get(question)
        if known is None:
            known = self._look_up(operation, mode, sizes)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[question] = known
        return known

    def _look_up(self, operation: str, mode: str | None, sizes: Mapping[str, int]) -> Best:
        key = self._group(operation, mode)
        group = self._groups[key]
        wanted = group[0].result.workload.sizes.keys()
        if sizes.keys() != wanted:
            raise TypeError(f"{operation} has the sizes {', '.join(wanted)}, not {', '.join(sizes) or 'none'}")
        if not all(1 <= size < math.inf for size in sizes.values()):  # NaN is not
            raise ValueError(f"sizes are numbers from 1 on: {dict(sizes)}")
        asked = {name: math.log(size) for name, size in sizes.items()}
        nearest = min(group, key=lambda tuned: sum(abs(asked[name] - log) for name, log in tuned.logs))
        return nearest.choose(self._narrowed.get(key), sizes)

    def _group(self, operation: str, mode: str | None) -> tuple[str, str]:
        found = [key for key in self._groups if key[0] == operation and mode in (None, key[1])]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotInTable(path=self.path, detail=f"{operation} was tuned in modes eager and graph: name one")
        modes = {of_mode for title, of_mode in self._groups if title == operation}
        if modes:
            raise NotInTable(path=self.path, detail=f"{operation} was tuned in mode {modes.pop()}, not {mode}")
        raise NotInTable(path=self.path, detail=f"nothing of {operation}; it has {', '.join(self.operations)}")


def load_table(
    name: str, *, device: str | None = None, max_slowdown: float | None = None, root: str | Path | None = None
) -> Table:
    """What ``autotune tune`` has kept in ``cache/<name>.json`` for a device.

    Args:
        device: product name, as ``autotune show`` prints it, or a part of it; None: this machine's GPU, the first of
            ``CUDA_VISIBLE_DEVICES``.
        max_slowdown: 1.05: of each operation the fewest candidates of which one is within 5 % of the best in every
            workload. None: the best of each.
        root: folder of ``cache/``; None: ``AUTOTUNE_ROOT``, or else the current folder.

    Raises:
        NoSuchResult: there is no such cache; BadFile: it can't be read.
        OtherDevice: it has nothing of that device.
        NotInTable: no workload of it has a right candidate.
        ValueError: a ``max_slowdown`` below 1.0.
    """
    if max_slowdown is not None and not max_slowdown >= 1.0:
        raise ValueError(f"max_slowdown is a ratio of times, 1.0 or more, not {max_slowdown}")
    run = load_cache(name, root=root)
    try:
        here = wanted = device if device is not None else _this_gpu()
    except NoGpu as error:
        here, wanted = "", f"this machine, of whose GPU nothing is known ({error})"
    found = {key: environment.device for key, environment in run.environments.items()}
    products = list(dict.fromkeys(found.values()))
    if device is not None and here not in products:
        # As the commands take it: a part of the name that is of one product only.
        wanted_part = " ".join(device.lower().split())
        fitting = [product for product in products if wanted_part and wanted_part in product.lower()]
        here = fitting[0] if len(fitting) == 1 else here
    keys = {key for key, product in found.items() if product == here}
    if not keys:
        raise OtherDevice(
            path=run.path, found=" and ".join(products), device=wanted,
            example=products[0] if products else "",
        )  # fmt: skip
    groups: dict[tuple[str, str], list[_Tuned]] = {}
    # A product may have results under two drivers or library versions: of a workload the newest counts.
    measured = sorted((result for result in run.workloads if result.environment in keys), key=lambda r: r.measured_at)
    for result in {result.key: result for result in measured}.values():
        times = _times(result)
        if times:
            groups.setdefault((result.workload.title, result.workload.mode), []).append(_Tuned(result, times))
    if not groups:
        raise NotInTable(path=run.path, detail=f"no workload on {here} has a right candidate")
    narrowed = {}
    if max_slowdown is not None:
        narrowed = {key: _fewest(group, max_slowdown) for key, group in groups.items()}
    tuned = {key: tuple(group) for key, group in groups.items()}
    return Table(run.path, here, max_slowdown or 1.0, tuned, narrowed)


def _times(result: WorkloadResult) -> dict[str, float]:
    """Medians of the candidates that were measured, are right and keep what is required, by key; the winner's first,
    then by time.
    """
    if result.choice is None or result.choice.winner is None:
        return {}
    winner = result.choice.winner
    medians = {
        candidate.key: candidate.median_us
        for candidate in result.candidates
        if candidate.median_us is not None and candidate.status in MEASURED and result.keeps(candidate)
    }
    return dict(sorted(medians.items(), key=lambda item: (item[0] != winner, item[1]))) if winner in medians else {}


def _fewest(group: Sequence[_Tuned], most: float) -> frozenset[str]:
    """Of the candidates of a group's workloads, so few that each workload has one within ``most`` of its best."""
    options = []
    for tuned in group:
        least = next(iter(tuned.times.values()))
        options.append({key: us / least for key, us in tuned.times.items() if us <= most * least})
    return fewest(options)


def _this_gpu() -> str:
    """Product name of the GPU that CUDA would take first, by NVML.

    Raises:
        NoGpu: with NVML's reason.
    """
    import pynvml

    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    try:
        pynvml.nvmlInit()
        by_uuid = first.startswith("GPU-")
        handle = pynvml.nvmlDeviceGetHandleByUUID(first) if by_uuid else pynvml.nvmlDeviceGetHandleByIndex(int(first))
        return str(pynvml.nvmlDeviceGetName(handle))
    except (pynvml.NVMLError, ValueError) as error:
        raise NoGpu(str(error)) from error
