"""Runs that end while modules are built: no builder and no compiler is left, and the run can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from running import PROMPT_S, TINY, Autotune, in_session, is_running, wait_until

from autotune_cli.results.files import read_run
from autotune_cli.worker.descendants import MARK, end_descendants

KERNELS = Path(__file__).with_name("building_kernels.py")
OPTIONS = ("tune", "--json", "--device", "cpu", *TINY, "--no-cache", "--kernels", KERNELS, "--backend", "built")


class Waiting:
    """A run that is in the middle of a build: a builder, its compiler, and what that has started."""

    def __init__(self, autotune: Autotune) -> None:
        self.program = autotune.with_variables(BUILDING_FOLDER=str(autotune.root), BUILDING_BACKENDS="fails,waits")
        self.process = self.program.start(*OPTIONS)
        mark = autotune.root / "compiler"
        wait_until(lambda: self._is_there(mark))
        self.builder = int(mark.read_text())
        # The watcher over the builder, the builder, the compiler and the compiler's own child.
        wait_until(lambda: len(in_session(self.builder)) == 4)
        self.pids = in_session(self.builder)

    def _is_there(self, mark: Path) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        return mark.exists() and bool(mark.read_text())


@pytest.fixture
def waiting(autotune: Autotune) -> Waiting:
    return Waiting(autotune)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_building(waiting: Waiting, number: signal.Signals) -> None:
    waiting.process.send_signal(number)
    out, err = waiting.process.communicate(timeout=PROMPT_S)
    assert waiting.process.returncode == (130 if number == signal.SIGINT else 4), err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted; go on with the same command and --resume"
    assert not any(map(is_running, waiting.pids))
    assert not read_run(waiting.program.root / json.loads(out)["path"]).complete
    (waiting.program.root / "go").touch()
    (result,) = waiting.program(*OPTIONS, "--resume", code=0).run.workloads
    assert result.candidate("built.waits(n=0)").status in ("ok", "eliminated")
    assert result.candidate("built.fails(n=0)").status == "error"


def test_a_killed_run_leaves_no_compiler(waiting: Waiting) -> None:
    """No process is left to tell the builder; a compiler that ninja has started knows nothing of its end either."""
    waiting.process.kill()
    waiting.process.communicate()
    wait_until(lambda: not any(map(is_running, waiting.pids)), "the end of builder and compilers")


def test_a_killed_builder_leaves_no_compiler(waiting: Waiting) -> None:
    os.kill(waiting.builder, signal.SIGKILL)
    others = [pid for pid in waiting.pids if pid != waiting.builder]
    wait_until(lambda: not any(map(is_running, others)), "the end of the compilers")
    waiting.process.kill()


def test_a_session_is_ended_with_all_its_groups_and_who_has_left_it() -> None:
    shell = "sleep 1000 & setsid sleep 1000 & echo $!; set -m; sleep 1000 & wait"
    leader = subprocess.Popen(["bash", "-c", shell], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert leader.stdout is not None
    apart = int(leader.stdout.readline())
    wait_until(lambda: len(in_session(leader.pid)) == 3)
    wait_until(lambda: os.getsid(apart) == apart)
    assert len({os.getpgid(pid) for pid in in_session(leader.pid)}) == 2
    end_descendants(leader.pid)
    assert in_session(leader.pid) == []
    assert not is_running(apart)
    leader.communicate()


def test_an_orphan_is_known_by_its_mark_alone() -> None:
    """Its parents are dead and it has a session of its own; another worker's mark is not its."""
    shell = "setsid sleep 1000 >&- & echo $!"
    marked = {**os.environ, MARK: "one"}
    parent = subprocess.Popen(["bash", "-c", shell], stdout=subprocess.PIPE, text=True, env=marked)
    out, _ = parent.communicate()
    orphan = int(out)
    wait_until(lambda: os.getsid(orphan) == orphan)
    end_descendants(parent.pid)
    end_descendants(parent.pid, mark="on")
    assert is_running(orphan)
    end_descendants(parent.pid, mark="one")
    assert not is_running(orphan)
