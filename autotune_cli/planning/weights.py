"""How often each workload is in a step: as the result says, as the user says, or all alike."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.errors import BadField, BadFile
from autotune_cli.reading import Unreadable, decode, parse_json, read_bytes
from autotune_cli.results.schema import WorkloadResult

EQUAL = "equal"
_FIELD = "traffic_weights"
# Squares of weighted times are added up, and have to stay numbers.
_LEAST, _MOST = 1e-30, 1e30


@dataclass(frozen=True)
class Weights:
    """Calls of each workload, in any unit, and where that is from, in words."""

    by_workload: Mapping[str, float]
    """By key; 0.0: no part of the step."""
    source: str
    has_layers: bool = False
    """Are they calls of all layers, and not of one of each kind?"""


def weights_of(results: Sequence[WorkloadResult], text: str | None = None) -> Weights:
    """The weights of a file's workloads.

    Args:
        text: ``equal``; ``decode=8,prefill=1``, where a name is an operation, with or without what stands before the
            dot, or an operation and a batch shape (``decode 64x8192=30``), and workloads that no name fits have 0; or a
            JSON file with an object of weights by workload key. None: the result's own weights, else ``equal``.

    Raises:
        BadField: text that makes no sense, or that fits no workload. BadFile: a file that can't be read.
    """
    if text is None:
        own = {result.key: weight for result in results if (weight := own_weight(result)) is not None}
        if own:
            # As the traffic's suite has them: steps times layers.
            weights = _checked({result.key: own.get(result.key, 0.0) for result in results})
            return Weights(weights, "the result's traffic", True)
        return Weights({result.key: 1.0 for result in results}, "all workloads alike: the result has no weights")
    text = text.strip()
    if text == EQUAL:
        return Weights({result.key: 1.0 for result in results}, "all workloads alike")
    if not text:
        raise BadField(_FIELD, "is empty")
    if "=" in text:
        return Weights(_by_name(results, text), text)
    return Weights(_of_file(results, Path(text)), text)


def own_weight(result: WorkloadResult) -> float | None:
    """What the result says of the workload's share of the traffic it was tuned for; None: nothing."""
    weight = getattr(result, "weight", None)
    return None if weight is None else float(weight)


def _by_name(results: Sequence[WorkloadResult], text: str) -> dict[str, float]:
    found = {result.key: 0.0 for result in results}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.rpartition("=")
        weight = _number(number.strip(), part)
        wanted = "".join(name.lower().split())
        fitting = [result.key for result in results if wanted and wanted in _names(result)]
        if not fitting:
            shown = ", ".join(dict.fromkeys(result.workload.operation for result in results))
            raise BadField(_FIELD, f"{name.strip()!r} fits no workload of this result ({shown})")
        found.update(dict.fromkeys(fitting, weight))
    return _checked(found)


def _names(result: WorkloadResult) -> set[str]:
    """What a workload may be called, without spaces."""
    operation, workload = result.workload.operation, result.workload
    written = (workload.shape, workload.full_shape, workload.full_shape.replace("≤", "<="))
    shapes = {"".join(text.split()) for text in written}
    short = operation.partition(".")[2]
    family = operation.partition(".")[0]
    return {family, *(f"{name}{end}" for name in (operation, short) for end in ("", *shapes))}


def _of_file(results: Sequence[WorkloadResult], path: Path) -> dict[str, float]:
    if not os.path.lexists(path):
        text = f"{str(path)!r} is neither 'equal', nor weights such as decode=8,prefill=1, nor a file"
        raise BadField(_FIELD, text)
    try:
        document = parse_json(decode(read_bytes(path, what="file of weights")))
    except Unreadable as error:
        raise BadFile(path=path, detail=str(error)) from error
    if not isinstance(document, dict):
        raise BadFile(path=path, detail="no object of weights by workload key")
    known = {result.key for result in results}
    strange = [key for key in document if key not in known]
    if strange:
        raise BadFile(path=path, detail=f"{strange[0]!r} is no workload of this result")
    weights = {key: _number(json.dumps(document.get(key, 0.0)), key) for key in known}
    return _checked({result.key: weights[result.key] for result in results})


def _number(text: str, part: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0.0 <= weight < math.inf:
        raise BadField(_FIELD, f"{part!r} has no weight of 0 or more")
    return weight


def _checked(weights: dict[str, float]) -> dict[str, float]:
    if not any(weights.values()):
        raise BadField(_FIELD, "leaves no workload with a weight above 0")
    for key, weight in weights.items():
        if weight and not _LEAST <= weight <= _MOST:
            raise BadField(_FIELD, f"a weight of {weight:g} ({key}) is not within {_LEAST:g} .. {_MOST:g}")
    return weights
