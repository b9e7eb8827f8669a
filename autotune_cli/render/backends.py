"""What ``autotune kernels`` lists: every backend, and what makes it unavailable here."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autotune_cli.render.folding import Record, folded
from autotune_cli.render.plain_records import shown_record
from autotune_cli.tuning.messages import BackendInfo

# Operations are folded into a column no narrower than this; three gaps of two spaces.
_OPERATIONS = 24
_GAPS = 6


def backends_view(found: Sequence[BackendInfo], device_kind: str, width: int) -> RenderableType:
    """A table, or on a narrow terminal each backend's name and below it the rest.

    Args:
        device_kind: ``cuda`` or ``cpu``: what the machine has.
    """
    found = shown_record(list(found))
    rows = [(Text(each.name), ", ".join(each.operations), each.knobs, here(each, device_kind)) for each in found]
    widest = (
        max(len(name) for name, *_ in rows),
        max(cell_len(knobs) for _, _, knobs, _ in rows),
        max(len(here_text) for *_, here_text in rows),
    )
    if sum(widest) + _OPERATIONS + _GAPS > width:
        return folded(
            [
                Record(name, (Text(operations), Text(f"knobs: {knobs}" if knobs else ""), here_text))
                for name, operations, knobs, here_text in rows
            ]
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("backend", "operations", "knobs", "here"):
        table.add_column(column, overflow="fold", no_wrap=column != "operations")
    for name, operations, knobs, here_text in rows:
        table.add_row(name, operations, Text(knobs), here_text)
    return table


def here(backend: BackendInfo, device_kind: str) -> Text:
    """Ready, or why not, and the command that helps. None helps where the machine lacks the device."""
    if device_kind not in backend.devices:
        needs = backend.needs or ("an NVIDIA GPU" if "cuda" in backend.devices else "a CPU")
        return Text(f"needs {needs}", style="dim")
    if backend.missing is not None:
        how = backend.install or f"pip install {backend.missing}"
        return Text(f"{backend.missing} is not installed; get it: {how}", style="yellow")
    return Text(f"ready on {backend.needs}" if backend.needs and device_kind == "cuda" else "ready", style="green")
