"""What a tuning worker does at the moment, as the parent hears it, and whose time it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autotune_cli.worker.protocol import JUDGE_PHASE, Phase


class Phases:
    """Tells the parent of phases, each of which sets its clock anew."""

    def __init__(self, device_kind: str, phase: Phase) -> None:
        self._is_cuda = device_kind == "cuda"
        self._phase = phase
        self._doing = ("", "")

    def tell(self, name: str, subject: str) -> None:
        """A phase begins."""
        self._doing = (name, subject)
        self._phase(name, subject)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What isn't a candidate's time: sums of large inputs and the judge of an output take seconds on a CPU."""
        # What a candidate has launched is still its own.
        self.synchronize()
        doing = self._doing
        self._phase(JUDGE_PHASE, doing[1])
        yield
        self._phase(*doing)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self._is_cuda:
            torch.cuda.synchronize()
