"""The program, which sends itself signals as soon as a record is in its journal.

``STOP_AT``: "vetted 2 SIGKILL": after the second of the test's own candidates was vetted; "round 1 SIGTERM SIGINT".
"""

from __future__ import annotations

import os
import signal
from typing import Any

from autotune_cli.app import main
from autotune_cli.results.journal import Journal

KIND, NUMBER, *NAMES = os.environ["STOP_AT"].split()
append = Journal._append
seen = 0


def stopping(self: Journal, record: Any) -> None:
    global seen
    append(self, record)
    if record.record == KIND and (KIND != "vetted" or record.candidate.key.startswith("steady")):
        seen += 1
        if seen == int(NUMBER):
            for name in NAMES:
                os.kill(os.getpid(), signal.Signals[name])


if __name__ == "__main__":
    Journal._append = stopping  # type: ignore[method-assign]
    main()
