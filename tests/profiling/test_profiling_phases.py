"""From a trace to its phases: kernels belong to the range of their launch."""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_builders import CUDNN, FA2_PAGED, FA2_RAGGED, FILL, GEMM, SPLIT_MERGE, TORCH_SOFTMAX, ChromeTrace

from autotune_cli.errors import BadField
from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.classify import Classifier, load_classifier
from autotune_cli.profiling.findings import Expectation
from autotune_cli.profiling.phases import Phase, Recording, phase_of_names
from autotune_cli.profiling.readers.finding import find_trace, read_trace
from autotune_cli.profiling.verdict import judge


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="module")
def classify() -> Classifier:
    return load_classifier()


def phases(folder: Path, trace: ChromeTrace, *wanted: str) -> dict[str, Phase]:
    return {phase.title: phase for phase in recording(folder, trace, *wanted).phases}


def recording(folder: Path, trace: ChromeTrace, *wanted: str) -> Recording:
    return split_into_phases(read_trace(trace.write(folder / "t.json")), load_classifier(), wanted)


def test_the_recorded_paged_trace(classify: Classifier) -> None:
    """Figures of the trace itself: shared/traces, H200."""
    found = split_into_phases(read_trace(find_trace(Path("example"), None)), classify)
    eager, capture, replay = found.phases
    assert found.devices == ("NVIDIA H200",)
    assert {family: number for family, (number, _) in eager.families().items()} == {
        "paged": 2,
        "split_merge": 1,
        "benign": 1,
    }
    assert eager.us("paged") == pytest.approx(26.368 + 59.104)
    # Four kernels went into the graph; two fills ran before, to set up the generator of random numbers.
    assert (capture.captured, capture.launches(), capture.waits) == (4, 2, 1)
    assert replay.launches() == capture.captured
    assert {use.name for use in replay.kernels} == {use.name for use in eager.kernels}
    assert (replay.graph_launches, replay.empty_graph_launches, eager.lost_launches) == (1, 0, 0)


def test_the_recorded_ragged_trace(classify: Classifier) -> None:
    (eager,) = split_into_phases(read_trace(find_trace(Path("example-ragged"), None)), classify).phases
    assert [use.family for use in eager.kernels] == ["ragged", "benign", "paged", "merge"]
    assert (eager.name, eager.demand) == ("eager", "lenient")


