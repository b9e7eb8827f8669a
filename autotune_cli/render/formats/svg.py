"""A picture of a terminal that shows the table."""

from __future__ import annotations

from autotune_cli.render.formats.base import FormatInfo, later

ABOUT = FormatInfo(extension=".svg", rank=35, renderers={"run": later("run_formats", "run_svg")})
