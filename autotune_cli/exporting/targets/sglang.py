"""SGLang: a script with the launch flags and environment lines of the plan."""

from __future__ import annotations

from autotune_cli.exporting.launch import script
from autotune_cli.exporting.target import Target

ABOUT = Target(
    "launch flags and environment lines, as a script",
    script,
    engine="sglang",
    extension=".sh",
    is_program=True,
    name="sglang",
)
