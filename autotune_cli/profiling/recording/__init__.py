"""Runs a path in a worker process and records it.

In the order of a recording: ``asking`` has a worker run a ``job``, which is ``run``: of each phase it makes a ``step``
over ``batches`` (``padded`` for a piecewise graph), whose new keys a ``cache_write`` puts into the pages, with a kernel
of ``inject`` beside them where one is asked for; a ``session`` records them. ``graph_nodes`` lists what was captured,
``compare`` looks at the outputs, and ``recorded`` is what comes back. Importing this, ``asking``, ``job`` and
``recorded`` loads no torch.
"""
