"""A cluster whose nodes are threads of this process: the hosts and their workers are real, Ray alone is not there."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune_cli.tuning.cluster.calls import About, AskCall, DoneEvent, about
from autotune_cli.tuning.cluster.host import Host
from autotune_cli.tuning.jobs import RunRound
from autotune_cli.tuning.messages import ReadyToMeasure
from autotune_cli.worker.failures import WorkerLost
from autotune_cli.worker.protocol import WorkerSettings


@dataclass
class Node:
    """A node with one worker."""

    name: str
    environment: dict[str, Any] = field(default_factory=dict)
    """What its worker says of its environment, beside what is so."""
    card: str | None = None
    """UUID of its GPU."""
    dies_at: tuple[str, int] | None = None
    """The class of a job, and how many of it are begun before the node dies."""
    program: About = field(default_factory=about)
    jobs: list[str] = field(default_factory=list)
    """Classes of the jobs that were begun here."""
    rounds: list[tuple[str, int]] = field(default_factory=list)
    """Workload and number of each round that was begun here."""
    is_dead: bool = False


class MadeSeat:
    """See :class:`autotune_cli.tuning.cluster.remote.Seat`. What is asked and answered is pickled, as it is by Ray."""

    def __init__(self, node: Node, settings: WorkerSettings) -> None:
        self._node = node
        self._host = Host(settings)

    @property
    def node(self) -> str:
        return self._node.name

    def open(self) -> About:
        self._check()
        return self._node.program

    def call(self, name: str, *arguments: object) -> Any:
        self._check()
        arguments = pickle.loads(pickle.dumps(arguments))
        if name == "begin" and isinstance(arguments[1], AskCall):
            self._begin(arguments[1].job)
        found = pickle.loads(pickle.dumps(getattr(self._host, name)(*arguments)))
        return [self._said(event) for event in found] if name == "events" else found

    def close(self) -> None:
        self._host.kill()

    def _begin(self, job: Any) -> None:
        node = self._node
        node.jobs.append(type(job).__name__)
        if isinstance(job, RunRound):
            node.rounds.append((job.workload.key, job.number))
        if node.dies_at is not None and node.jobs.count(node.dies_at[0]) > node.dies_at[1]:
            node.is_dead = True
            self.close()
        self._check()

    def _said(self, event: Any) -> Any:
        if isinstance(event, DoneEvent) and isinstance(event.value, ReadyToMeasure):
            environment = event.value.environment.model_copy(update=self._node.environment)
            return replace(event, value=replace(event.value, environment=environment, card=self._node.card))
        return event

    def _check(self) -> None:
        if self._node.is_dead:
            raise WorkerLost(f"{self._node.name} was lost: unplugged")


class MadeCluster:
    """See :class:`autotune_cli.tuning.cluster.run.Cluster`."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._seats: list[MadeSeat] = []

    def join(self, address: str, stop: threading.Event) -> MadeCluster:
        return self

    def seats(self, device: str, settings: WorkerSettings) -> Sequence[MadeSeat]:
        self._seats = [MadeSeat(node, settings) for node in self._nodes]
        return self._seats

    def close(self) -> None:
        for seat in self._seats:
            seat.close()