def test_kernels_belong_to_the_range_of_their_launch_though_they_run_later(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.a"):
        trace.kernel(FA2_PAGED)
    with trace.span("phase.b"):
        trace.kernel(FA2_RAGGED)
    found = phases(folder, trace)
    assert found["a"].families() == {"paged": (1, 10.0)}
    assert found["b"].families() == {"ragged": (1, 10.0)}


def test_a_replay_belongs_to_the_range_of_the_graph_launch(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.replay"):
        trace.graph(FA2_PAGED, SPLIT_MERGE, FA2_PAGED)
    assert phases(folder, trace)["replay"].families() == {"paged": (2, 20.0), "split_merge": (1, 10.0)}


def test_the_innermost_phase_counts_and_repeats_are_one(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.all"):
        for _ in range(3):
            with trace.span("phase.eager"):
                trace.kernel(FA2_PAGED)
        trace.kernel(FILL)
    found = phases(folder, trace)
    assert (found["eager"].launches(), found["all"].launches()) == (3, 1)


def test_a_range_of_another_thread_holds_what_has_no_own(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager", tid=1):
        number = trace._next()
        trace.call("cudaLaunchKernel", correlation=number, tid=2).kernel(FA2_PAGED, correlation=number)
    assert phases(folder, trace)["eager"].launches() == 1


def test_work_outside_of_phases_is_shown_not_judged(folder: Path) -> None:
    trace = ChromeTrace().kernel(FA2_RAGGED)
    with trace.span("phase.eager"):
        trace.kernel(FA2_PAGED)
    found = recording(folder, trace)
    assert [(phase.name, phase.demand) for phase in found.phases] == [
        ("eager", "strict"),
        ("outside the ranges", "ignored"),
    ]
    assert judge(found, Expectation("paged")).exit_code == 0


def test_ranges_by_name_and_pattern(folder: Path) -> None:
    trace = ChromeTrace()
    for name, kernel in (("step 1", FA2_PAGED), ("step 2", FA2_PAGED), ("warm-up", FA2_RAGGED)):
        with trace.span(name):
            trace.kernel(kernel)
    assert judge(recording(folder, trace, "step *"), Expectation("paged")).exit_code == 0
    assert judge(recording(folder, trace, "step 1", "warm-up"), Expectation("paged")).exit_code == 1
    with pytest.raises(BadField, match="step 1, step 2, warm-up; did you mean 'step 1'"):
        recording(folder, trace, "stap 1")
    with pytest.raises(BadField, match="has no ranges"):
        recording(folder, ChromeTrace().kernel(FILL), "x")


def test_phase_names_need_no_prefix(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager"):
        trace.kernel(FA2_PAGED)
    assert phases(folder, trace, "eager")["eager"].launches() == 1


def test_ranges_of_others_are_phases_that_need_no_attention(folder: Path) -> None:
    """What a server calls its steps is unknown; numbers aside, the outermost names are taken."""
    trace = ChromeTrace()
    for step in range(30):
        with trace.span(f"ProfilerStep#{step}"), trace.span(f"forward {step}"):
            trace.kernel(FA2_PAGED)
            with trace.span("nccl:all_reduce"), trace.span("inner"):
                trace.kernel(FILL)
    with trace.span("sample"):
        trace.kernel(FILL)
    trace.kernel(FILL)
    found = recording(folder, trace)
    assert {phase.name: phase.launches() for phase in found.phases} == {
        "forward #": 60,
        "sample": 1,
        "outside the ranges": 1,
    }
    assert judge(found, Expectation("paged")).exit_code == 0
    trace.kernel(CUDNN)
    assert judge(recording(folder, trace), Expectation("paged")).exit_code == 1


def test_too_many_ranges_are_no_phases(folder: Path) -> None:
    trace = ChromeTrace()
    for letter in "abcdefghijklmnop":
        with trace.span(f"layer {letter}"):
            trace.kernel(FA2_PAGED)
    trace.graph(FA2_PAGED)
    assert {phase.name: phase.launches() for phase in recording(folder, trace).phases} == {"eager": 16, "replay": 1}


def test_captured_launches_did_not_run(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.capture"):
        trace.kernel(FILL).capture(5)
    (capture,) = recording(folder, trace).phases
    assert (capture.captured, capture.launches(), capture.lost_launches) == (5, 1, 0)


def test_lost_kernels_and_empty_graphs_are_counted(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.x"):
        trace.kernel(FA2_PAGED).call("cudaLaunchKernelExC").call("cuLaunchKernel").graph().call("cudaGraphInstantiate")
    (phase,) = recording(folder, trace).phases
    assert (phase.lost_launches, phase.graph_launches, phase.empty_graph_launches) == (2, 1, 1)


def test_kernels_without_a_launch_are_placed_by_time(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager"):
        trace.kernel(FA2_PAGED, launch=None, correlation=77)
        trace.now += 20_000
    found = recording(folder, trace)
    assert found.phases[0].launches() == 1
    assert "1 kernels without a recorded launch" in found.notes[0]


def test_plan_ranges_are_accounted_for(folder: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager"):
        with trace.span("plan"):
            trace.call("cudaStreamSynchronize").copy_to_host()
        trace.kernel(FA2_PAGED).copy_to_host()
    (phase,) = recording(folder, trace).phases
    assert phase.plan is not None
    assert (phase.plan.calls, phase.plan.waits, phase.plan.copies_to_host) == (1, 1, 1)
    assert phase.plan.us == pytest.approx(21.0)
    assert (phase.waits, phase.copies_to_host) == (1, 2)


def test_softmax_between_matmuls_is_dense_attention(folder: Path) -> None:
    def dense(*names: str) -> int:
        trace = ChromeTrace()
        with trace.span("phase.eager"):
            for name in names:
                trace.now += 10.0
                trace.kernel(name)
        return phases(folder, trace)["eager"].launches("dense")

    assert dense(GEMM, FILL, TORCH_SOFTMAX, FILL, GEMM) == 1
    assert dense(GEMM, TORCH_SOFTMAX, GEMM, TORCH_SOFTMAX, GEMM) == 2
    assert dense(GEMM, TORCH_SOFTMAX, FA2_PAGED, GEMM) == 0
    assert dense(GEMM, TORCH_SOFTMAX) == 0
    assert dense(TORCH_SOFTMAX, GEMM) == 0


def test_nodes_of_a_graph_are_a_phase_of_names(classify: Classifier) -> None:
    phase = phase_of_names("capture", [FA2_PAGED, SPLIT_MERGE, FA2_PAGED], classify, captured=True)
    assert (phase.launches("paged"), phase.launches("split_merge"), phase.captured) == (2, 1, 3)
    dense = phase_of_names("capture", [GEMM, FILL, TORCH_SOFTMAX, GEMM, GEMM], classify)
    assert (dense.launches("dense"), dense.launches("benign")) == (1, 4)


def test_ranks_are_phases_of_their_own(folder: Path) -> None:
    trace = ChromeTrace()
    for rank, kernel in enumerate((FA2_PAGED, FA2_RAGGED)):
        trace.label, trace.last = f"TP{rank:02d}", 0
        with trace.span("phase.eager"):
            trace.kernel(kernel)
    path = trace.write(folder / "t.json")
    read = read_trace(path)
    both = split_into_phases(read, load_classifier())
    assert {phase.title: phase.launches("ragged") for phase in both.phases} == {"eager (TP00)": 0, "eager (TP01)": 1}
    assert judge(both, Expectation("paged")).exit_code == 1
    first = split_into_phases(read, load_classifier(), sources=[0])
    assert judge(first, Expectation("paged")).exit_code == 0
