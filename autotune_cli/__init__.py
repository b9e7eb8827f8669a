"""autotune: the fastest correct attention and top-k kernels for LLM serving on this GPU.

The names of ``__all__`` are the Python API, which docs/api.md describes. Each is loaded when it is first used, so that
importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_cli.api.run import Run, load_cache, read_run
    from autotune_cli.api.table import Best, NotInTable, OtherDevice, Table, load_table
    from autotune_cli.errors import AutotuneError, BadFile, BadName, MissingPackage, NewerSchema
    from autotune_cli.planning.records import NoPlan, Plan
    from autotune_cli.results.naming import NoSuchResult
    from autotune_cli.results.schema import (
        BaselineResult,
        CandidateResult,
        Choice,
        Environment,
        RunFile,
        Settings,
        WorkloadResult,
    )

__all__ = [
    "AutotuneError",
    "BadFile",
    "BadName",
    "BaselineResult",
    "Best",
    "CandidateResult",
    "Choice",
    "Environment",
    "MissingPackage",
    "NewerSchema",
    "NoPlan",
    "NoSuchResult",
    "NotInTable",
    "OtherDevice",
    "Plan",
    "Run",
    "RunFile",
    "Settings",
    "Table",
    "WorkloadResult",
    "__version__",
    "load_cache",
    "load_table",
    "read_run",
]

__version__ = "0.1.0"

_MODULES = {
    "api.run": ("Run", "load_cache", "read_run"),
    "api.table": ("Best", "NotInTable", "OtherDevice", "Table", "load_table"),
    "errors": ("AutotuneError", "BadFile", "BadName", "MissingPackage", "NewerSchema"),
    "planning.records": ("NoPlan", "Plan"),
    "results.naming": ("NoSuchResult",),
    "results.schema": (
        "BaselineResult",
        "CandidateResult",
        "Choice",
        "Environment",
        "RunFile",
        "Settings",
        "WorkloadResult",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

# Not for the type checker, which would take any name for one of this package.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
