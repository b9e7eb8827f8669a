"""Runs paths in this process, as a worker would, and judges them: a session takes about a second."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.models import choose_model
from autotune_cli.kernels.registry import Device
from autotune_cli.kernels.steps import StepLayer
from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.families import FamilyName
from autotune_cli.profiling.findings import PhaseVerdict, ProfileVerdict
from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.phases import Recording
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.readers.finding import read_trace
from autotune_cli.profiling.recording.recorded import Check, LiveRun
from autotune_cli.profiling.recording.run import record_path
from autotune_cli.profiling.request import PathRequest
from autotune_cli.sglang.padding import PadMode, capture_sizes, captured_size

LLAMA = Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128)
GRAPHED = ("eager", "capture", "replay")
ALL = (*GRAPHED, "piecewise")
CLASSIFY = load_classifier()

# A batch small enough to be quick, long enough that fa2 splits it: 3 requests of up to 40 new tokens on up to 300 keys.
_SIZES: dict[str, dict[str, int]] = {"decode": {"batch": 4, "context": 500}, "topk": {"batch": 8, "context": 65536}}
_EXTEND = {"batch": 3, "new": 40}
_PREFIX = 260

Report = Callable[[str, str], None]


@functools.cache
def device() -> Device:
    """This machine's GPU."""
    properties = torch.cuda.get_device_properties(0)
    return Device("cuda", properties.name, (properties.major, properties.minor), properties.multi_processor_count)


@dataclass(frozen=True)
class Session:
    """A path that was run, and the verdict on it."""

    run: LiveRun
    verdict: ProfileVerdict
    tried: list[str]
    """By the self-check."""

    @property
    def code(self) -> int:
        return self.verdict.exit_code

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(phase, code); the phase is empty for those of no phase that was judged."""
        own = [(judged.phase.name, problem.code) for judged in self.verdict.phases for problem in judged.problems]
        return [*own, *(("", problem.code) for problem in self.verdict.problems)]

    @property
    def text(self) -> str:
        """Every problem in words."""
        own = [problem.text for judged in self.verdict.phases for problem in judged.problems]
        return "\n".join([*own, *(problem.text for problem in self.verdict.problems)])

    @property
    def states(self) -> dict[str, str]:
        return {judged.phase.name: judged.state for judged in self.verdict.phases}

    def judged(self, phase: str) -> PhaseVerdict:
        return next(judged for judged in self.verdict.phases if judged.phase.name == phase)

    def families(self, phase: str) -> set[FamilyName]:
        """What fired, everyday kernels and the split-KV merge aside: it fires or not by the batch's shape."""
        return set(self.judged(phase).phase.families()) - {"benign", "split_merge"}

    def libraries(self, phase: str, family: FamilyName) -> set[str]:
        """``flashinfer fa2`` ..."""
        return {use.library for use in self.judged(phase).phase.kernels if use.family == family}

    def check(self, phase: str, code: str) -> Check:
        """A comparison of the worker's."""
        (done,) = (run for run in self.run.recording.phases if run.plan.name == phase)
        return next(check for check in done.checks if check.code == code)

    @property
    def trace(self) -> Recording:
        """The trace alone, as ``--from-trace`` sees it."""
        return split_into_phases(read_trace(Path(self.run.recording.trace)), CLASSIFY)


def spec_of(
    mode: Any = "extend",
    *,
    model: str = "llama-3.1-8b",
    kv_dtype: Any = None,
    **ask: Any,
) -> PathSpec:
    """The path as the command plans it, over a small batch unless ``ask`` gives sizes of its own."""
    sizes: dict[str, Any] = _SIZES.get(mode, _EXTEND)
    if mode not in _SIZES and ask.get("prefix", True):
        sizes = _EXTEND | {"context": _EXTEND["new"] + _PREFIX}
    if {"batch", "new", "context"} & set(ask):
        sizes = {}
    known = choose_model(model, None, "cuda", "topk" if mode == "topk" else "decode")
    return plan_path(PathRequest(mode=mode, **sizes, **ask), known, known.geometries(kv_dtype=kv_dtype))[0]


def of_layer(spec: PathSpec, geometry: Geometry) -> PathSpec:
    """The same path for another layer than the model's."""
    layers = tuple(
        dataclasses.replace(layer, workload=layer.workload.model_copy(update={"geometry": geometry}))
        for layer in spec.layers
    )
    return dataclasses.replace(spec, layers=layers)


def padded_spec(
    qo: Sequence[int], prefix: Sequence[int], pad_mode: PadMode, phases: Sequence[str] = ("piecewise",), **ask: Any
) -> PathSpec:
    """Requests of ``qo`` new tokens on ``prefix`` cached ones, padded to the next captured size."""
    lengths = Lengths(tuple(qo), tuple(new + cached for new, cached in zip(qo, prefix, strict=True)))
    cached = any(prefix)
    workload = AttentionWorkload(
        operation="attention.extend" if cached else "attention.prefill",
        geometry=LLAMA,
        batch=len(qo),
        new=max(qo),
        context=max(qo) + max(prefix),
        mode="eager",
    )
    spec = spec_of(prefix=cached, phases=phases, pad_mode=pad_mode, **ask)
    static = captured_size(sum(qo), capture_sizes())
    assert static is not None
    plans = tuple(dataclasses.replace(p, static_tokens=static) if p.in_pieces else p for p in spec.phases)
    return dataclasses.replace(spec, layers=(StepLayer(workload, lengths),), phases=plans)


def run(
    spec: PathSpec,
    folder: Path,
    *,
    expects: Sequence[str] = (),
    forbids: Sequence[str] = (),
    report: Report = lambda name, subject: None,
) -> Session:
    """Record and judge a path."""
    done = record_path(spec, str(folder), device(), report)
    verdict, tried = judge_live_run(done, CLASSIFY, spec.title, expects, forbids)
    return Session(done, verdict, tried)
