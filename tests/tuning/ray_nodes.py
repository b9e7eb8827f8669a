"""A Ray cluster on this machine, as a process: ``ray_nodes.py '[{}, {"NAME": "value"}]'``.

One node for each entry, with the entry's environment variables and one processor each. It prints the cluster's address;
then it kills the last node for each line that it reads. At the end of its input all nodes end.
"""

from __future__ import annotations

import json
import sys

from ray.cluster_utils import Cluster

# Bytes of shared memory, of which nothing is used: no tensor leaves a node.
_STORE = 80 << 20


def main() -> None:
    cluster, nodes = Cluster(shutdown_at_exit=False), []
    for variables in json.loads(sys.argv[1]):
        settings = {"num_cpus": 1, "object_store_memory": _STORE, "include_dashboard": False}
        nodes.append(cluster.add_node(**settings, include_log_monitor=False, no_monitor=True, env_vars=variables))
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        # Without a word to anyone, as a machine that loses its power.
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


main()
