"""What was found, a line each, and what it comes to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from autotune_cli.errors import EXIT_FAILED, EXIT_OK


class State(StrEnum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    """Neither good nor bad."""
    WARNING = "warning"
    """Something is missing, or likely to disturb; a run does without it."""
    PROBLEM = "problem"
    """Shown to be broken: a run would fail, lack candidates that are installed, or measure nonsense."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    group: str
    """The heading that it stands under: ``gpu 0``, ``libraries`` ..."""
    name: str
    state: State
    text: str
    fix: str = ""
    """What mends it, a command where there is one; empty: nothing to mend."""


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which they are told."""

    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[State, int]:
        found = Counter(finding.state for finding in self.findings)
        return {state: found[state] for state in State}

    @property
    def exit_code(self) -> int:
        """1 where something is broken. What is only missing doesn't count: a run does without it."""
        return EXIT_FAILED if self.counts[State.PROBLEM] else EXIT_OK


# Names of variables whose values are nobody's business, whatever they are for.
_SECRET = re.compile(r"(?i)key|token|secret|passw|credential|auth")
HIDDEN = "(hidden)"


def is_secret(variable: str) -> bool:
    """Does the name of a variable say that its value is a secret?"""
    return _SECRET.search(variable) is not None


def without_home(findings: Iterable[Finding], home: str | None = None) -> tuple[Finding, ...]:
    """The findings with ``~`` for the home folder, which has the user's name, wherever a text has it.

    Args:
        home: the folder; None: the user's.
    """
    try:
        folder = str(Path.home()) if home is None else home
    except RuntimeError:  # neither HOME nor an entry for the user
        return tuple(findings)
    if len(folder) < 2:
        return tuple(findings)
    # /home/ann, not the beginning of /home/anna.
    folder = folder.rstrip("/")
    # /root has nobody's name, and is the end of other paths, such as /data/root.
    begin = r"(?<![\w.])" if folder.count("/") == 1 else ""
    pattern = re.compile(begin + re.escape(folder) + r"(?![\w.-])")
    return tuple(
        replace(finding, text=pattern.sub("~", finding.text), fix=pattern.sub("~", finding.fix)) for finding in findings
    )
