"""``python -m autotune_cli``."""

from __future__ import annotations

from autotune_cli.app import main

main()
