"""Every top-k candidate on a real GPU, eager and captured.

Those of serving engines may be wrong anywhere (which is why there is a check); the others must be right everywhere.
"""

from __future__ import annotations

import functools

import pytest
import torch

from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.properties import PROPERTIES
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, Prepared
from autotune_cli.kernels.topk.family import FAMILY
from autotune_cli.kernels.topk.problem import TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.cases import Cases
from autotune_cli.tuning.launches import Launches
from autotune_cli.tuning.messages import RoundEntry
from autotune_cli.tuning.phases import PhaseReporter
from autotune_cli.tuning.properties import PropertyChecker
from autotune_cli.tuning.replays import Replays

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

SHAPES = [(16, 262144, "even"), (64, 16384, "even"), (8, 65536, "uneven"), (3, 1000, "uneven")]
SGL = "sgl_kernel.fast_topk_v2"
# Nobody here answers for these.
ENGINES = ("sgl_kernel", "sglang", "vllm", "deep_select")


def load(rows: int, width: int, spread: str, mode: str = "eager") -> TopkWorkload:
    return TopkWorkload(operation="topk.select", rows=rows, width=width, k=2048, spread=spread, mode=mode)  # type: ignore[arg-type]


@functools.cache
def device() -> Device:
    properties = torch.cuda.get_device_properties(0)
    return Device("cuda", properties.name, (properties.major, properties.minor), properties.multi_processor_count)


@functools.lru_cache(maxsize=1)
def drawn(workload: TopkWorkload, case: str) -> TopkProblem:
    return make_problem(workload, case, "cuda", 7)


@functools.cache
def compile_ours(workload: TopkWorkload) -> None:
    """What `tune` does in its build stage: our kernel's `prepare` loads a library and compiles none."""
    ours = REGISTRY.get("autotune.topk")
    first = next(iter(ours.candidates(workload, device())))
    if ours.missing() is None and ours.build is not None:
        ours.build(workload, **dict(first.knobs))


def candidates(workload: TopkWorkload) -> list[Candidate]:
    compile_ours(workload)
    return [
        candidate
        for backend in REGISTRY.of(workload.operation)
        if backend.missing() is None
        for candidate in backend.candidates(workload, device())
        if backend.why_unsupported(workload, device(), candidate) is None
    ]


def must_be_right(candidate: Candidate) -> bool:
    return candidate.backend.partition(".")[0] not in ENGINES


def output(problem: TopkProblem, candidate: Candidate, mode: str) -> torch.Tensor:
    made = REGISTRY.get(candidate.backend).prepare(problem, **dict(candidate.knobs))
    run = made.run if isinstance(made, Prepared) else made
    eager: torch.Tensor = run()
    torch.cuda.synchronize()
    if mode == "eager":
        return eager
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured: torch.Tensor = run()
    captured.fill_(-7)
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    return captured


def verdict(problem: TopkProblem, candidate: Candidate, mode: str) -> Verdict:
    before = [t.clone() for t in problem.inputs().values()]
    try:
        found = problem.check(output(problem, candidate, mode))
    except RuntimeError as error:
        # The context is lost: nothing after it can be told, so the candidate must be named.
        error.add_note(f"{candidate.key}, {mode}")
        raise
    assert all(torch.equal(a, b) for a, b in zip(before, problem.inputs().values(), strict=True)), "changed its inputs"
    return found


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_candidate_but_an_engines_is_right(shape: tuple[int, int, str], mode: str) -> None:
    workload = load(*shape, mode)
    wrong, right = [], dict.fromkeys(cases(workload), 0)
    for case in cases(workload):
        problem = drawn(workload, case)
        for candidate in candidates(workload):
            found = verdict(problem, candidate, mode)
            right[case] += found.ok
            if not found.ok and must_be_right(candidate):
                wrong.append(f"{candidate.key} on {case}: {found.message}")
    assert all(right.values()), right
    assert not wrong, "\n".join(wrong)


