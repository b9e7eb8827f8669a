"""A session of torch's profiler, and the ranges inside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import nvtx
from torch.profiler import ProfilerActivity, profile, record_function


@contextmanager
def named(name: str) -> Iterator[None]:
    """An NVTX range and a profiler range of the same name."""
    with nvtx.annotate(name), record_function(name):
        yield


class Session:
    """Records host calls and GPU work between entry and exit. CUPTI's start takes seconds in a process's first one."""

    def __init__(self) -> None:
        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True)

    def __enter__(self) -> Session:
        self._profile.prepare_trace()
        self._profile.start_trace()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.stop_trace()

    def export(self, path: str) -> None:
        """Writes the trace; compressed if the path ends in ``.gz``."""
        self._profile.export_chrome_trace(path)
