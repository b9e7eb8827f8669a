"""SQLite exports of Nsight Systems."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from trace_builders import FA2_PAGED, FA3_RAGGED, NSYS_SCHEMA, SPLIT_MERGE, NsysTrace

from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.findings import Expectation
from autotune_cli.profiling.phases import Recording
from autotune_cli.profiling.readers.finding import read_trace, sources_of_rank
from autotune_cli.profiling.verdict import judge


def phases(path: Path, *wanted: str) -> Recording:
    return split_into_phases(read_trace(path), load_classifier(), wanted)


def full(path: Path) -> NsysTrace:
    """Eager, capture and replay, recorded with --cuda-graph-trace=node."""
    trace = NsysTrace(path)
    start = trace.now
    trace.kernel(FA2_PAGED).kernel(SPLIT_MERGE).copy_to_host().call("cudaStreamSynchronize_v3020")
    trace.span("phase.eager", start)
    start = trace.now
    trace.call("cudaStreamBeginCapture_v10000")
    trace.call("cudaLaunchKernelExC_v11060")
    trace.call("cudaStreamEndCapture_v10000")
    trace.span("phase.capture", start, registered=True)
    start = trace.now
    trace.graph(FA2_PAGED, SPLIT_MERGE)
    return trace.span("phase.replay", start)


def test_phases_of_an_export(tmp_path: Path) -> None:
    recording = phases(full(tmp_path / "r.sqlite").write())
    eager, capture, replay = recording.phases
    assert recording.devices == ("NVIDIA H200",)
    assert [phase.name for phase in recording.phases] == ["eager", "capture", "replay"]
    assert eager.families() == {"paged": (1, 10.0), "split_merge": (1, 10.0)}
    assert (eager.waits, eager.copies_to_host, eager.launch_us) == (1, 1, 4.0)
    assert (capture.captured, capture.kernels) == (1, ())
    assert replay.families() == eager.families()
    assert replay.graph_launches == 1
    assert judge(recording, Expectation("paged")).exit_code == 0


def test_a_ragged_kernel_in_the_replay_fails(tmp_path: Path) -> None:
    trace = full(tmp_path / "r.sqlite")
    start = trace.now
    trace.graph(FA2_PAGED, FA3_RAGGED).span("phase.replay", start)
    assert judge(phases(trace.write()), Expectation("paged")).exit_code == 1


def test_graphs_recorded_as_a_whole_prove_nothing(tmp_path: Path) -> None:
    trace = NsysTrace(tmp_path / "r.sqlite")
    start = trace.now
    trace.kernel(FA2_PAGED).span("phase.eager", start)
    start = trace.now
    trace.graph().span("phase.replay", start)
    verdict = judge(phases(trace.write()), Expectation("paged"))
    assert verdict.exit_code == 3
    assert "--cuda-graph-trace=node" in str(verdict.phases[1].problems)


def test_without_ranges_phases_are_ways_of_launching(tmp_path: Path) -> None:
    trace = NsysTrace(tmp_path / "r.sqlite")
    trace.kernel(FA2_PAGED).graph(FA2_PAGED, SPLIT_MERGE)
    recording = phases(trace.write())
    assert [(phase.name, phase.launches()) for phase in recording.phases] == [("eager", 1), ("replay", 2)]


def test_correlation_ids_of_two_processes_do_not_mix(tmp_path: Path) -> None:
    trace = NsysTrace(tmp_path / "r.sqlite")
    for process, name in ((100, FA2_PAGED), (99, FA3_RAGGED)):
        trace.process, trace.last = trace.pid(process), 0
        start = trace.now
        trace.kernel(name).span(f"phase.of{process}", start)
    path = trace.write()
    read = read_trace(path)
    assert [list(sources_of_rank(read, rank)) for rank in (0, 1)] == [[1], [0]]
    found = {phase.title: phase.families() for phase in phases(path).phases if phase.kernels}
    assert found == {"of100 (process 100)": {"paged": (1, 10.0)}, "of99 (process 99)": {"ragged": (1, 10.0)}}


def test_an_old_export_without_processes(tmp_path: Path) -> None:
    trace = NsysTrace(tmp_path / "r.sqlite", NSYS_SCHEMA)
    trace.kernel(FA2_PAGED).span("phase.eager", 0)
    path = trace.write()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL DROP COLUMN globalPid")
        database.execute("DROP TABLE CUPTI_ACTIVITY_KIND_MEMCPY")
        database.execute("DROP TABLE TARGET_INFO_GPU")
    database.close()
    (phase,) = phases(path).phases
    assert (phase.name, phase.families()) == ("eager", {"paged": (1, 10.0)})


def test_an_export_without_kernels_is_nothing_to_judge(tmp_path: Path) -> None:
    trace = NsysTrace(tmp_path / "r.sqlite")
    trace.call("cudaMalloc_v3020")
    path = trace.write()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL")
    database.close()
    assert judge(phases(path), Expectation("paged")).exit_code == 3


def change(path: Path, statement: str) -> Path:
    full(path).write()
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    return path


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = start - 5", "lasts -5 ns"),
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET demangledName = 999", "kernel without a name"),
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET correlationId = 'x'", "correlationId holds str where a number belongs"),
        ("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = 'x'", "no start or no end"),
        ("UPDATE StringIds SET value = ' '", "kernel without a name"),
        ("DROP TABLE StringIds", "no export of Nsight Systems"),
    ],
)
def test_a_broken_export_is_refused(tmp_path: Path, statement: str, message: str) -> None:
    with pytest.raises(BadTrace, match=message):
        read_trace(change(tmp_path / "r.sqlite", statement))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = full(tmp_path / "r.sqlite").write()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 2000 + content[2100:])
    with pytest.raises(BadTrace, match="damaged SQLite file"):
        read_trace(path)
    path.write_bytes(content[:5000])
    with pytest.raises(BadTrace, match="damaged SQLite file"):
        read_trace(path)
