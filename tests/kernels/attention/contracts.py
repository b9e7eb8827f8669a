"""Signatures of kernel libraries that can't be imported without a GPU, read from their source by ``ast``.

    contract("sglang-kernel", "0.4.10").signature("sgl_kernel.flash_attn", "flash_attn_with_kvcache").bind(**arguments)

What is read lies in .venv/contracts, put there by tests/fetch_contracts.py (``make test`` runs it).
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(sys.prefix) / "contracts"
_COMMAND = "python tests/fetch_contracts.py .venv/contracts"


@dataclass(frozen=True)
class Unevaluated:
    """A default that is no literal, such as ``torch.bfloat16``."""

    text: str


@dataclass(frozen=True)
class Contract:
    """The Python files of one version of a package."""

    folder: Path

    def signature(self, module: str, function: str) -> inspect.Signature:
        """Of a function at the top of a module; decorators are taken to keep it. ``bind`` it as any signature.

        Raises:
            LookupError: the package has no such module, or the module no such function.
        """
        return _signature(self.folder, module, function)


def contract(distribution: str, version: str) -> Contract:
    """The package at a version of contracts.txt. The test is skipped, with the reason, where it couldn't be fetched."""
    folder = ROOT / f"{distribution}-{version}"
    if not folder.is_dir():
        failed = folder.with_name(folder.name + ".failed")
        reason = failed.read_text(encoding="utf-8").strip() if failed.is_file() else f"run: {_COMMAND}"
        pytest.skip(f"the source of {distribution} {version} is not here: {reason}")
    return Contract(folder)


def signature_of(arguments: ast.arguments) -> inspect.Signature:
    """A signature with the names, kinds and defaults of a ``def``."""
    positional = [(argument, inspect.Parameter.POSITIONAL_ONLY) for argument in arguments.posonlyargs]
    positional += [(argument, inspect.Parameter.POSITIONAL_OR_KEYWORD) for argument in arguments.args]
    without = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [None] * without + list(arguments.defaults)
    parameters = [
        inspect.Parameter(argument.arg, kind, default=_default(default))
        for (argument, kind), default in zip(positional, defaults, strict=True)
    ]
    if arguments.vararg:
        parameters.append(inspect.Parameter(arguments.vararg.arg, inspect.Parameter.VAR_POSITIONAL))
    parameters += [
        inspect.Parameter(argument.arg, inspect.Parameter.KEYWORD_ONLY, default=_default(default))
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        parameters.append(inspect.Parameter(arguments.kwarg.arg, inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def _default(node: ast.expr | None) -> Any:
    if node is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Unevaluated(ast.unparse(node))


@functools.cache
def _signature(folder: Path, module: str, function: str) -> inspect.Signature:
    path = folder.joinpath(*module.split("."))
    files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    if not files:
        raise LookupError(f"{folder.name} has no module {module}")
    for node in _parsed(files[0]).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return signature_of(node.args)
    raise LookupError(f"{module} of {folder.name} has no function {function}")


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
