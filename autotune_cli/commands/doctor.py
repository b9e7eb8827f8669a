"""``autotune doctor``: what this machine has, lacks and does wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from autotune_cli.commands.options import shared

EXAMPLES = """
autotune doctor
autotune doctor --device cuda --format json
"""


@dataclass(frozen=True)
class DoctorOptions:
    """Where, and how it is printed."""

    device: shared.Device = "auto"
    format: shared.DoctorFormat = "table"
    output: shared.Output = None
    root: shared.Root = Path()


def doctor(options: DoctorOptions) -> None:
    """Examine this machine: GPU, driver, clocks, CUPTI, libraries that fit each other, folders; and what mends it.

    With --device cuda it is a fault if there is no GPU. The text is made to be pasted into a report of a fault: home
    folders are shortened, and values of variables that look like secrets are left out.

    Exit code: 0 fine, warnings included, 1 something is broken, 2 bad usage or input, 4 the output could not be
    written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.devices import choose_device, require_torch, visible_gpus
    from autotune_cli.commands.printing import check_format, check_writable, write_result
    from autotune_cli.doctor.examine import Machine, examine
    from autotune_cli.errors import NoDevice, NoTorch
    from autotune_cli.render.doctor_formats import DoctorView, verdict

    check_format("doctor", options.format, options.output)
    check_writable(options.output)
    wants_gpu = options.device == "cuda"
    try:
        kind, _ = choose_device(options.device, None)
    except NoDevice:
        kind = "cuda"
    torch_fix = None
    try:
        require_torch(kind)
    except NoTorch as error:
        torch_fix = str(error.values["fix"])
    gpus = tuple(visible_gpus()) if kind == "cuda" else ()
    diagnosis = examine(Machine(gpus, options.root, wants_gpu, torch_fix))
    write_result("doctor", options.format, DoctorView(diagnosis), options.output, verdict(diagnosis))
    if diagnosis.exit_code:
        raise typer.Exit(diagnosis.exit_code)
