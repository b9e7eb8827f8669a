"""Print what docs/run.schema.json holds."""

from __future__ import annotations

from autotune_cli.results.schema.run import schema_text

print(schema_text(), end="")
