"""Runs of ``autotune tune`` that are killed at random moments and resumed: is anything lost, repeated or left behind?

    python benchmarks/kills.py [--kills 50] [--others 10] [--seed 1] [--workers 1]

A tiny suite of the CPU with the slow kernels of the tests is run to its end once, for the time it takes. Then it is
begun again and again, each time in a fresh folder, sent SIGKILL (or SIGTERM, SIGINT, SIGHUP) at a random moment, and
resumed with ``--resume``, or begun anew where nothing was begun. Half of the moments are drawn from the whole time,
half from the time that the run has a journal. Every other run goes to a cache that already holds a result of another
suite. Counted against the program:

- lost: a round that was whole in the journal when the signal came, and isn't in the result with that very time;
- twice: a candidate whose vetting was in the journal and was vetted again, or two files of one run;
- strays: processes of the run that live 10 s after it;
- cache: an entry of the cache that is gone;
- left: journals, reservations and temporary files in the folders of the results after the run was resumed;
- failed: a resumed run that doesn't end with exit code 0 and a complete result.

Exit code 1: there was one of these.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

KERNELS = Path(__file__).resolve().parent.parent / "tests" / "tuning" / "steady_kernels.py"
SUITE = (
    "tune",
    "--json",
    "--device",
    "cpu",
    "--op",
    "topk",
    "--context",
    "4096",
    "--scores",
    "normal",
    "--name",
    "tiny",
)
# What is counted is what becomes of results, however noisy they are.
RACE = ("--kernels", str(KERNELS), "--backend", "steady", "--exhaustive", "--rounds", "3", "--keep-noisy")
# Of a folder's environment variables, by which its processes are known.
MARK = "STEADY_LOG"
STRAY_S = 10.0
PATIENCE_S = 300.0
COLUMNS = ("lost", "twice", "strays", "cache", "left", "failed")
Rounds = dict[tuple[str, str, int], float]


class Moment(NamedTuple):
    """When a run is killed."""

    journal: bool
    """After the journal is there, or after the start?"""
    after_s: float


class Folder:
    """One run's folder of results, temporary files and notes of vettings."""

    def __init__(self, path: Path, cached: bool) -> None:
        self.path = path
        self.log = path / "vettings"
        self.cached = cached
        (path / "tmp").mkdir(parents=True, exist_ok=True)

    def start(self, *options: str, batch: str = "1,2") -> subprocess.Popen[str]:
        cache = "--cache" if self.cached else "--no-cache"
        environment = {**os.environ, MARK: str(self.log), "TMPDIR": str(self.path / "tmp")}
        return subprocess.Popen(
            [sys.executable, "-m", "autotune_cli", *SUITE, "--batch", batch, *RACE, cache, *options],
            cwd=self.path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def has_journal(self) -> bool:
        return next((self.path / "runs").glob(".*.journal"), None) is not None

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Whole lines of the journals."""
        text = "".join(path.read_text() for path in (self.path / "runs").glob(".*.journal"))
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["record"] == kind]

    def rounds(self) -> Rounds:
        """Times in the journals."""
        return {
            (line["workload"], candidate, line["round"]["conditions"]["round"]): us
            for line in self.records("round")
            for candidate, us in line["round"]["times"].items()
        }

    def vetted(self) -> set[tuple[str, str]]:
        pairs = {(line["workload"], line["candidate"]["key"]) for line in self.records("vetted")}
        return {pair for pair in pairs if pair[1].startswith("steady")}

    def vettings(self) -> Counter[tuple[str, str]]:
        """How often each candidate was vetted in all."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter((key, candidate) for key, candidate, _ in (line.split("|") for line in lines))

    def result_files(self) -> list[Path]:
        return sorted((self.path / ("cache" if self.cached else "runs")).glob("[!.]*.json"))

    def left(self) -> list[str]:
        """Files beside results and locks."""
        files = [path for name in ("runs", "cache") for path in (self.path / name).glob("*")]
        kept = {*self.result_files(), self.path / "cache" / ".tiny.json.lock"}
        return [path.name for path in files if path not in kept]

    def strays(self) -> list[int]:
        """Processes that have this folder's mark, once they had time to end."""
        deadline = time.monotonic() + STRAY_S
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _processes(self) -> list[int]:
        mark = f"{MARK}={self.log}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
                held = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in held and state not in ("Z", "X"):
                found.append(int(entry))
        return found


def rounds_in(run: RunFile) -> Rounds:
    return {
        (result.key, candidate.key, number): us
        for result in run.workloads
        for candidate in result.candidates
        for number, us in zip(candidate.rounds, candidate.rounds_us, strict=True)
    }


def trial(folder: Folder, number: signal.Signals, moment: Moment, before: RunFile | None) -> dict[str, Any]:
    """Kill a run, resume it, and say what is wrong; all counts zero: nothing."""
    process = folder.start()
    while moment.journal and process.poll() is None and not folder.has_journal():
        time.sleep(0.005)
    try:
        process.communicate(timeout=moment.after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
    found: dict[str, Any] = dict.fromkeys(COLUMNS, 0)
    found["code"] = process.returncode
    found["strays"] = len(folder.strays())
    rounds, vetted, vettings = folder.rounds(), folder.vetted(), folder.vettings()
    found["rounds"] = len(rounds)
    resume = bool(folder.records("header"))
    ended = not resume and process.returncode == 0
    found["resumed"] = resume
    if not ended:
        process = folder.start(*(["--resume"] if resume else []))
        _, err = process.communicate(timeout=PATIENCE_S)
        if process.returncode != 0:
            return found | {"failed": 1, "words": err.strip().splitlines()[-1:]}
        found["strays"] += len(folder.strays())
    files = folder.result_files()
    runs = [read_run(path) for path in files]
    done = [run for run in runs if run.complete]
    if not done:
        return found | {"failed": 1, "words": "no complete result"}
    kept = rounds_in(done[-1])
    found["lost"] = sum(kept.get(place) != us for place, us in rounds.items())
    found["twice"] = sum(folder.vettings()[pair] != vettings[pair] for pair in vetted) + len(done) - 1
    if before is not None:
        now = {result.key for result in done[-1].workloads}
        found["cache"] = sum(result.key not in now for result in before.workloads)
    left = folder.left()
    return found | {"left": len(left), "words": left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--others", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        template = Folder(Path(root) / "template", cached=True)
        _, err = template.start(batch="4").communicate(timeout=PATIENCE_S)
        files = template.result_files()
        if not files:
            sys.exit(err)
        before = read_run(files[0])
        start = time.monotonic()
        whole = Folder(Path(root) / "whole", cached=False)
        process = whole.start()
        while process.poll() is None and not whole.has_journal():
            time.sleep(0.005)
        begun_s = time.monotonic() - start
        process.communicate(timeout=PATIENCE_S)
        whole_s = time.monotonic() - start
        plan = [signal.SIGKILL] * options.kills
        plan += [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] * options.others
        moments = []
        for _ in plan:
            journal = generator.random() < 0.5
            moments.append(Moment(journal, generator.uniform(0.0, 1.05 * (whole_s - begun_s if journal else whole_s))))

        def one(index: int) -> dict[str, Any]:
            folder = Folder(Path(root) / str(index), cached=index % 2 == 1)
            if folder.cached:
                shutil.copytree(template.path / "cache", folder.path / "cache")
            try:
                return trial(folder, plan[index], moments[index], before if folder.cached else None)
            finally:
                shutil.rmtree(folder.path, ignore_errors=True)

        rows: dict[str, Counter[str]] = {number.name: Counter() for number in dict.fromkeys(plan)}
        with ThreadPoolExecutor(options.workers) as pool:
            for index, found in enumerate(pool.map(one, range(len(plan)))):
                row = rows[plan[index].name]
                row.update({name: int(found[name]) for name in (*COLUMNS, "rounds", "resumed")})
                row["trials"] += 1
                if any(found[name] for name in COLUMNS):
                    print(f"{index} {plan[index].name} {moments[index]}: {found}", file=sys.stderr)
    head = ("signal", "runs", "resumed", "rounds measured before", *COLUMNS)
    print(f"| {' | '.join(head)} |\n| --- |{' ---: |' * (len(head) - 1)}")
    for name, row in rows.items():
        print(f"| {' | '.join((name, *(str(row[key]) for key in ('trials', 'resumed', 'rounds', *COLUMNS))))} |")
    faults = sum(row[name] for row in rows.values() for name in COLUMNS)
    spent = time.monotonic() - begin
    print(f"\nseed {options.seed}, a whole run takes {whole_s:.1f} s, {faults} faults, {spent:.0f} s")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
