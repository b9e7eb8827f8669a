"""Mutated files of every type that the program reads: does each end in a result or in one clear line?

    python benchmarks/fuzz.py [--count 10000] [--seed 1] [--workers 2] [--kind KIND] [--keep FOLDER]

Each input goes through ``main()`` as a command line would (caches and journals, which only ``tune`` reads, through
their readers and the same handling of errors), in processes forked from one that has imported everything. Counted
against the program: an exception nobody foresaw (exit code 70, a traceback, exit code 1 without a verdict, any
undocumented code, a refusal without its line), more than 10 s, more than 1 GB, a file in the folder that was changed.
Exit code 1: there was one.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import io
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_inputs

from autotune_cli.app import main as program
from autotune_cli.errors import AutotuneError

PATIENCE_S = 10.0
MOST_BYTES = 1e9
# Above this an allocation fails, so that a fault doesn't take the machine along.
LIMIT_BYTES = 6 << 30
# A worker is replaced after so many inputs, as kernel names and the like are remembered by a process.
LIFE = 400
CODES = (0, 1, 2, 3, 4)
FAULTS = ("traceback", "hang", "memory", "changed")


@dataclass
class Tally:
    """What became of the inputs of a kind."""

    read: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    most_mb: float = 0.0


def commands(kind: str, path: Path, good: Path, generator: random.Random) -> tuple[str, ...] | Callable[[], None]:
    """A command line that reads the file, or a function that does."""
    form = generator.choice(("table", "markdown", "json", "csv"))
    if kind.startswith("run"):
        shown = ("show", str(path), *generator.choice(((), ("--all",), ("--svg", str(path.parent.parent / "out.svg")))))
        sides = generator.choice(((path, good), (good, path)))
        return shown if generator.random() < 0.4 else ("diff", *map(str, sides), "--format", form, "--all")
    if kind.startswith("flashinfer"):
        side = path.parents[1] if path.parent.name == "entries" else path.parent if path.name[0] == "m" else path
        return ("diff", str(side), str(good), "--format", form, "--all", "--allow-different", "gpu")
    judged = ("--paged", "--format", generator.choice(("table", "markdown", "json")))
    if kind == "rules":
        return ("profile", "--from-trace", "example", "--rules", str(path), *judged)
    if kind == "config":
        # A timer that isn't there: everything is read and planned, and nothing is measured.
        return ("tune", "--device", "cpu", "--config", str(path), "--timer", "none")
    if kind == "cache":
        return lambda: _load_cache(path)
    if kind == "journal":
        return lambda: _load_journal(path)
    return ("profile", "--from-trace", str(path), *judged)


def _load_cache(path: Path) -> None:
    from autotune_cli.results.cache import CacheStore, lookup

    run, _ = CacheStore(path.parents[1], path.stem).load()
    for result in run.workloads if run else ():
        lookup(run, result.key, {**result.identity, "driver": "other"})


def _load_journal(path: Path) -> None:
    from autotune_cli.results.journal import Journal
    from autotune_cli.results.journal_files import find_resumable

    found = find_resumable(path.parents[1], "fuzz")
    if found is not None:
        journal, _ = Journal.resume(found)
        journal.close()


def place_of(kind: str, folder: Path) -> Path:
    """Where a file of a kind has to lie."""
    names = {
        "cache": "cache/fuzz.json",
        "journal": "runs/.fuzz.20261127_090000.journal",
        "trace gz": "t.json.gz",
        "nsys": "t.sqlite",
        "rules": "rules.toml",
        "flashinfer manifest": "store/manifest.json",
    }
    return folder / names.get(kind, "t.json")


def prepare(kind: str, data: bytes, folder: Path) -> tuple[Path, Path]:
    """Put the mutated file and a whole one of its kind into a folder."""
    path = place_of(kind, folder / "in")
    if kind.startswith("flashinfer") and kind != "flashinfer cache":
        stored = next(fuzz_inputs.ROOT.glob("tests/comparing/written_by_flashinfer/v2/*/manifest.json")).parent
        for name in ("store", "good"):
            shutil.copytree(stored, folder / "in" / name)
        good = folder / "in" / "good"
        if kind == "flashinfer entry":
            path = next(iter(sorted((folder / "in" / "store" / "entries").glob("*.json"))))
    else:
        good = folder / "in" / "good.json"
        path.parent.mkdir(parents=True)
        good.write_bytes(fuzz_inputs.whole("run" if kind == "run v1" else kind))
    path.write_bytes(data)
    return path, good


def one(index: int, seed: int, kind: str, folder: Path, begun: Callable[[], None]) -> dict[str, Any]:
    """Try one input, once ``begun`` is told; what happened."""
    generator = random.Random(f"{seed} {index}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, good = prepare(kind, fuzz_inputs.mutated(kind, generator), folder)
    command = commands(kind, path, good, generator)
    before = _contents(folder / "in")
    gc.collect()
    _reset_peak()
    begun()
    start = time.perf_counter()
    code, out, err = call(command)
    seconds = time.perf_counter() - start
    peak = _peak()
    found: dict[str, Any] = {"index": index, "kind": kind, "code": code, "seconds": seconds, "peak": peak}
    words = None if callable(command) else command
    fault = fault_of(code, out, err, words)
    if fault is None and peak > MOST_BYTES:
        fault = "memory", f"{peak / 1e6:.0f} MB"
    if fault is None and not _kept(kind, before, _contents(folder / "in")):
        fault = "changed", "a file was changed"
    accepted = "unknown timer" in err if kind == "config" else code != 2
    return found | {"accepted": accepted, "fault": fault, "command": "-" if words is None else " ".join(words)}


def call(command: tuple[str, ...] | Callable[[], None]) -> tuple[int | None, str, str]:
    """Exit code (None: an exception came out), stdout and stderr of ``main()``."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    code: int | None = 0
    with _in_place_of(*streams):
        try:
            if callable(command):
                try:
                    command()
                except AutotuneError as error:
                    print(f"error: {error}", file=sys.stderr)
                    code = error.exit_code
            else:
                sys.argv = ["autotune", *command]
                program()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            code = None
            streams[1].buffer.write(traceback.format_exc().encode("utf-8", "backslashreplace"))
    out, err = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in streams)  # type: ignore[attr-defined]
    return code, out, err


