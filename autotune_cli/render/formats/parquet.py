"""Apache Parquet for data frames: the columns of ``Run.frame()`` with their types (docs/api.md). Needs pandas and
pyarrow, which an extra brings.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING

from autotune_cli.errors import MissingPackage
from autotune_cli.render.formats.base import About, Page

if TYPE_CHECKING:
    from autotune_cli.render.run_formats import RunView

_PACKAGES = ("pandas", "pyarrow")


def _run(view: RunView, page: Page) -> bytes:
    """A row a candidate.

    Raises:
        MissingPackage: pandas or pyarrow is not installed.
    """
    from autotune_cli.api.frames import FIX, candidates_frame

    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise MissingPackage(what="--format parquet", package=package, fix=FIX) from error
    stream = io.BytesIO()
    candidates_frame(view.run).to_parquet(stream, engine="pyarrow", index=False)
    return stream.getvalue()


ABOUT = About(extension=".parquet", rank=40, renderers={"run": _run}, binary=True)
