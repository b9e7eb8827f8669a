"""Which modules have to be compiled before candidates can be measured. Runs in a worker; compiles nothing."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.tuning.messages import ModuleToBuild, ToBuild


def to_build(wanted: Sequence[tuple[AnyWorkload, Sequence[Candidate]]]) -> ToBuild:
    """The modules of these candidates that aren't compiled yet.

    A candidate whose ``modules`` raises is left out: it is built, and fails, when its turn to be vetted comes. So are
    all candidates of a backend whose library can't be imported, as every try would take as long as the first.
    """
    found: dict[str, ModuleToBuild] = {}
    compiled: set[str] = set()
    needs: dict[tuple[str, str], tuple[str, ...]] = {}
    broken: set[str] = set()
    for workload, candidates in wanted:
        for candidate in candidates:
            modules = REGISTRY.get(candidate.backend).modules
            if modules is None or candidate.backend in broken:
                continue
            try:
                missing = []
                for module in modules(workload, **dict(candidate.knobs)):
                    if module.name not in found and module.name not in compiled:
                        if _is_compiled(module):
                            compiled.add(module.name)
                            continue
                        found[module.name] = _described(module, workload, candidate)
                    if module.name in found:
                        missing.append(module.name)
            except (ImportError, OSError):
                broken.add(candidate.backend)
                continue
            except (Exception, SystemExit):
                continue
            if missing:
                needs[workload.key, candidate.key] = tuple(dict.fromkeys(missing))
    return ToBuild(tuple(found.values()), needs)


def _is_compiled(module: Module) -> bool:
    try:
        return bool(module.is_compiled())
    except Exception:  # whatever is wrong, the error of its build is clearer
        return False


def _described(module: Module, workload: AnyWorkload, candidate: Candidate) -> ModuleToBuild:
    return ModuleToBuild(
        name=module.name,
        title=module.title,
        seconds=max(0.0, float(module.seconds)),
        jobs=max(1, int(module.jobs)),
        gigabytes=max(0.0, float(module.gigabytes)),
        variables={str(name): str(value) for name, value in module.variables.items()},
        workload=workload,
        candidate=candidate,
    )
