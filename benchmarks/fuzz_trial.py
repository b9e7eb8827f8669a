"""One mutated file through the program: what happened, and whether that is a fault. For ``fuzz.py``."""

from __future__ import annotations

import gc
import hashlib
import io
import random
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fuzz_inputs

from autotune_cli.app import main as program
from autotune_cli.errors import AutotuneError

MOST_BYTES = 1e9
CODES = (0, 1, 2, 3, 4)


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


def path_of(kind: str, folder: Path) -> Path:
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
    path = path_of(kind, folder / "in")
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
        frames = [line for line in lines if re.search(r'File ".*(?:autotune_cli|kernels)/', line)]
        return "traceback", f"{lines[-1][:160] if lines else ''} {frames[-1] if frames else ''}"
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