@contextmanager
def _in_place_of(out: Any, err: Any) -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def fault_of(code: int | None, out: str, err: str, command: tuple[str, ...] | None) -> tuple[str, str] | None:
    """What is wrong with how a call ended, and the words for it; None: nothing."""
    if code is None or code == 70 or "Traceback (most recent call last)" in err:
        lines = [line.strip() for line in err.splitlines() if line.strip()]
        places = [line for line in lines if re.search(r'File ".*(?:autotune_cli|kernels)/', line)]
        return "traceback", f"{lines[-1][:160] if lines else ''} {places[-1] if places else ''}"
    if code not in CODES:
        return "traceback", f"exit code {code}"
    if code == 2 and not re.search(r"^error: .", err, re.M):
        return "traceback", f"exit code 2 without its line: {err[:200]!r}"
    verdict = re.search(r"exit 1|FAIL|\"(?:exit_code|exit)\": 1|^slower|,slower,|\"verdict\"", out + err, re.M)
    if code == 1 and (command is None or command[0] == "show" or not verdict):
        return "traceback", f"exit code 1 without a verdict: {(out + err)[-200:]!r}"
    if code in (3, 4) and not (out + err).strip():
        return "traceback", f"exit code {code} without a word"
    return None


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def _kept(kind: str, before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    if kind == "cache":
        # One that can't be used is set aside under another name, whole.
        return sorted(before.values()) == sorted(after.values())
    if kind == "journal":
        # Resuming takes the half line off that a kill left at the end.
        return before.keys() == after.keys()
    return before == after


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024.0 * int(match[1]) if match else 0.0


def work(indices: list[int], seed: int, kinds: tuple[str, ...], folder: Path, pipe: int) -> None:
    """What a worker does: each input is announced, tried and reported."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def tell(message: dict[str, Any]) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    for index in indices:
        tell(one(index, seed, kinds[index % len(kinds)], folder, lambda index=index: tell({"begun": index})))


class Worker:
    """A forked process with a share of the inputs."""

    def __init__(self, indices: list[int], seed: int, kinds: tuple[str, ...], folder: Path) -> None:
        self.left = list(indices)
        self.begun: tuple[int, float, float] | None = None
        """The input that is being tried, the time, and the processor seconds that the worker had had by then."""
        self.text = b""
        self.pipe, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.pipe)
                work(self.left[:LIFE], seed, kinds, folder, theirs)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(theirs)

    def messages(self) -> list[dict[str, Any]] | None:
        """What came in; None: the worker has ended."""
        data = os.read(self.pipe, 1 << 16)
        if not data:
            return None
        *lines, self.text = (self.text + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def usage(self) -> tuple[str, float]:
        """The process's state and the processor seconds that it has had."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def hangs(self) -> bool:
        """Has an input taken too long? One that waits for a processor on a busy machine hasn't."""
        if self.begun is None:
            return False
        seconds = time.monotonic() - self.begun[1]
        if seconds <= PATIENCE_S:
            return False
        state, processor_s = self.usage()
        return state != "R" or processor_s - self.begun[2] > 0.8 * PATIENCE_S or seconds > 6 * PATIENCE_S

    def end(self, kill: bool = False) -> None:
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def fuzz(count: int, seed: int, workers: int, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Try so many inputs; what happened to each, in no order."""
    fuzz_inputs.make_whole(kinds)
    with tempfile.TemporaryDirectory() as root:
        running: dict[int, Worker] = {}
        folders = [Path(root) / str(number) for number in range(workers)]
        shares = [list(range(number, count, workers)) for number in range(workers)]
        for number, share in enumerate(shares):
            if share:
                running[number] = Worker(share, seed, kinds, folders[number])
        while running:
            pipes = {worker.pipe: number for number, worker in running.items()}
            for pipe in select.select(list(pipes), [], [], 0.2)[0]:
                number = pipes[pipe]
                worker = running[number]
                messages = worker.messages()
                for message in messages or ():
                    if "begun" in message:
                        worker.begun = message["begun"], time.monotonic(), worker.usage()[1]
                        continue
                    worker.begun = None
                    worker.left.remove(message["index"])
                    yield message
                if messages is None:
                    worker.end()
                    if worker.begun is not None:
                        yield _lost(worker, kinds, "traceback", "the process died")
                    _next(running, number, seed, kinds, folders[number])
            for number, worker in list(running.items()):
                if worker.hangs():
                    worker.end(kill=True)
                    yield _lost(worker, kinds, "hang", f"over {PATIENCE_S:g} s")
                    _next(running, number, seed, kinds, folders[number])


def _lost(worker: Worker, kinds: tuple[str, ...], fault: str, words: str) -> dict[str, Any]:
    assert worker.begun is not None
    index = worker.begun[0]
    worker.left.remove(index)
    common = {"index": index, "kind": kinds[index % len(kinds)], "code": None, "accepted": False, "command": "?"}
    return common | {"seconds": time.monotonic() - worker.begun[1], "peak": 0.0, "fault": (fault, words)}


def _next(running: dict[int, Worker], number: int, seed: int, kinds: tuple[str, ...], folder: Path) -> None:
    left = running.pop(number).left
    if left:
        running[number] = Worker(left, seed, kinds, folder)


def table(tallies: dict[str, Tally]) -> str:
    """The counts, in Markdown."""
    head = ("file", "tried", "read", "refused", *(f"{fault}" for fault in FAULTS), "slowest", "most memory")
    rows = [head, tuple("---" if column == 0 else "---:" for column in range(len(head)))]
    whole = Tally()
    for kind, tally in sorted(tallies.items()):
        rows.append(_row(kind, tally))
        whole.read += tally.read
        whole.refused += tally.refused
        whole.faults += tally.faults
        whole.slowest_s = max(whole.slowest_s, tally.slowest_s)
        whole.most_mb = max(whole.most_mb, tally.most_mb)
    rows.append(_row("all", whole))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(kind: str, tally: Tally) -> tuple[str, ...]:
    faults = [str(tally.faults[fault]) for fault in FAULTS]
    tried = tally.read + tally.refused + tally.faults.total()
    return (
        kind, str(tried), str(tally.read), str(tally.refused), *faults, f"{tally.slowest_s:.1f} s",
        f"{tally.most_mb:.0f} MB",
    )  # fmt: skip


def keep(folder: Path, index: int, seed: int, kind: str) -> Path:
    """Write an input again, to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{index}.{place_of(kind, folder).name.lstrip('.')}"
    path.write_bytes(fuzz_inputs.mutated(kind, random.Random(f"{seed} {index}")))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=fuzz_inputs.kinds(), action="append")
    parser.add_argument("--keep", type=Path, help="write inputs that met a fault into this folder")
    options = parser.parse_args()
    kinds = tuple(options.kind or fuzz_inputs.kinds())
    tallies = {kind: Tally() for kind in kinds}
    start = time.monotonic()
    for found in fuzz(options.count, options.seed, options.workers, kinds):
        tally = tallies[found["kind"]]
        tally.slowest_s = max(tally.slowest_s, found["seconds"])
        tally.most_mb = max(tally.most_mb, found["peak"] / 1e6)
        if found["fault"] is None:
            tally.read += found["accepted"]
            tally.refused += not found["accepted"]
            continue
        tally.faults[found["fault"][0]] += 1
        print(f"{found['index']} {found['kind']}: {': '.join(found['fault'])} | {found['command']}", file=sys.stderr)
        if options.keep is not None:
            keep(options.keep, found["index"], options.seed, found["kind"])
    faults = sum(tally.faults.total() for tally in tallies.values())
    print(table(tallies))
    print(f"\n{options.count} inputs, seed {options.seed}, {faults} faults, {time.monotonic() - start:.0f} s")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
