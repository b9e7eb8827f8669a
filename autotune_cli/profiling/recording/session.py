"""A session of torch's profiler that has recorded something before what counts, and the ranges inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nvtx
import torch
from torch.profiler import ProfilerActivity, profile, record_function


@contextmanager
def named(name: str) -> Iterator[None]:
    """An NVTX range and a profiler range of the same name."""
    with nvtx.annotate(name), record_function(name):
        yield


class Session:
    """Records host calls and GPU work between entry and exit.

    What a process pays once (CUPTI's start takes seconds, its first buffer and the first range a good part of a
    millisecond) is paid before: the profiler is prepared as its schedules do it, and drops what runs until it starts.
    """

    def __init__(self) -> None:
        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True)
        self._is_prepared = False

    def prepare(self, work: Callable[[], Any] | None = None) -> None:
        """Turns the profiler on and has it record some work, of which nothing is kept."""
        self._profile.prepare_trace()
        self._is_prepared = True
        if work is not None:
            work()
            torch.cuda.synchronize()

    def __enter__(self) -> Session:
        if not self._is_prepared:
            self.prepare()
        self._profile.start_trace()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.stop_trace()

    def export(self, path: str) -> None:
        """Writes the trace; compressed if the path ends in ``.gz``."""
        self._profile.export_chrome_trace(path)
