"""One plan for a server: of the settings that an engine takes, those with the shortest weighted step. No torch.

What an engine can be told, and what it can't combine, is data with sources (``servers/``); which candidate a setting
runs is the engine's table (:mod:`autotune_cli.kernels.engines`).
"""

from __future__ import annotations
