"""The list of backends in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autotune_cli.plain_text import csv_cell, json_text, markdown
from autotune_cli.render.backends import backends_view, here
from autotune_cli.render.console import Console, drawn
from autotune_cli.render.formats import Page
from autotune_cli.tuning.messages import BackendInfo

_COLUMNS = ("backend", "operations", "knobs", "here")


@dataclass(frozen=True)
class KernelsView:
    """Backends on a machine."""

    device: str
    """Its name."""
    device_kind: str
    """``cuda`` or ``cpu``."""
    backends: Sequence[BackendInfo]


def kernels_table(view: KernelsView, page: Page) -> str:
    def draw(console: Console) -> None:
        console.print(f"backends on this machine ({view.device})", style="dim", highlight=False, markup=False)
        console.print(backends_view(view.backends, view.device_kind, console.width))

    return drawn(draw, page)


def kernels_markdown(view: KernelsView, page: Page) -> str:
    head = f"Backends on this machine ({markdown(view.device)}):"
    lines = [head, "", f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(map(markdown, row))} |" for row in _rows(view)]
    return "\n".join(lines) + "\n"


def kernels_json(view: KernelsView, page: Page) -> str:
    document = {
        "device": view.device,
        "backends": [
            {
                "backend": each.name,
                "operations": list(each.operations),
                "knobs": each.knobs,
                "devices": list(each.devices),
                "ready": view.device_kind in each.devices and each.missing is None,
                "here": here(each, view.device_kind).plain,
            }
            for each in view.backends
        ],
    }
    return json_text(document, page.ascii_only) + "\n"


def kernels_csv(view: KernelsView, page: Page) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([csv_cell(cell) for cell in row] for row in _rows(view))
    return stream.getvalue()


def _rows(view: KernelsView) -> Iterator[tuple[str, str, str, str]]:
    for each in view.backends:
        yield each.name, ", ".join(each.operations), each.knobs, here(each, view.device_kind).plain
