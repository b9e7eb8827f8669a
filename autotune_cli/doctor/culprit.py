"""Which environment variable keeps torch from starting? Tried, not guessed: without it torch starts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

# What libraries, the loader and Python read. Others are looked at only if none of these is it.
_SUSPECTS = re.compile(
    r"LD_|PYTHON|TORCH|PYTORCH|ATEN_|CUDA|CUBLAS|CUDNN|NCCL|KINETO|TRITON|OMP_|KMP_|MKL_|GLIBC_|MALLOC_"
)
# A process needs these for itself, and torch reads none of them.
_BASIC = re.compile(r"PATH|HOME|USER|LOGNAME|SHELL|TERM|PWD|TMPDIR|LANG|LC_\w+|TZ")
# An import takes some seconds from a cold disk.
_IMPORT_S = 60.0

Starts = Callable[[Mapping[str, str]], bool]


def torch_starts(environ: Mapping[str, str]) -> bool:
    """Can a process with these variables import torch?"""
    # -P: a file in the current folder that is called like a module must not be imported, as in a worker.
    command = [sys.executable, "-P", "-c", "import torch"]
    try:
        return subprocess.run(command, env=environ, capture_output=True, timeout=_IMPORT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def breaking_variables(environ: Mapping[str, str], error: str, starts: Starts) -> tuple[str, ...]:
    """The fewest variables without which torch starts, as far as halving finds them; none: it is no variable's fault.

    Args:
        environ: with which it doesn't start.
        error: what was said then; a variable that it names is tried first.
        starts: does it start with these variables?
    """
    others = [name for name in environ if not _BASIC.fullmatch(name)]
    suspects = [name for name in others if _SUSPECTS.match(name)]
    named = [[name] for name in others if re.search(rf"\b{re.escape(name)}\b", error)]
    for group in (*named, suspects, others):
        if group and starts(_without(environ, group)):
            return tuple(_fewest(environ, group, starts))
    return ()


def _fewest(environ: Mapping[str, str], enough: Sequence[str], starts: Starts) -> Sequence[str]:
    """The half of the variables that is enough to leave out, and so on."""
    while len(enough) > 1:
        middle = len(enough) // 2
        halves = (enough[:middle], enough[middle:])
        found = next((half for half in halves if starts(_without(environ, half))), None)
        if found is None:
            break
        enough = found
    return enough


def _without(environ: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}
