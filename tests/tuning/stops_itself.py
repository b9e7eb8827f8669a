"""The program, which sends itself signals as soon as a record is in its journal.

``STOP_AT``: "vetted 2 SIGKILL": after the second of the test's own candidates was vetted; "round 1 SIGTERM SIGINT";
"settled 1 SIGINT": when the first workload was raced and the worker is asked which files it has loaded.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from autotune_cli.app import main
from autotune_cli.results.journal import Journal
from autotune_cli.tuning.own import OwnFiles
from autotune_cli.worker.process import Worker

KIND, NUMBER, *NAMES = os.environ["STOP_AT"].split()
append, settled = Journal._append, OwnFiles.settled
seen = 0


def send() -> None:
    for name in NAMES:
        os.kill(os.getpid(), signal.Signals[name])


def stopping(self: Journal, record: Any, **options: Any) -> None:
    global seen
    append(self, record, **options)
    if record.record == KIND and (KIND != "vetted" or record.candidate.key.startswith("steady")):
        seen += 1
        if seen == int(NUMBER):
            send()


def stopping_when_settled(self: OwnFiles, result: Any, plan: Any, worker: Worker, progress: Any) -> Any:
    global seen
    seen += 1
    if seen == int(NUMBER):
        send()
        assert worker._stop.wait(60.0)
    return settled(self, result, plan, worker, progress)


if __name__ == "__main__":
    if KIND == "settled":
        OwnFiles.settled = stopping_when_settled  # type: ignore[method-assign]
    else:
        Journal._append = stopping  # type: ignore[method-assign]
    main()
