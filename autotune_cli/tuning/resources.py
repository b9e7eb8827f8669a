"""What this machine, or the container that we are in, has to give: cores and memory; and how much others take."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")


def cores(container: Path = _CONTAINER) -> int:
    """Cores that this process may use: its affinity, a container's quota (cgroup v2); at least 1."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    try:
        quota, period = (container / "cpu.max").read_text().split()
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(1, count)


def load_average() -> float | None:
    """Processes that wanted to run, on average over the last minute, ours among them; None where that isn't known."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not a Unix; not obtainable
        return None


def free_bytes(memory: Path = _MEMORY, container: Path = _CONTAINER) -> int | None:
    """Memory that can be taken without swapping; None where that isn't known.

    ``MemAvailable``, which counts the caches that the kernel would give back, and no more than what a container's
    limit leaves. Of what a container has used, files that were only read are given back first, so they don't count.
    """
    found: list[int] = []
    try:
        for line in memory.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    except (OSError, ValueError, IndexError):
        pass
    try:
        limit = int((container / "memory.max").read_text())  # "max" is no number
        used = int((container / "memory.current").read_text())
        fields = dict(line.split() for line in (container / "memory.stat").read_text().splitlines())
        found.append(max(0, limit - used + int(fields.get("inactive_file", 0))))
    except (OSError, ValueError):
        pass
    return min(found, default=None)
