"""What is tuned: operations, workloads and the backends that compute them.

Imported as ``autotune_cli.kernels``. Importing it loads neither torch nor a kernel library.
"""

from __future__ import annotations

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import LaunchPlan, Prepared, register

__all__ = ["LaunchPlan", "Module", "Prepared", "register"]
