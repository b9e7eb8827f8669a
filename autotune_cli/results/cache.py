"""The reusable results of a name: ``cache/<name>.json``, shared by processes and devices."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autotune_cli.errors import BadFile, CannotWrite
from autotune_cli.results.atomic import cannot_write, make_folder, remove_temporaries, write_atomic
from autotune_cli.results.files import dump_run, read_run
from autotune_cli.results.identity import FILE, explain, loaded_part, planned_part
from autotune_cli.results.integrity import sound_part
from autotune_cli.results.runs import check_name
from autotune_cli.results.schema import RunFile, StandsFor, WorkloadResult

CACHE = "cache"
# A save takes well under a second; a process that holds the lock longer is stopped or stuck.
LOCK_TIMEOUT_S = 60.0
UNFINISHED = {
    "budget": "the cached race ran out of budget",
    "interrupted": "the cached race was interrupted",
    "killed": "a worker was killed from outside when it was cached",
    "reference": "the exact output was not computed when it was cached",
}


class CacheStore:
    """The cache file of a name.

    Raises:
        BadName: see :func:`autotune_cli.results.runs.check_name`.
    """

    def __init__(self, root: Path, name: str) -> None:
        check_name(name)
        self.name = name
        self.path = root / CACHE / f"{name}.json"
        # Hidden, so that no other name's cache can be called like it. It stays: removing a lock breaks it.
        self._lock_path = self.path.with_name(f".{self.path.name}.lock")

    def load(self) -> tuple[RunFile | None, list[str]]:
        """What is cached, and notes for the user. A file that can't be used is set aside, and nothing is cached; of one
        that was edited, only what still fits is used.

        Raises:
            CannotWrite: a file can't be used and can't be set aside.
        """
        notes: list[str] = []
        try:
            run = self._read()
        except BadFile:
            # Read again under the lock: meanwhile another process may have set it aside and saved a good one.
            with self._locked():
                run, notes = self._read_or_set_aside()
        if run is None:
            return None, notes
        run, unused = sound_part(run, self.path)
        return run, [*notes, *unused]

    def save(self, run: RunFile) -> list[str]:
        """Merge a run into the file, see :func:`merge`, and return notes for the user.

        Raises:
            CannotWrite: a full disk, a read-only folder, a lock that another process doesn't give back.
        """
        with self._locked():
            remove_temporaries(self.path)
            stored, notes = self._read_or_set_aside()
            if stored is not None:
                stored, unused = sound_part(stored, self.path)
                if unused:
                    # What is wrong was said when the cache was looked up; a copy keeps what is now dropped from it.
                    copy = self._free_name()
                    write_atomic(copy, self.path.read_text(encoding="utf-8-sig"))
                    notes.append(f"{self.path}: the results that were not used are kept in {copy.name}")
            write_atomic(self.path, dump_run(merge(stored, run, self.name)))
        return notes

    def _read(self) -> RunFile | None:
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return None
        except OSError:
            pass  # a loop of links, a folder that may not be entered: reading says what
        else:
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise BadFile(path=self.path, detail="not a regular file")  # reading a pipe would never end
        return read_run(self.path)

    def _read_or_set_aside(self) -> tuple[RunFile | None, list[str]]:
        try:
            return self._read(), []
        except BadFile as error:
            moved = self._set_aside()
            return None, [f"{error}; kept as {moved.name}, tuning starts without a cache"]

    def _free_name(self) -> Path:
        names = (self.path.with_name(f"{self.path.name}.bad-{number}") for number in itertools.count(1))
        return next(name for name in names if not os.path.lexists(name))

    def _set_aside(self) -> Path:
        free = self._free_name()
        try:
            os.rename(self.path, free)
        except OSError as error:
            cannot_write(self.path, error)
        return free

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            make_folder(self.path.parent)
            # One of its own each time, as a FileLock is reentrant for its thread.
            lock = FileLock(self._lock_path, timeout=LOCK_TIMEOUT_S)
            lock.acquire()
        except Timeout as error:
            raise CannotWrite(
                path=self.path, detail=f"another process has held {self._lock_path.name} for {LOCK_TIMEOUT_S:g} s"
            ) from error
        except OSError as error:
            cannot_write(self.path, error)
        try:
            yield
        finally:
            lock.release()


def merge(stored: RunFile | None, run: RunFile, name: str) -> RunFile:
    """The cache file after a run: one result a workload and device, the run's before the stored one's.

    Two of the run's don't replace a stored one that can be reused: what the run itself took from the cache (the
    stored one is the same or newer), and a result without a choice or cut short where the stored one's identity is
    equal (another process was faster). Environments that no result names are dropped.

    Weights are of one traffic: a run with another one than the stored file's takes the weights of all stored results
    that aren't its own, and a run without traffic leaves all as they are.
    """
    if stored is not None:
        stored, run = _weights_of_one(stored, run)
    results: dict[tuple[str, str], tuple[WorkloadResult, str]] = {}
    environments = {**(stored.environments if stored else {}), **run.environments}
    for source in (stored, run):
        for result in source.workloads if source else ():
            slot = (result.key, environments[result.environment].device)
            known = results.get(slot)
            if source is run and known is not None and _stored_is_better(known[0], result):
                weights = {"weight": result.weight, "stands_for": result.stands_for}
                results[slot] = (known[0].model_copy(update=weights), known[1])
                continue
            # "Reused in this run" says nothing in a cache.
            results[slot] = (result.model_copy(update={"reused": False}), result.environment)
    used = {run.environment, *(environment for _, environment in results.values())}
    fields = {field: getattr(run, field) for field in RunFile.model_fields}
    fields |= {
        "kind": "cache",
        "flashinfer": run.flashinfer or (stored.flashinfer if stored else None),
        "name": name,
        "environments": {key: value for key, value in environments.items() if key in used},
        "workloads": tuple(result for result, _ in results.values()),
    }
    return RunFile(**fields)


def _weights_of_one(stored: RunFile, run: RunFile) -> tuple[RunFile, RunFile]:
    """Both with the weights that the merged file is to have."""
    if run.traffic is None:
        if stored.traffic is None:
            return stored, run
        weights = {result.key: (result.weight, result.stands_for) for result in stored.workloads}
        return stored, _with_weights(run, weights).model_copy(update={"traffic": stored.traffic})
    if stored.traffic is not None and stored.traffic.digest == run.traffic.digest:
        return stored, run
    return _with_weights(stored, {}), run


def _with_weights(run: RunFile, weights: Mapping[str, tuple[float | None, StandsFor | None]]) -> RunFile:
    results = []
    for result in run.workloads:
        weight, part = weights.get(result.key, (None, None))
        results.append(result.model_copy(update={"weight": weight, "stands_for": part}))
    return run.model_copy(update={"workloads": tuple(results)})


def lookup(
    run: RunFile | None, key: str, identity: Mapping[str, str], digest: Callable[[str], str] = lambda name: ""
) -> tuple[WorkloadResult | None, list[str]]:
    """The cached result of a workload, or why there is none.

    A result is reused if its identity is equal, it has a choice and its race was not cut short.

    Args:
        run: what :meth:`CacheStore.load` returned.
        key: of the workload.
        digest: hash of a user's file as it is now, by its name in an identity; empty where there is none.

    Returns:
        The result and no reasons; or None and the reasons, against the most alike result of that workload, one of
        this device before others.
    """
    entries = [result for result in run.workloads if result.key == key] if run else []
    wanted = {id(result): identity_now(result, identity, digest) for result in entries}
    for result in entries:
        if result.identity == wanted[id(result)] and _why_unusable(result) is None:
            return result, []
    if not entries:
        return None, ["not in the cache"]

    def distance(result: WorkloadResult) -> tuple[bool, int]:
        return result.identity.get("device") != identity.get("device"), len(
            explain(result.identity, wanted[id(result)])
        )

    nearest = min(entries, key=distance)
    unusable = _why_unusable(nearest)
    return None, explain(nearest.identity, wanted[id(nearest)]) or [unusable or "not in the cache"]


def identity_now(result: WorkloadResult, identity: Mapping[str, str], digest: Callable[[str], str]) -> dict[str, str]:
    """What a result's identity must be to hold today: a plan's, and the users' files that it was measured with."""
    files = {FILE + name: digest(name) for name in loaded_part(result.identity)}
    return {**identity, **{name: text for name, text in files.items() if text}}


def _why_unusable(result: WorkloadResult) -> str | None:
    if result.stopped in UNFINISHED:
        return UNFINISHED[result.stopped]
    return "no candidate was right when it was cached" if result.choice is None else None


def _stored_is_better(stored: WorkloadResult, new: WorkloadResult) -> bool:
    if _why_unusable(stored) is not None:
        return False
    same = planned_part(stored.identity) == planned_part(new.identity)
    return new.reused or (same and _why_unusable(new) is not None)
