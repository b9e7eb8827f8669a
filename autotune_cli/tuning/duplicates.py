"""Candidates that launch exactly the same thing are one candidate: the others are marked, and not raced."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_cli.results.schema import CandidateResult

# Two names of one launch agree better than this even in the vetting's rough time.
_ROUGH_AGREEMENT = 0.05


def mark_duplicates(
    results: Mapping[str, CandidateResult], mode: str, launch_knobs: Mapping[str, tuple[str, ...]]
) -> dict[str, CandidateResult]:
    """Mark right candidates that fired the same kernels with the same launch shape as an earlier one.

    Only knobs that a backend declares as ``launch_knobs`` (they decide which kernels run and how many blocks, and
    nothing else) may differ: a page size or a launch attribute changes the time without changing the launch shape.
    Under a CUDA graph FlashInfer pads the grid, so equal shapes prove nothing there.
    """
    marked = dict(results)
    if mode == "graph":
        return marked
    seen: dict[object, CandidateResult] = {}
    # The default comes first, so it is the one that stays.
    for key, result in results.items():
        if result.status != "ok" or not any(kernel.grid for kernel in result.kernels):
            continue
        knobs = launch_knobs.get(result.backend, ())
        rest = tuple(sorted((name, str(value)) for name, value in result.knobs.items() if name not in knobs))
        shape = tuple((kernel.name, kernel.grid, kernel.block, kernel.count) for kernel in result.kernels)
        first = seen.setdefault((result.backend, rest, shape), result)
        if first is not result and _agree(first, result):
            marked[key] = result.model_copy(
                update={
                    "status": "duplicate",
                    "same_as": first.key,
                    "reason": f"fires the same kernels with the same launch shape as {first.label}",
                }
            )
    return marked


def _agree(first: CandidateResult, second: CandidateResult) -> bool:
    if not first.rough_us or not second.rough_us or first.broken != second.broken:
        return False
    return abs(first.rough_us / second.rough_us - 1.0) < _ROUGH_AGREEMENT
