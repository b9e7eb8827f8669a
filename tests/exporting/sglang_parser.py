"""SGLang's command line, made from its source: what can't be imported without a GPU is read by ``ast``.

Up to 0.5.10 the arguments are calls of ``add_argument`` in server_args.py; from 0.5.16 on they are fields of classes,
``name: A[type, Arg(choices=..., aliases=...)]``, whose flags are their names.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels" / "attention"))
from contracts import contract

VERSIONS = ("0.5.10.post1", "0.5.16", "0.5.23")
_TYPES: dict[str, type] = {"int": int, "str": str, "float": float}


class Refused(Exception):
    """What SGLang would print before it exits."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(message)


@cache
def parser_of(version: str) -> argparse.ArgumentParser:
    """SGLang's parser in a version; the test is skipped where its source couldn't be fetched."""
    found = _Parser(prog=f"sglang {version}", allow_abbrev=True, add_help=False)
    for names, options in _arguments(_folder(version)):
        found.add_argument(*names, **options)
    return found


def names_variable(version: str, variable: str) -> bool:
    """Does the version's source read the environment variable?"""
    files = ("environ.py", "layers/attention/flashinfer_backend.py")
    for file in files:
        for node in ast.walk(ast.parse((_folder(version) / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and node.id == variable and isinstance(node.ctx, ast.Store):
                return True
            if isinstance(node, ast.Constant) and node.value == variable:
                return True
    return False


def _folder(version: str) -> Path:
    return contract("sglang", version).folder / "sglang" / "srt"


def _arguments(folder: Path) -> Iterator[tuple[list[str], dict[str, Any]]]:
    files = [folder / "server_args.py", *sorted((folder / "arg_groups").glob("**/*.py"))]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    lists = {name: value for tree in trees for name, value in _lists(tree)}
    seen: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            entry = _call(node, lists) or _field(node, lists)
            if entry is not None and not seen & set(entry[0]):
                seen |= set(entry[0])
                yield entry


def _lists(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Lists of words at the top of a module, which ``choices`` name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                value = ast.literal_eval(node.value)
            except (ValueError, TypeError):
                continue
            if isinstance(value, list):
                yield node.targets[0].id, value


def _call(node: ast.AST, lists: dict[str, list[str]]) -> tuple[list[str], dict[str, Any]] | None:
    """``parser.add_argument("--page-size", type=int, ...)``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"):
        return None
    names = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    if not names or not all(name.startswith("--") for name in names):
        return None
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    action = given.get("action")
    if isinstance(action, ast.Constant) and action.value == "store_true":
        return names, {"action": "store_true"}
    kind = given.get("type")
    options: dict[str, Any] = {"type": _TYPES.get(kind.id if isinstance(kind, ast.Name) else "", str)}
    return names, options | _choices(given.get("choices"), lists)


def _field(node: ast.AST, lists: dict[str, list[str]]) -> tuple[list[str], dict[str, Any]] | None:
    """``page_size: A[Optional[int], "..."] = None``."""
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
        return None
    annotation = node.annotation
    if not (
        isinstance(annotation, ast.Subscript)
        and isinstance(annotation.value, ast.Name)
        and annotation.value.id == "A"
        and isinstance(annotation.slice, ast.Tuple)
    ):
        return None
    kind, *extras = annotation.slice.elts
    arg = next((each for each in extras if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "Arg"), None)
    given = {keyword.arg: keyword.value for keyword in arg.keywords} if arg is not None else {}
    if "no_cli" in given:
        return None
    named, aliases = given.get("cli_name"), given.get("aliases")
    names = [ast.literal_eval(named) if named is not None else f"--{node.target.id.replace('_', '-')}"]
    names += ast.literal_eval(aliases) if aliases is not None else []
    words = {word.id for word in ast.walk(kind) if isinstance(word, ast.Name)}
    if words == {"bool"}:
        return names, {"action": "store_true"}
    types = [_TYPES[word] for word in words if word in _TYPES]
    options: dict[str, Any] = {"type": types[0] if len(types) == 1 else str}
    return names, options | _choices(given.get("choices"), lists)


def _choices(node: ast.expr | None, lists: dict[str, list[str]]) -> dict[str, Any]:
    if node is None:
        return {}
    if isinstance(node, ast.Name):
        return {"choices": lists[node.id]} if node.id in lists else {}
    try:
        return {"choices": ast.literal_eval(node)}
    except ValueError:
        return {}
