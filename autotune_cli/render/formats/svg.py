"""A picture of a terminal that shows the table."""

from __future__ import annotations

from autotune_cli.render.formats.base import About, later

ABOUT = About(extension=".svg", rank=35, renderers={"run": later("run_formats", "run_svg")})
