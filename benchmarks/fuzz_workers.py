"""The processes in which ``fuzz.py`` tries its inputs: a fault, a hang or a death ends one and not the others."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz_inputs
from fuzz_trial import one

PATIENCE_S = 10.0
# Above this an allocation fails, so that a fault doesn't take the machine along.
LIMIT_BYTES = 6 << 30
# A worker is replaced after so many inputs, as kernel names and the like are remembered by a process.
LIFE = 400


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
