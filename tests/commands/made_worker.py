"""A worker that is made up: it hands back what a GPU would have recorded."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "profiling"))
from live_builders import RAGGED, live, recorded, right
from trace_builders import CUDNN, FA2_RAGGED, TOPK

from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.recording.job import RecordPath
from autotune_cli.profiling.recording.recorded import LiveRun
from autotune_cli.worker.protocol import WorkerSettings

FLAG = "SGLANG_FLASHINFER_USE_PAGED"


def fine(spec: PathSpec, folder: Path) -> LiveRun:
    """Every phase shows what it must, and what was injected."""
    is_topk = spec.phases[0].shape == "topk"
    ran = {plan.name: (TOPK,) for plan in spec.phases} if is_topk else right(spec)
    kernels = {"ragged": FA2_RAGGED, "dense": CUDNN}
    other = []
    for family in spec.injected:
        more = {name: (*names, kernels[family]) for name, names in ran.items()}
        other.append(recorded(folder / f"{family}.json.gz", spec, more, injected=family))
    return live(folder, spec, ran, other)


def ragged(spec: PathSpec, folder: Path) -> LiveRun:
    """Every phase takes SGLang's ragged path."""
    return live(folder, spec, {plan.name: RAGGED for plan in spec.phases})


@dataclass
class Made:
    """A worker that does what a test says, and what it was asked."""

    does: Callable[[PathSpec, Path], LiveRun] = fine
    fails: Exception | None = None
    phase: tuple[str, str] = ("", "")
    settings: WorkerSettings | None = None
    gpu: str | None = None
    job: RecordPath | None = None
    timeout_s: float = 0.0
    killed: int = 0
    reports: list[tuple[str, str]] = field(default_factory=lambda: [("prepare", "eager"), ("run", "replay")])

    def __call__(self, settings: WorkerSettings, gpu: str | None = None) -> Made:
        self.settings, self.gpu = settings, gpu
        return self

    def ask(self, job: RecordPath, timeout_s: float, on_phase: Callable[[str, str], None]) -> LiveRun:
        # It crosses to another process.
        self.job, self.timeout_s = pickle.loads(pickle.dumps(job)), timeout_s
        for report in self.reports:
            on_phase(*report)
        if self.fails is not None:
            raise self.fails
        run: LiveRun = pickle.loads(pickle.dumps(self.does(self.job.spec, Path(self.job.folder))))
        return run

    def kill(self) -> None:
        self.killed += 1

    @property
    def spec(self) -> PathSpec:
        assert self.job is not None
        return self.job.spec


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr("autotune_cli.worker.process.Worker", made)
    monkeypatch.setattr("autotune_cli.commands.devices._nvml_count", lambda: 2)
    return made
