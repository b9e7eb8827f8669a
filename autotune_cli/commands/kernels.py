"""``autotune kernels``: every backend, and what makes it unavailable here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def kernels(
    own: Annotated[
        list[Path] | None, typer.Option("--kernels", help="A Python file that registers your own backends.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda or cpu.")] = "auto",
) -> None:
    """List every backend with its operations, its knobs and, where it can't run here, why and how to get it.

    Exit code: 0 fine, 2 bad usage or input, 4 the device could not be asked, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from rich.table import Table
    from rich.text import Text

    from autotune_cli.commands.devices import choose_device
    from autotune_cli.render.console import Console
    from autotune_cli.tuning.jobs import ListBackends, WorkerSettings
    from autotune_cli.tuning.process import Worker

    kind, gpus = choose_device(device, None)
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
    console.print(f"backends on this machine ({name})", style="dim", highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("backend", "operations", "knobs", "here"):
        table.add_column(column, overflow="fold")
    for backend in found:
        if kind not in backend.devices:
            needed = "an NVIDIA GPU" if "cuda" in backend.devices else "a CPU"
            how = f"; get it: {backend.install}" if backend.missing is not None and backend.install else ""
            here = Text(f"needs {needed}{how}", style="dim")
        elif backend.missing is not None:
            how = backend.install or f"pip install {backend.missing}"
            here = Text(f"{backend.missing} is not installed; get it: {how}", style="yellow")
        else:
            here = Text("ready", style="green")
        table.add_row(Text(backend.name), ", ".join(backend.operations), Text(backend.knobs), here)
    console.print(table)
