"""Runs on a cluster whose nodes are threads of this process: real workers, which are lost at a known moment."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_cluster import MadeCluster, Node
from running import Autotune, Finished

from autotune_cli.results.files import read_run
from autotune_cli.results.journal import load
from autotune_cli.results.schema import RunFile
from autotune_cli.tuning.cluster import ray_cluster
from autotune_cli.tuning.cluster.calls import about

SUITE = ("--op", "topk", "--batch", "1,2", "--context", "4096", "--scores", "normal", "--rounds", "3", "--keep-noisy")
Tune = Callable[..., Finished]


@pytest.fixture
def tune(autotune: Autotune, monkeypatch: pytest.MonkeyPatch) -> Tune:
    """Tunes on the nodes."""

    def call(nodes: list[Node], *options: object, code: int = 0) -> Finished:
        monkeypatch.setattr(ray_cluster, "check_ray", lambda: None)
        monkeypatch.setattr(ray_cluster, "RayCluster", MadeCluster(nodes).join)
        return autotune.tune("--executor", "ray", *SUITE, *options, code=code)

    return call


def keys(run: RunFile) -> list[str]:
    return [result.key.split(" k2048")[0] for result in run.workloads]


ALL = ["topk.select 1 x 4096", "topk.select 2 x 4096"]


def test_what_a_lost_node_was_doing_is_done_by_another(tune: Tune) -> None:
    nodes = [Node("steady"), Node("doomed", dies_at=("RunRound", 1))]
    done = tune(nodes, "--no-cache")
    assert "doomed was lost: unplugged; topk.select" in done.err
    assert "is begun again by another worker" in done.err
    run = done.run
    assert keys(run) == ALL
    assert run.complete
    assert len(run.environments) == 1
    # The steady node begins anew what the lost one had a round of, and its rounds alone are kept.
    (lost, last), *_ = reversed(nodes[1].rounds)
    assert last == 1
    rounds = [number for key, number in nodes[0].rounds if key == lost]
    assert rounds == list(range(len(rounds)))
    (result,) = (result for result in run.workloads if result.key == lost)
    assert [conditions.round for conditions in result.conditions] == rounds
    assert not list((done.folder / "runs").glob(".*"))


def test_a_run_that_has_lost_all_nodes_is_gone_on_with(tune: Tune, tmp_path: Path) -> None:
    done = tune([Node("doomed", dies_at=("Recheck", 1))], "--no-cache", code=4)
    assert "doomed was lost: unplugged; go on with the same command and --resume" in done.err
    first = done.run
    assert not first.complete
    assert keys(first) == ALL[:1]
    (journal,) = (done.folder / "runs").glob(".*.journal")
    begun = load(journal)
    assert begun.begun == dict.fromkeys(begun.header.workloads, "doomed")
    half = list(begun.header.workloads)[1]
    assert len(begun.rounds[half]) >= 3
    # Another machine: what is done stays, and what is half done begins anew.
    nodes = [Node("new")]
    resumed = tune(nodes, "--no-cache", "--resume")
    assert resumed.path == done.path
    assert f"note: {half}: begun again, as another card had begun it" in resumed.err
    assert keys(resumed.run) == ALL
    assert resumed.run.workloads[0] == first.workloads[0]
    assert {key for key, number in nodes[0].rounds if number == 0} == {half}
    assert not list((done.folder / "runs").glob(".*"))


def test_the_same_card_goes_on_in_the_middle_of_a_race(tune: Tune) -> None:
    tune([doomed := Node("card", dies_at=("RunRound", 1))], "--no-cache", code=4)
    assert [number for _, number in doomed.rounds] == [0, 1]
    nodes = [Node("card")]
    assert keys(tune(nodes, "--no-cache", "--resume").run) == ALL
    assert nodes[0].rounds[0] == doomed.rounds[1]


def test_each_kind_of_node_has_a_table_of_its_own(tune: Tune) -> None:
    other = {"device": "Other CPU"}
    newer = {"driver": "2"}
    done = tune([Node("n", newer), Node("a"), Node("b"), Node("o", other)], "--no-cache")
    assert "o: a table of its own: device" in done.err
    assert "n: a table of its own: driver none -> 2" in done.err
    run = done.run
    assert keys(run) == ALL * 2
    devices = [run.environments[result.environment].device for result in run.workloads]
    assert devices == [run.device.device] * 2 + ["Other CPU"] * 2
    (extra,) = (path for path in (done.folder / "runs").glob("*.json") if path != done.path)
    assert f"note: a table of its own: 2 results in {extra.relative_to(done.folder)}" in done.err
    assert re.fullmatch(r"cpu-[0-9a-f]{6}\.[0-9_]+\.json", extra.name)
    assert keys(read_run(extra)) == ALL
    assert read_run(extra).device.driver == "2"
    assert not list((done.folder / "runs").glob(".*"))


def test_each_table_has_its_cache(tune: Tune) -> None:
    def nodes() -> list[Node]:
        return [Node("a"), Node("o", {"device": "Other CPU"}), Node("n", {"driver": "2"})]

    done = tune(nodes())
    assert done.path == done.folder / "cache" / "cpu.json"
    assert [environment.driver for environment in done.run.environments.values()] == [None, None]
    assert keys(done.run) == ALL * 2
    (extra,) = (done.folder / "cache").glob("cpu-*.json")
    assert keys(read_run(extra)) == ALL
    again = nodes()
    tune(again)
    assert not [job for node in again for job in node.jobs if job in ("Vet", "RunRound")]


def test_the_tables_of_an_interrupted_run_find_their_journals(tune: Tune) -> None:
    def nodes(*doomed: str) -> list[Node]:
        made = [Node("a"), Node("o", {"device": "Other CPU"}), Node("n", {"driver": "2"})]
        return [replace(node, dies_at=("Recheck", 1)) if node.name in doomed else node for node in made]

    done = tune(nodes("o"), "--no-cache", code=4)
    assert keys(done.run) == [*ALL, ALL[0]]
    assert len(list((done.folder / "runs").glob(".*.journal"))) == 3
    again = nodes()
    resumed = tune(again, "--no-cache", "--resume")
    assert keys(resumed.run) == ALL * 2
    assert {node.name for node in again if "Recheck" in node.jobs} == {"o"}
    assert not list((done.folder / "runs").glob(".*"))


def test_a_worker_that_cannot_measure_is_left_out(tune: Tune) -> None:
    done = tune([Node("a", card="GPU-1"), Node("off", is_dead=True), Node("b", card="GPU-1")], "--no-cache")
    assert "note: off was lost: unplugged; the run goes on without it" in done.err
    assert "note: b: two workers were given one GPU, GPU-1; the run goes on without it" in done.err
    assert keys(done.run) == ALL
    assert [result.card for result in done.run.workloads] == ["GPU-1"] * 2


def test_without_any_node_there_is_no_run(tune: Tune) -> None:
    done = tune([Node("off", is_dead=True)], "--no-cache", code=4)
    assert "no worker of the cluster is left: off was lost: unplugged" in done.err
    assert not done.out


def test_another_version_on_a_node_is_refused(tune: Tune) -> None:
    theirs = replace(about(), source="0123456789ab")
    done = tune([Node("a"), Node("b", program=theirs)], "--no-cache", code=2)
    assert f"kernel-autotune is {about()} here and {theirs} on b" in done.err


def test_a_file_of_kernels_that_a_node_cannot_load_names_the_node(tune: Tune, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("1/0\n")
    done = tune([Node("a")], "--no-cache", "--kernels", file, code=2)
    assert f"--kernels {file}: on a: line 1: ZeroDivisionError" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--executor", "slurm"), "unknown executor 'slurm'"),
        (("--ray-address", "auto"), "--ray-address: goes with --executor ray"),
        (("--executor", "ray", "--ray-address", "ray://a:1"), "'ray://a:1' is neither auto nor HOST:PORT"),
        (("--executor", "ray", "--ray-address", "a:70000"), "'a:70000' is neither auto nor HOST:PORT"),
        (("--executor", "ray", "--ray-address", "127.0.0.1:1"), "no Ray cluster at 127.0.0.1:1: Connection refused"),
        (("--executor", "ray", "--gpus", "0"), "--gpus: goes with --executor local"),
        (("--executor", "ray", "--device", "tpu"), "'tpu' is none of auto, cuda, cpu"),
    ],
)
def test_bad_options_are_said_in_a_line(
    usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(ray_cluster, "check_ray", lambda: None)
    done = usage("tune", *options)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert len(done.err.splitlines()) == 1


def test_without_ray_the_command_that_installs_it_is_named(
    usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    done = usage("tune", "--executor", "ray")
    assert done.code == 2
    assert "needs ray, which is not installed; get it: pip install 'kernel-autotune[ray]'" in done.err


def test_what_is_no_cluster_is_refused_at_once(usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "check_ray", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = usage("tune", "--executor", "ray", "--ray-address", address)
        thread.join()
    assert done.code == 2
    assert done.err == f"error: no Ray cluster at {address}: what answers there is something else\n"
