"""Environment variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autotune_cli.doctor.findings import HIDDEN, Finding, State, is_secret
from autotune_cli.errors import AutotuneError
from autotune_cli.measure.installed import relevant_variables
from autotune_cli.results.toggles import cache_toggle
from autotune_cli.worker.guard import refuse_slow_builds

# Those that change no kernel, and explain what is found.
_TOLD_TOO = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDA_PATH",
    "FLASHINFER_CUDA_ARCH_LIST",
    "FLASHINFER_WORKSPACE_BASE",
    "FLASHINFER_DISABLE_VERSION_CHECK",
    "TORCH_CUDA_ARCH_LIST",
    "TRITON_CACHE_DIR",
    "MAX_JOBS",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
)


def variable_findings(environ: Mapping[str, str], kind: str) -> Iterator[Finding]:
    """Those that would be refused, and those that change which kernel runs; no value of a secret.

    Args:
        kind: ``cuda`` or ``cpu``.
    """
    refused = set()
    for check in (lambda: refuse_slow_builds(environ, kind), lambda: cache_toggle(None, environ)):
        try:
            check()
        except AutotuneError as error:
            name = str(error.values.get("variable", ""))
            yield Finding("variables", name, State.PROBLEM, str(error), f"unset {name}")
            refused.add(name)
    found = {name: environ[name] for name in _TOLD_TOO if name in environ}
    for name, value in (found | relevant_variables(environ)).items():
        if name in refused:
            continue
        yield Finding("variables", name, State.NOTE, HIDDEN if is_secret(name) else value or "(empty)")
    if not found and not refused and not relevant_variables(environ):
        yield Finding("variables", "none", State.OK, "no variable is set that changes which kernel runs")
