"""The process that builds one module: no GPU, no inputs, no measurements; torch only where the library imports it.

Started like a worker (see :mod:`autotune_cli.worker.serving`), one for each module. Compilers are its grandchildren.
"""

from __future__ import annotations

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.tuning.messages import ModuleBuilt, ModuleToBuild, ReadyToBuild
from autotune_cli.worker.compiler_errors import reason_of, was_killed
from autotune_cli.worker.kernel_files import load_kernel_files
from autotune_cli.worker.protocol import Phase, WorkerSettings
from autotune_cli.worker.serving import serve


def main() -> None:
    """Serve jobs until the parent closes the connection."""
    serve(_start)


class Builder:
    """Builds modules by name."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase

    def build(self, wanted: ModuleToBuild) -> ModuleBuilt:
        """Build a module; what it raises is an outcome."""
        self._phase("build", wanted.title)
        try:
            self._find(wanted).build()
        except MemoryError as error:
            return ModuleBuilt("out_of_memory", reason_of(error), killed=True)
        except SystemExit as error:
            return ModuleBuilt("crashed", f"it calls exit({error.code!r})")
        except Exception as error:
            return ModuleBuilt("error", reason_of(error), killed=was_killed(str(error)))
        return ModuleBuilt()

    @staticmethod
    def _find(wanted: ModuleToBuild) -> Module:
        modules = REGISTRY.get(wanted.candidate.backend).modules
        assert modules is not None
        for module in modules(wanted.workload, **dict(wanted.candidate.knobs)):
            if module.name == wanted.name:
                return module
        raise LookupError(f"{wanted.candidate.key} names other modules in the process that builds them")


def _start(settings: WorkerSettings, phase: Phase) -> tuple[ReadyToBuild, Builder]:
    REGISTRY.discover()
    load_kernel_files(settings.kernel_files, phase)
    return ReadyToBuild(), Builder(phase)
