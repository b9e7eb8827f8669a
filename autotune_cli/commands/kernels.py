"""``autotune kernels``: every backend, and what makes it unavailable here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.commands.options.kernels import KernelsOptions

EXAMPLES = """
autotune kernels
autotune kernels --kernels mine.py --device cpu
"""


def kernels(options: KernelsOptions) -> None:
    """List every backend with its operations, its knobs and, where it can't run here, why and how to get it.

    Exit code: 0 fine, 2 bad usage or input, 4 the device could not be asked, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from autotune_cli.commands.devices import choose_device, require_torch
    from autotune_cli.commands.printing import check_writable, write_result
    from autotune_cli.render.kernels_formats import KernelsView
    from autotune_cli.tuning.jobs import ListBackends
    from autotune_cli.worker.process import Worker
    from autotune_cli.worker.protocol import WorkerSettings

    check_writable(options.output)
    kind, gpus = choose_device(options.device, None)
    require_torch(kind)
    files = tuple(str(path.resolve()) for path in options.kernels or ())
    worker = Worker(WorkerSettings(kind, kernel_files=files), gpus[0])
    try:
        name = worker.start().environment.device
        found = worker.ask(ListBackends(), timeout_s=60.0)
    finally:
        worker.kill()
    write_result("kernels", options.format, KernelsView(name, kind, found), options.output)
