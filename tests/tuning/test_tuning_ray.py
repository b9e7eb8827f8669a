"""A run on a real Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import PRIVATE, Autotune, wait_until

from autotune_cli.results.files import read_run
from autotune_cli.worker.descendants import MARK, descendants, end_descendants

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'kernel-autotune[ray]'"
)

NODES = Path(__file__).with_name("ray_nodes.py")
KERNELS = """
import os, time, torch
from autotune_cli.kernels import register

@register("topk.select", name="mine.sort", devices=("cpu",))
def prepare(problem):
    def run():
        # On the node that has this variable.
        while "HANGS" in os.environ:
            time.sleep(0.05)
        return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)
    return run
"""
VARIABLES = {
    # Ray asks each node whether it lives. A dead one refuses the connection at once, a busy one has the usual 10 s.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_failure_threshold": "3",
    "RAY_enable_worker_prestart": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Nodes:
    """A cluster; ``address`` is what ``--ray-address`` takes."""

    def __init__(self, variables: list[dict[str, str]]) -> None:
        # Not pytest's folder, whose path is too long for the sockets in it.
        self.folder = tempfile.mkdtemp(prefix="ray-")
        self._mark = secrets.token_hex(8)
        kept = {name: value for name, value in os.environ.items() if not name.startswith((*PRIVATE, "OMP_", "RAY_"))}
        self._said = Path(self.folder) / "said"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(NODES), json.dumps(variables)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**kept, **VARIABLES, "RAY_TMPDIR": self.folder, MARK: self._mark},
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def kill_last(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"

    def said(self) -> str:
        """What Ray has printed."""
        return self._said.read_text()

    def processes(self) -> list[int]:
        """Ids of all that is left of it."""
        return descendants(self._process.pid, self._mark)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60.0)
        finally:
            end_descendants(self._process.pid, self._mark)
            self._process.wait()
            shutil.rmtree(self.folder)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    cluster = Nodes([{}, {"HANGS": "1"}])
    yield cluster
    cluster.end()
    assert cluster.processes() == []


def begun(folder: Path) -> list[dict[str, Any]]:
    text = "".join(path.read_text() for path in (folder / "runs").glob(".*.journal"))
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if line["record"] == "begun"]


def test_a_node_is_killed_in_the_middle(autotune: Autotune, nodes: Nodes) -> None:
    assert nodes.address, nodes.said()
    file = autotune.root / "mine.py"
    file.write_text(KERNELS)
    suite = ("--op", "topk", "--batch", "1,2,3", "--context", "2048", "--scores", "normal", "--rounds", "3")
    process = autotune.with_variables(RAY_TMPDIR=nodes.folder).start(
        *("tune", "--json", "--device", "cpu", "--no-cache", *suite, "--keep-noisy", "--timeout", "300"),
        *("--kernels", file, "--backend", "mine", "--executor", "ray", "--ray-address", nodes.address),
    )
    # The node that hangs has its first workload, and the other one too.
    wait_until(lambda: process.poll() is not None or len({line["place"] for line in begun(autotune.root)}) == 2)
    assert process.poll() is None, process.communicate()
    nodes.kill_last()
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "was lost" in err
    assert "is begun again by another worker" in err
    # Nothing of what Ray says of its nodes is between.
    run = read_run(autotune.root / json.loads(out)["path"])
    assert [len(run.workloads), run.complete, len(run.environments)] == [3, True, 1]
    assert all(result.choice is not None for result in run.workloads)
    assert {result.candidate("mine.sort").status for result in run.workloads} == {"ok"}
    # As many threads as there are cores, as on one machine.
    assert "OMP_NUM_THREADS" not in run.device.variables
    assert not begun(autotune.root)
