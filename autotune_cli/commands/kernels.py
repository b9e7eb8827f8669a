"""``autotune kernels``: every backend, and what makes it unavailable here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune_cli.commands.helping import complete_words

EXAMPLES = """
autotune kernels
autotune kernels --kernels mine.py --device cpu
"""


def kernels(
    own: Annotated[
        list[Path] | None,
        typer.Option("--kernels", help="A Python file that registers your own backends.", metavar="FILE"),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="auto, cuda or cpu.", metavar="DEVICE", autocompletion=complete_words("auto", "cuda", "cpu")),
    ] = "auto",
) -> None:
    """List every backend with its operations, its knobs and, where it can't run here, why and how to get it.

    Exit code: 0 fine, 2 bad usage or input, 4 the device could not be asked, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from autotune_cli.commands.devices import choose_device, require_torch
    from autotune_cli.render.backends import backends_view
    from autotune_cli.render.console import Console
    from autotune_cli.tuning.jobs import ListBackends
    from autotune_cli.worker.process import Worker
    from autotune_cli.worker.protocol import WorkerSettings

    kind, gpus = choose_device(device, None)
    require_torch(kind)
    files = tuple(str(path.resolve()) for path in own or ())
    worker = Worker(WorkerSettings(kind, kernel_files=files), gpus[0])
    try:
        name = worker.start().environment.device
        found = worker.ask(ListBackends(), timeout_s=60.0)
    finally:
        worker.kill()
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(f"backends on this machine ({name})", style="dim", highlight=False, markup=False)
    console.print(backends_view(found, kind, console.width))
