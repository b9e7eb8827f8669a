"""A Ray cluster: the only module that imports ray, and that when a cluster is asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from autotune_cli.errors import BadField, MissingPackage, NoCluster, NoDevice, OtherProgram
from autotune_cli.fields import Field, Message
from autotune_cli.tuning.cluster.calls import About, about
from autotune_cli.tuning.cluster.host import Host
from autotune_cli.worker.failures import Stopped, WorkerLost
from autotune_cli.worker.protocol import WorkerSettings

AUTO = "auto"
"""The address of the cluster that this machine is a node of."""

# A machine that doesn't answer so soon isn't there.
_CONNECT_S = 10.0
# For a GPU to be given back by another job of the cluster, and for Ray to start a process.
_PLACE_S = 60.0
# A host answers at once, if its node isn't stopped or swapping. Ray itself says it of a node whose processes are gone,
# after 15 s as it is set by default.
_ANSWER_S = 60.0
# How long Ray may say that it doesn't know yet whether a node is dead.
_UNSURE_S = 60.0
_AGAIN_S = 0.5
# How HTTP/2 begins, on which Ray's messages go (RFC 9113, section 3.4), with an empty frame of settings, of type 4.
# Whoever speaks it begins with such a frame too.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_FRAME_BYTES, _TYPE, _SETTINGS = 9, 3, 4
_GLANCE_S = 0.2


def check_ray() -> None:
    """Is ray there? It is looked for and not imported.

    Raises:
        MissingPackage: it is not installed.
    """
    found = None
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.util.find_spec("ray")
    if found is None:
        raise MissingPackage(what="a Ray cluster", package="ray", fix="pip install 'kernel-autotune[ray]'")


def check_address(address: str) -> None:
    """Could there be a cluster?

    Raises:
        BadField: it is no address.
        NoCluster: nothing answers there, or something else, which Ray would go on asking for many minutes.
    """
    if address == AUTO:
        return
    host, separator, port = address.rpartition(":")
    if "://" in address or not (separator and host and port.isdecimal() and 0 < int(port[:6]) < 1 << 16):
        detail = f"{address!r} is neither {AUTO} nor HOST:PORT of a cluster's head, such as 10.0.0.1:6379"
        raise BadField("ray_address", detail)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S) as connection:
            connection.sendall(_HELLO)
            answer = connection.recv(_FRAME_BYTES)
    except (OSError, UnicodeError) as error:
        raise NoCluster(address=address, detail=getattr(error, "strerror", None) or str(error)) from error
    if len(answer) <= _TYPE or answer[_TYPE] != _SETTINGS:
        raise NoCluster(address=address, detail="what answers there is something else")


class RayCluster:
    """A cluster that this process has joined, until :meth:`close`.

    Raises:
        MissingPackage, BadField, NoCluster: it can't be joined.
    """

    def __init__(self, address: str, stop: threading.Event) -> None:
        check_ray()
        check_address(address)
        self._stop = stop
        self._seats: list[RaySeat] = []
        try:
            _join(address, stop)
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            if address == AUTO and isinstance(error, ConnectionError):
                detail = (
                    "this machine is no node of one; `ray start` begins or joins one, {fields.ray_address} names one"
                )
                raise NoCluster(address=address, detail=Message(detail)) from error
            raise NoCluster(address=address, detail=_first_line(error)) from error

    def seats(self, device: Literal["cuda", "cpu"], settings: WorkerSettings) -> Sequence[RaySeat]:
        """A place for each worker: the GPUs of all nodes, or the processors of each.

        Raises:
            NoDevice: no node has a GPU.
        """
        import ray

        nodes = sorted(
            (node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerHostname"])
        )
        hosts = Counter(node["NodeManagerHostname"] for node in nodes)
        for node in nodes:
            name, key = node["NodeManagerHostname"], node["NodeID"]
            label = name if hosts[name] == 1 else f"{name}/{key[:6]}"
            # On processors all of a node's are taken: what else runs there would be measured too.
            count, shares = 1, {"num_cpus": node["Resources"].get("CPU", 0.0)}
            if device == "cuda":
                count, shares = int(node["Resources"].get("GPU", 0)), {"num_cpus": 0, "num_gpus": 1}
            self._seats += [RaySeat(label, key, shares, settings, self._stop) for _ in range(count)]
        if not self._seats:
            text = "no node of the Ray cluster has a GPU; {device} tunes torch's CPU kernels"
            raise NoDevice(detail=Message(text, device=Field("device", "cpu")))
        return self._seats

    def close(self) -> None:
        """End what runs on the nodes, and leave the cluster."""
        import ray

        for seat in self._seats:
            seat.close()
        ray.shutdown()


class RaySeat:
    """See :class:`autotune_cli.tuning.cluster.remote.Seat`."""

    def __init__(
        self, node: str, node_id: str, shares: dict[str, float], settings: WorkerSettings, stop: threading.Event
    ) -> None:
        self.node = node
        self._node_id = node_id
        self._shares = shares
        self._settings = settings
        self._stop = stop
        self._actor: Any = None

    def open(self) -> About:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(self._node_id, soft=False)
        kind = ray.remote(Host)
        # As many calls at a time: one waits for events, another one may kill the worker meanwhile.
        options = kind.options(scheduling_strategy=where, max_concurrency=4, max_restarts=0, **self._shares)
        self._actor = options.remote(self._settings)
        theirs: About = self._call("about", _PLACE_S, "has no free place for a worker, or starts none,")
        self.call("leave_threads")
        return theirs

    def call(self, name: str, *arguments: object) -> Any:
        return self._call(name, _ANSWER_S, "doesn't answer", *arguments)

    def close(self) -> None:
        """End the host and its worker process."""
        import ray

        if self._actor is not None:
            with contextlib.suppress(Exception):  # it is gone already
                ray.kill(self._actor)

    def _call(self, name: str, patience_s: float, late: str, *arguments: object) -> Any:
        from ray import exceptions

        unsure_end = time.monotonic() + _UNSURE_S
        while True:
            try:
                return self._answer(getattr(self._actor, name).remote(*arguments), patience_s, late)
            except exceptions.ActorUnavailableError as error:
                # The connection is cut: soon Ray knows whether the node is dead. Until then all may be as it was.
                if time.monotonic() > unsure_end:
                    raise WorkerLost(f"{self.node} was lost: {_first_line(error)}") from error
                if self._stop.wait(_AGAIN_S):
                    raise Stopped from None
            except exceptions.RayTaskError:
                raise  # a fault of the host
            except exceptions.RayError as error:
                self._check_program(error)
                raise WorkerLost(f"{self.node} was lost: {_reason(error)}") from error

    def _answer(self, reference: Any, patience_s: float, late: str) -> Any:
        import ray

        end = time.monotonic() + patience_s
        while not ray.wait([reference], timeout=_GLANCE_S)[0]:
            if self._stop.is_set():
                raise Stopped
            if time.monotonic() > end:
                raise WorkerLost(f"{self.node} {late} for {patience_s:g} s")
        return ray.get(reference)

    def _check_program(self, error: Exception) -> None:
        """Did the host not even start, as its module isn't there?"""
        text = str(error)
        if "ModuleNotFoundError" in text and Host.__module__.partition(".")[0] in text:
            raise OtherProgram(node=self.node, theirs="none, or an older one", ours=str(about())) from error


def _reason(error: Exception) -> str:
    """Ray's words on a dead actor take ten lines, the last of which says why."""
    from ray.exceptions import ActorDiedError

    if isinstance(error, ActorDiedError):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1] if lines else "its actor died"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _join(address: str, stop: threading.Event) -> None:
    """Join a cluster, in a thread: in the main one Ray would put its own handler of SIGTERM in the place of the
    command's.

    Raises:
        Stopped: the user wants to stop.
        Exception: what Ray raises.
    """
    import ray

    # Also of the handler that it can't put.
    logging.getLogger("ray").setLevel(logging.ERROR)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(ray.init, address=address, log_to_driver=False, logging_level=logging.ERROR).result()
    _silence(ray)
    if threading.current_thread() is threading.main_thread():
        # Before Python's handlers Ray has put one that prints where the program was.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.getsignal(number))
    if stop.is_set():
        ray.shutdown()
        raise Stopped


def _silence(ray: Any) -> None:
    """Ray prints 40 lines to stdout when a node is lost, where a table or a JSON document is to stand. There is no
    option against it (2.60); where the function is called otherwise some day, they are printed again.
    """
    worker = ray._private.worker
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None