FUSED = [workload for operation in ("topk.paged", "topk.ragged") for workload in FAMILY.checks(operation, "cuda")]


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("workload", FUSED, ids=lambda workload: workload.title)
def test_every_fused_candidate_but_an_engines_is_right(workload: TopkWorkload, mode: str) -> None:
    """Inputs of the matrix, with bfloat16 scores too where a backend takes them."""
    wrong = []
    for dtype in ("float32", "bfloat16"):
        load = workload.model_copy(update={"mode": mode, "dtype": dtype})
        for case in cases(load):
            problem = drawn(load, case)
            for candidate in candidates(load):
                found = verdict(problem, candidate, mode)
                if not found.ok and must_be_right(candidate):
                    wrong.append(f"{candidate.key} on {dtype} {case}: {found.message}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("workload", FAMILY.checks("topk.select", "cuda"), ids=lambda workload: workload.title)
def test_every_candidate_but_an_engines_is_right_on_every_kind(workload: TopkWorkload) -> None:
    wrong = []
    for case in cases(workload):
        problem = drawn(workload, case)
        for candidate in candidates(workload):
            found = verdict(problem, candidate, "eager")
            if not found.ok and must_be_right(candidate):
                wrong.append(f"{candidate.key} on {case}: {found.message}")
    assert not wrong, "\n".join(wrong)


def opened(workload: TopkWorkload) -> tuple[Cases, Launches, PhaseReporter]:
    phases = PhaseReporter("cuda", lambda name, subject: None)
    found = Cases("cuda", 7, phases)
    found.open(workload)
    return found, Launches(found), phases


def fused(operation: str, **fields: object) -> TopkWorkload:
    given = {"operation": operation, "rows": 16, "width": 65536, "k": 2048, "mode": "graph", "spread": "uneven"}
    return TopkWorkload.model_validate({**given, "distributions": ("normal", "relu"), **fields})


CAPTURED = [fused("topk.select"), fused("topk.select", spread="even"), fused("topk.paged", page_size=64)]
CAPTURED += [fused("topk.ragged", requests=4, packed=True)]


@pytest.mark.parametrize("workload", CAPTURED, ids=lambda workload: workload.key)
def test_every_candidate_but_an_engines_is_graph_safe(workload: TopkWorkload) -> None:
    found, launches, phases = opened(workload)
    unsafe = []
    for candidate in candidates(workload):
        launch = launches.get(RoundEntry(candidate))
        for case in Replays(found, launches, phases).check(candidate, launch):
            print(f"{workload.key}: {candidate.key}: {case.case}: {'graph safe' if case.ok else case.message}")
            if not case.ok and must_be_right(candidate):
                unsafe.append(f"{candidate.key} on {case.case}: {case.message}")
        launches.clear()
        assert found.is_unchanged(found.timed)
    assert not unsafe, "\n".join(unsafe)


@pytest.mark.parametrize("workload", CAPTURED, ids=lambda workload: workload.key)
def test_flashinfer_keeps_what_its_knobs_promise(workload: TopkWorkload) -> None:
    """What the others keep is printed: nothing is promised."""
    found, launches, phases = opened(workload)
    checker, broken = PropertyChecker(found, launches, phases), []
    for candidate in candidates(workload):
        knobs = dict(candidate.knobs)
        promised = {"deterministic"} if knobs.get("deterministic") else set()
        promised |= {f"tie-break={knobs['tie_break']}"} if knobs.get("tie_break") else set()
        verdicts = checker.verdicts(candidate, launches.get(RoundEntry(candidate)), PROPERTIES)
        for verdict in verdicts:
            print(f"{workload.key}: {candidate.key}: {verdict.name}: {verdict.message or 'kept'}")
        broken += [
            f"{candidate.key}: {verdict.name}: {verdict.message}"
            for verdict in verdicts
            if not verdict.ok and verdict.name in promised
        ]
        launches.clear()
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("shape", "case"), [((16, 262144, "even"), "normal"), ((64, 16384, "even"), "narrow")], ids=str
)
def test_sgl_kernel_is_judged_wrong(shape: tuple[int, int, str], case: str) -> None:
    if REGISTRY.get(SGL).missing():
        pytest.skip("sgl_kernel is not installed")
    found = verdict(drawn(load(*shape), case), Candidate(SGL), "eager")
    assert not found.ok
    assert found.error >= 1
    assert "misses" in found.message


def test_the_check_is_fast_enough_to_run_on_every_candidate() -> None:
    problem = drawn(load(64, 65536, "even"), "normal")
    out = torch.topk(problem.scores, 2048).indices.int()
    problem.check(out)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    assert problem.check(out).ok
    end.record()
    torch.cuda.synchronize()
    assert start.elapsed_time(end) < 20.0  # ms; 3 or so expected
