"""Apache Parquet for data frames: the columns of ``Run.frame()`` with their types (docs/api.md)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from autotune_cli.render.formats.base import FormatInfo, Page

if TYPE_CHECKING:
    from autotune_cli.render.run_formats import RunView


def _run(view: RunView, page: Page) -> bytes:
    """A row a candidate."""
    from autotune_cli.api.frames import candidates_frame

    stream = io.BytesIO()
    candidates_frame(view.run).to_parquet(stream, engine="pyarrow", index=False)
    return stream.getvalue()


ABOUT = FormatInfo(
    extension=".parquet",
    rank=40,
    renderers={"run": _run},
    binary=True,
    needs=("pandas", "pyarrow"),
    fix="pip install 'kernel-autotune[pandas]'",
)
