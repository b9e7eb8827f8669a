"""Older result files are upgraded on load, one schema version at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune_cli.errors import BadFile, NewerSchema
from autotune_cli.results.schema import SCHEMA_VERSION

Document = dict[str, Any]

# What version 1 called the default, by the first part of the operation's name and the kind of device. On a GPU it was
# what SGLang runs with --attention-backend flashinfer, which its untuned server runs on no Hopper GPU.
_DEFAULT_OF_1 = {
    ("attention", "cuda"): ("sglang --attention-backend flashinfer", "flashinfer"),
    ("attention", "cpu"): ("sglang --attention-backend torch_native", "torch_native"),
    ("topk", "cuda"): ("sglang", "sgl-kernel"),
    ("topk", "cpu"): ("sglang --dsa-topk-backend torch", "torch"),
}


def _name_the_baseline(document: Document) -> Document:
    """1 to 2: the speed-up says what it is over, and each workload lists its baselines."""
    kinds = {key: environment["device_kind"] for key, environment in document["environments"].items()}
    workloads = [_with_baseline(result, kinds[result["environment"]]) for result in document["workloads"]]
    return {**document, "workloads": workloads}


def _with_baseline(result: Document, kind: str) -> Document:
    name, backend = _DEFAULT_OF_1[result["workload"]["operation"].split(".")[0], kind]
    choice = result.get("choice")
    marked = [candidate for candidate in result["candidates"] if candidate.get("default")]
    if not marked:
        return result
    default = marked[0]
    measured = default["status"] in ("ok", "eliminated")
    baseline = {
        "name": name,
        "engine": "sglang",
        "version_from": "not recorded",
        "backend": backend,
        "candidate": default["key"],
        "missing": None if measured else f"{default['status']}: {default.get('reason')}",
        "source": "the default of files of schema version 1",
    }
    if choice is None:
        return {**result, "baselines": [baseline]}
    if measured:
        baseline |= {"speedup": choice.get("speedup"), "speedup_interval": choice.get("speedup_interval")}
    over = name if choice.get("default") is not None else None
    return {**result, "baselines": [baseline], "choice": {**choice, "over": over}}


UPGRADES: dict[int, Callable[[Document], Document]] = {1: _name_the_baseline}
"""By version: turns a document of that version into the next one's. It need not set ``schema_version``."""


def upgrade(document: object, path: Path) -> tuple[Document, bool]:
    """A parsed file as the schema version this program writes, and whether anything was changed.

    Raises:
        NewerSchema: the file was written by a newer version.
        BadFile: no result file, no version in it, or one too old.
    """
    if not isinstance(document, dict):
        raise BadFile(path=path, detail="not a result file: the JSON is no object")
    if "schema_version" not in document:
        raise BadFile(path=path, detail="not a result file: it has no schema_version")
    version = document["schema_version"]
    if type(version) is not int:  # True is an int to isinstance
        raise BadFile(path=path, detail="schema_version: must be a whole number")
    if version > SCHEMA_VERSION:
        raise NewerSchema(path=path, found=version, known=SCHEMA_VERSION)
    changed = version != SCHEMA_VERSION
    while version != SCHEMA_VERSION:
        step = UPGRADES.get(version)
        if step is None:
            raise BadFile(path=path, detail=f"schema version {version} is unknown, this version reads {_readable()}")
        try:
            document = step(document)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # Nothing is validated yet, so an upgrade may trip over a file that was edited by hand.
            raise BadFile(
                path=path, detail=f"a damaged file of schema version {version}: {type(error).__name__}: {error}"
            ) from error
        version += 1
        document = {**document, "schema_version": version}
    return document, changed


def _readable() -> str:
    return ", ".join(str(version) for version in sorted({*UPGRADES, SCHEMA_VERSION}))
