"""Captures and replays of a path: the nodes of the graph are judged, and must be what the replay ran."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from live_builders import PAGED, judged, live, path, problems, right, states, texts
from trace_builders import CUDNN, FA2_DECODE, FA2_PAGED, FA2_RAGGED, FA3_RAGGED, FILL

from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.recording.recorded import Check

FORCED = path(forced_paged=True)


def test_the_capture_is_judged_by_its_nodes(tmp_path: Path) -> None:
    """Nothing ran: the trace shows launches only, the nodes say of what."""
    verdict = judged(live(tmp_path, FORCED))
    capture = verdict.phases[1].phase
    assert (capture.captured, capture.launches("paged"), capture.us()) == (len(PAGED), 2, 0.0)
    # A ragged kernel in the graph fails the capture by itself.
    ran = {name: (*PAGED, FA3_RAGGED) if name == "capture" else PAGED for name in right(FORCED)}
    verdict = judged(live(tmp_path, FORCED, ran))
    assert verdict.exit_code == 1
    assert ("capture", "forbidden_family") in problems(verdict)
    assert ("replay", "replay_differs") in problems(verdict)


def test_what_runs_beside_a_capture_counts_too(tmp_path: Path) -> None:
    verdict = judged(live(tmp_path, FORCED, beside={"capture": [CUDNN]}))
    assert problems(verdict) == [("capture", "forbidden_family")]
    # Attention beside the capture is none in the graph.
    verdict = judged(live(tmp_path, FORCED, nodes=[FILL], beside={"capture": [FA2_PAGED]}))
    assert ("capture", "no_attention") in problems(verdict)


@pytest.mark.parametrize(("nodes", "code"), [((FILL, FILL), "no_attention"), ((), "nothing_recorded")])
def test_a_graph_without_attention_is_nothing_to_judge(tmp_path: Path, nodes: tuple[str, ...], code: str) -> None:
    """Also where nothing is replayed, and other phases are fine."""
    spec = path(forced_paged=True, phases=("eager", "capture"))
    verdict = judged(live(tmp_path, spec, nodes=nodes))
    assert (verdict.exit_code, problems(verdict)) == (3, [("capture", code)])


@pytest.mark.parametrize(
    ("nodes", "counts"),
    [
        ((*PAGED, FILL), "elementwise_kernel \\(2 in the graph, 1 in 1 x replay"),
        (PAGED[1:], "elementwise_kernel \\(0 in the graph, 1 in 1 x replay"),
        (
            (FILL, FA2_PAGED, FA2_PAGED, *PAGED[2:4]),
            "BatchPrefillWithPagedKVCacheKernel \\(3 in the graph, 2 in 1 x replay",
        ),
        ((*PAGED[:4], FILL), "elementwise_kernel \\(2 in the graph, 1 in 1 x replay"),
        ((FA2_DECODE,), "BatchDecodeWithPagedKVCacheKernel \\(1 in the graph, 0 in 1 x replay"),
    ],
    ids=["fewer", "more", "one less", "others", "nothing in common"],
)
def test_a_replay_that_ran_other_kernels_than_the_graph_holds(
    tmp_path: Path, nodes: tuple[str, ...], counts: str
) -> None:
    """All of them are paged kernels: only the comparison shows it."""
    verdict = judged(live(tmp_path, FORCED, nodes=nodes))
    assert (verdict.exit_code, problems(verdict)) == (1, [("replay", "replay_differs")])
    assert re.search(counts, texts(verdict)), texts(verdict)
    assert not any("no more and no fewer" in fact for fact in verdict.phases[2].phase.facts)


def test_a_replay_of_two_launches_ran_twice_the_nodes(tmp_path: Path) -> None:
    ran = {**right(FORCED), "replay": (*PAGED, *PAGED)}
    assert judged(live(tmp_path, FORCED, ran, nodes=PAGED)).exit_code == 1
    assert judged(live(tmp_path, FORCED, ran, nodes=PAGED, replay={"graphs": 2})).exit_code == 0


def test_kernels_outside_of_the_graph_are_no_part_of_the_comparison(tmp_path: Path) -> None:
    """A plan may launch a fill of its own."""
    assert judged(live(tmp_path, FORCED, beside={"replay": [FILL]})).exit_code == 0
    # But they are judged.
    assert judged(live(tmp_path, FORCED, beside={"replay": [FA2_RAGGED]})).exit_code == 1


def test_the_driver_names_nodes_as_the_compiler_does(tmp_path: Path) -> None:
    mangled = "_ZN10flashinfer34BatchPrefillWithPagedKVCacheKernelI11PagedParamsEEvT_"
    if demangle(mangled) == mangled:
        pytest.skip("no libstdc++ that demangles")
    name = "void flashinfer::BatchPrefillWithPagedKVCacheKernel<PagedParams>(PagedParams)"
    ran = dict.fromkeys(right(FORCED), (name, name))
    verdict = judged(live(tmp_path, FORCED, ran, nodes=(mangled, mangled)))
    assert (verdict.exit_code, problems(verdict)) == (0, [])
    assert verdict.phases[1].phase.launches("paged") == 2


def test_without_the_list_of_nodes_a_capture_is_nothing_to_judge(tmp_path: Path) -> None:
    checks = (Check("capture", "graph_nodes_unavailable", False, "takes cuda-bindings"),)
    verdict = judged(live(tmp_path, FORCED, capture={"nodes": None, "checks": checks}))
    assert (verdict.exit_code, problems(verdict)) == (3, [("capture", "graph_nodes_unavailable")])
    assert states(verdict)["capture"] == "nothing"
    # The replay was judged, though not compared.
    assert states(verdict)["replay"] == "ok"
    assert not any("nodes" in fact for fact in verdict.phases[2].phase.facts)
