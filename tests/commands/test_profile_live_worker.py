"""``autotune profile`` on a path: workers that fail, traces that are kept, machines without a GPU."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_worker import FLAG, Made, ragged
from running import Finished
from trace_builders import FA2_RAGGED

from autotune_cli.errors import BadKernels, NoDevice, NoWorker
from autotune_cli.worker.failures import WorkerDied, WorkerRaised, WorkerTimeout

Usage = Callable[..., Finished]


@pytest.mark.parametrize(
    ("error", "phase", "message"),
    [
        (WorkerDied("killed by SIGSEGV"), ("run", "eager: flashinfer.paged"), "run eager: flashinfer.paged: killed by"),
        (WorkerTimeout("no answer within 5 s"), ("run", "replay"), "run replay: no answer within 5 s"),
        (WorkerDied("killed by SIGKILL (out of host memory?)"), ("", ""), "killed by SIGKILL"),
        (WorkerRaised("OutOfMemoryError: CUDA out of memory\nTraceback ...\n"), ("run", "x"), "OutOfMemoryError: CUDA"),
        (NoWorker(detail="exited with code 1"), ("", ""), "the worker process does not start: exited with code 1"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_worker_that_does_not_come_to_an_end(
    usage: Usage, worker: Made, error: Exception, phase: tuple[str, str], message: str
) -> None:
    worker.fails, worker.phase = error, phase
    done = usage("profile", "--paged")
    assert (done.code, done.out) == (4, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {message}")
    assert worker.killed == 1


def test_a_user_who_stops_it_leaves_no_worker(usage: Usage, worker: Made) -> None:
    worker.fails = KeyboardInterrupt()  # type: ignore[assignment]
    done = usage("profile", "--paged")
    assert (done.code, worker.killed) == (130, 1)
    assert done.err.splitlines() == ["interrupted"]


def test_a_kernel_file_that_can_not_be_loaded_is_bad_input(usage: Usage, worker: Made) -> None:
    worker.fails = BadKernels(path="mine.py", detail="line 3: NameError: x")
    done = usage("profile", "--paged", "--kernels", "mine.py")
    assert (done.code, done.err) == (2, "error: --kernels mine.py: line 3: NameError: x\n")


def test_a_gpu_that_torch_does_not_see_is_no_gpu(usage: Usage, worker: Made) -> None:
    """torch's CPU build on a machine with a GPU."""
    worker.fails = NoDevice(detail="no GPU: torch sees no NVIDIA GPU")
    done = usage("profile", "--paged")
    assert done.code == 4
    (line,) = done.err.splitlines()
    assert "torch sees no NVIDIA GPU" in line
    assert "--from-trace" in line


def test_names_in_brackets_are_no_markup(usage: Usage, worker: Made) -> None:
    """A user's backend may be called anything."""
    worker.reports = [("run", "eager: mine(x=[/bold])"), ("run", "[red]")]
    assert usage("profile", "--paged").code == 0


@pytest.mark.parametrize("name", ["kept.json", "kept.json.gz"])
def test_the_trace_is_kept(usage: Usage, worker: Made, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"an older one, longer than nothing")
    worker.does = ragged
    # Above all where the verdict is bad.
    assert usage("profile", "--paged", "--trace", name).code == 1
    data = (tmp_path / name).read_bytes()
    document = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
    assert {event["name"] for event in document["traceEvents"]} >= {"phase.eager", "phase.replay", FA2_RAGGED}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    # And it can be judged again.
    again = usage("profile", "--from-trace", name, "--paged")
    assert again.code == 1


def test_a_disk_that_is_full_is_one_line(usage: Usage, worker: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for function, name in (("copyfile", "t.json.gz"), ("copyfileobj", "t.json")):
        monkeypatch.setattr(f"shutil.{function}", full)
        done = usage("profile", "--paged", "--trace", name)
        assert (done.code, done.err) == (4, f"error: can't write {name}: no space left on device\n")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--mode", "decode"),
        ("--mode", "topk"),
        ("--deterministic",),
        ("--paged", "--self-check", "--format", "json", "--trace", "t.json"),
        ("--new", "9000"),
    ],
    ids=str,
)
@pytest.mark.parametrize("variables", [{}, {FLAG: "on"}, {"FLASHINFER_JIT_DEBUG": "1"}], ids=str)
def test_without_a_gpu_one_line_names_the_way(
    usage: Usage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    monkeypatch.setattr("autotune_cli.commands.devices._nvml_count", lambda: 0)
    done = usage("profile", *options, variables=variables)
    assert (done.code, done.out) == (4, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: no NVIDIA GPU on this machine")
    assert "--from-trace" in line
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_hidden_is_none(usage: Usage, worker: Made) -> None:
    assert usage("profile", "--paged", variables={"CUDA_VISIBLE_DEVICES": ""}).code == 4
    assert worker.job is None


def test_builds_that_mean_nothing_are_refused(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--paged", variables={"FLASHINFER_JIT_DEBUG": "1"})
    assert done.code == 2
    assert done.err.startswith("error: FLASHINFER_JIT_DEBUG=1 makes FlashInfer build unoptimised kernels")
    assert worker.job is None


def test_the_command_imports_no_torch() -> None:
    """Nor does what crosses to the worker: only that process touches a GPU."""
    script = (
        "import sys; sys.argv = ['autotune', 'profile', '--paged', '--self-check']\n"
        "from autotune_cli.commands import devices\n"
        "devices._nvml_count = lambda: 0\n"
        "import autotune_cli.profiling.recording.job\n"
        "from autotune_cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 4, end.code\n"
        "heavy = {'torch', 'flashinfer', 'triton', 'nvtx', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
