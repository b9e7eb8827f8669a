"""What a kernel library compiles: modules that many candidates share. Imports no torch and no kernel library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Module:
    """Something that is compiled once and serves every candidate that names it.

    Before candidates are vetted, each module that isn't compiled yet is built in a process of its own, several at a
    time. That process has no GPU: what it compiles for, ``build`` must know from ``variables`` or by itself.
    """

    name: str
    """Equal names are the same module, whoever needs it."""
    build: Callable[[], object]
    """Compiles the module, or finds it compiled, and loads it. Called in the process that builds it, and once in each
    that measures."""
    is_compiled: Callable[[], bool] = _never
    """Is there nothing to compile? Takes milliseconds. A module that can't tell gets a process in each run."""
    label: str = ""
    """For people; the name if it is empty."""
    seconds: float = 60.0
    """What compiling it takes one core, about: the longest is begun first, and cores are shared out by it."""
    jobs: int = 1
    """Compilers that can work on it at once (its source files). They learn how many may from the variable MAX_JOBS,
    which FlashInfer's and torch's builds obey."""
    gigabytes: float = 2.0
    """Memory of one of its compilers."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment of the process that builds it, beside the user's."""

    @property
    def title(self) -> str:
        return self.label or self.name
