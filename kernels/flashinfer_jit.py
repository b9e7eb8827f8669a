"""FlashInfer's generated modules (``JitSpec``) as :class:`~autotune_cli.kernels.modules.Module`.

Imports no FlashInfer: a backend's file hands over the generator it has imported. Rules read in
``flashinfer/jit/core.py`` of 0.6.10, 0.6.18 and 0.7.2.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autotune_cli.kernels.modules import Module

# Without it the process that builds, which sees no GPU, wouldn't know what to compile for.
ARCHITECTURES = "FLASHINFER_CUDA_ARCH_LIST"
# ninja looks at the dates of some thousand headers: milliseconds, but seconds on a network drive.
_LOOK_S = 30.0


def jit_module(
    generate: Callable[..., Any],
    arguments: Mapping[str, Any],
    architectures: Iterable[tuple[Any, str]],
    *,
    label: str,
    seconds: float,
    jobs: int,
    gigabytes: float = 1.0,
    build: Callable[[], object] | None = None,
) -> Module:
    """The module that ``generate(**arguments)`` specifies.

    ``generate`` is one of FlashInfer's ``gen_*_module`` functions, which write source files and compile nothing;
    ``architectures`` are the ``TARGET_CUDA_ARCHS`` of its compilation context, such as ``{(9, "0a")}``. ``build``: how
    FlashInfer itself gets the module, where it keeps what it has loaded; None: the specification's ``build_and_load``.
    """
    spec = _spec(generate, tuple(arguments.items()))
    known = " ".join(f"{major}.{minor}" for major, minor in sorted(architectures))
    return Module(
        name=spec.name,
        build=build or spec.build_and_load,
        is_compiled=lambda: is_compiled(spec),
        label=label,
        seconds=seconds,
        jobs=jobs,
        gigabytes=gigabytes,
        variables={ARCHITECTURES: known} if known else {},
    )


@functools.cache
def _spec(generate: Callable[..., Any], arguments: tuple[tuple[str, Any], ...]) -> Any:
    """Kept, as writing the sources takes up to 5 ms and a suite has a thousand candidates."""
    return generate(**dict(arguments))


def is_compiled(spec: Any) -> bool:
    """Would ``spec.build_and_load()`` compile nothing?

    It loads a module that was shipped compiled (``is_aot``). Any other it leaves to ninja, which looks at the dates of
    sources and headers and at the flags, so a developer who has edited a header gets what depends on it anew.
    """
    if getattr(spec, "is_aot", False):
        return True
    if not spec.is_compiled:
        return False
    if not hasattr(spec, "ninja_path"):
        return True  # compiled by something else (CuTe DSL), which has judged it in is_compiled
    spec.write_ninja()
    command = ["ninja", "-n", "-C", str(spec.build_dir), "-f", str(spec.ninja_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_S)
    return done.returncode == 0 and "no work to do" in done.stdout
