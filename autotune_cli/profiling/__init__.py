"""Did the selected kernels fire? Needs no torch, but for what runs in a worker.

A profile that is run here goes through these steps, and no module knows of a later one:

1. ``request``: what a user asks for.
2. ``planning``: what a worker is to run, ``layers`` and a ``path``, and what must be seen. One of the ``paths`` decides
   that, by the rules of an engine (:mod:`autotune_cli.sglang`).
3. ``recording``: a worker runs the path and records it.
4. ``trace``: the file, read by one of the ``readers``.
5. ``phases``: kernels counted by phase (``attribute``) and put into families (``classify``).
6. ``verdict``: each phase judged; ``live_verdict`` takes steps 4 to 6 for a recorded path, with the ``checks`` that go
   beyond kernels.

A trace that a user brings begins at step 4.
"""

from __future__ import annotations
