"""Which cluster a command runs on, and on what of its nodes."""

from __future__ import annotations

from autotune_cli.commands.devices import DeviceKind, known_device
from autotune_cli.errors import BadField, UnknownName
from autotune_cli.fields import Message

_EXECUTORS = ("local", "ray")


def chosen_cluster(executor: str, address: str | None) -> str | None:
    """The address of the Ray cluster whose nodes measure; None: this machine does.

    Raises:
        UnknownName: there is no such executor.
        BadField: an address of a cluster that isn't used, or none.
        MissingPackage: ray is not installed.
        NoCluster: nothing answers at the address.
    """
    if executor not in _EXECUTORS:
        raise UnknownName("executor", executor, _EXECUTORS)
    if executor == "local":
        if address is not None:
            raise BadField("ray_address", Message("goes with {fields.executor} ray"))
        return None
    # What takes longest to import, and all that is only for clusters, is loaded for these.
    from autotune_cli.tuning.cluster.ray_cluster import AUTO, check_address, check_ray

    check_ray()
    check_address(address or AUTO)
    return address or AUTO


def device_of_cluster(device: str, gpus: str | None) -> DeviceKind:
    """What the nodes measure on: their GPUs, unless it is to be their processors.

    Raises:
        BadField: a device that doesn't exist, or GPUs by number.
    """
    if gpus is not None:
        raise BadField("gpus", Message("goes with {fields.executor} local: a cluster's nodes say which GPUs they lend"))
    return "cpu" if known_device(device) == "cpu" else "cuda"
