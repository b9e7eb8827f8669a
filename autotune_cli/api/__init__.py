"""Results in Python: what ``from autotune_cli import ...`` gives (docs/api.md)."""
