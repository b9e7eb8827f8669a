"""vLLM: a script with the launch flags of the plan."""

from __future__ import annotations

from autotune_cli.exporting.launch import script
from autotune_cli.exporting.target import Target

ABOUT = Target("launch flags, as a script", script, engine="vllm", extension=".sh", is_program=True, name="vllm")
