"""The workloads of all families, as a result file holds them. Data only; imports no torch.

A family is a package of :mod:`autotune_cli.kernels` with a module ``workload`` that has one model of workloads, whose
field ``operation`` lists the family's operations.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union, get_args

from pydantic import Field

from autotune_cli.kernels.base import BaseWorkload

_PACKAGE = __name__.rpartition(".")[0]


@cache
def family_names() -> tuple[str, ...]:
    """Names of the families' packages, sorted."""
    folder = Path(__file__).parent
    packages = [info.name for info in pkgutil.iter_modules([str(folder)]) if info.ispkg]
    return tuple(sorted(name for name in packages if (folder / name / "workload.py").is_file()))


@cache
def workload_model(family: str) -> type[BaseWorkload]:
    """The model of a family's workloads.

    Raises:
        TypeError: its module ``workload`` has none, or several.
    """
    module = importlib.import_module(f"{_PACKAGE}.{family}.workload")
    found = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    models = [each for each in found if issubclass(each, BaseWorkload)]
    if len(models) != 1:
        raise TypeError(f"{module.__name__} has {len(models)} models of workloads, not one")
    return models[0]


def operations_of(family: str) -> tuple[str, ...]:
    """A family's operations, in the order of its model's field.

    Raises:
        TypeError: one that doesn't begin with the family's name.
    """
    operations: tuple[str, ...] = get_args(workload_model(family).model_fields["operation"].annotation)
    for operation in operations:
        first, _, name = operation.partition(".")
        # attention.mla_decode is of the family mla.
        if first != family and not (first in family_names() and name.startswith(f"{family}_")):
            raise TypeError(
                f"operation {operation!r} of the family {family!r} must be called {family}.<name>, or after another "
                f"family <other>.{family}_<name>"
            )
    return operations


FAMILY_OF: Mapping[str, str] = {operation: name for name in family_names() for operation in operations_of(name)}
"""The family of each operation."""

OPERATIONS: tuple[str, ...] = tuple(FAMILY_OF)

AnyWorkload = BaseWorkload
if TYPE_CHECKING:
    Workload = BaseWorkload
else:
    _MODELS = tuple(workload_model(name) for name in family_names())
    Workload = Annotated[Union[_MODELS], Field(discriminator="operation")]  # noqa: UP007
