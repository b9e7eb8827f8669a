"""A contract for import-linter: ``kernel-libraries`` forbids the modules of ``kernels/libraries.py``.

So a new library is a line there, and none in ``.importlinter``.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import fields
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain.contract import ContractCheck
from importlinter.domain.imports import ModuleExpression

from autotune_cli.kernels.libraries import imported_libraries


class KernelLibrariesContract(ForbiddenContract):
    """Forbidden are the kernel libraries, and ``forbidden_modules`` besides. Imported by them only: ``importers``."""

    type_name = "kernel-libraries"

    forbidden_modules = fields.SetField(subfield=fields.ModuleExpressionField(), required=False)
    importers = fields.SetField(subfield=fields.ModuleExpressionField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        libraries = imported_libraries()
        also = set(self.forbidden_modules or ())
        self.forbidden_modules = also | {ModuleExpression(name) for name in libraries}
        allowed = [
            fields.ImportExpressionField().parse(f"{importer} -> {name}")
            for importer in self.importers or ()
            for name in libraries
        ]
        self.ignore_imports = set(self.ignore_imports or ()) | set(allowed)
        return super().check(graph, verbose)
