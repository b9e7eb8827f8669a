"""What rough times say of a candidate that was not raced on both sides. Plain functions over numbers."""

from __future__ import annotations

from collections.abc import Sequence

# A change counts from this ratio of rough times on. Of 1,400 candidates of H100 and H200 runs that were raced as well,
# the vetting's one time was between 8 % less and 17 % more than the race's.
GPU_FACTOR = 1.5
# Other processes disturb a CPU, and the vetting's few calls can't average that out.
CPU_FACTOR = 3.0


def factor_of(device_kinds: Sequence[str]) -> float:
    """The ratio from which a change of rough times counts."""
    return CPU_FACTOR if "cpu" in device_kinds else GPU_FACTOR


def rough_ratio(
    rough: tuple[float | None, float | None], measured: tuple[float | None, float | None], factor: float
) -> tuple[float | None, bool]:
    """B over A, and whether it is a change beyond doubt; None where a side has no time at all.

    A rough time is compared with the other side's rough time, as both were measured in the same way, and with its
    measured one: only what both say counts.

    Args:
        rough: of A and of B, microseconds.
        measured: of A and of B, where it was raced; not on both sides.
    """
    ratios = []
    if rough[0] and rough[1]:
        ratios.append(rough[1] / rough[0])
    if measured[0] and rough[1]:
        ratios.append(rough[1] / measured[0])
    if rough[0] and measured[1]:
        ratios.append(measured[1] / rough[0])
    if not ratios:
        return None, False
    beyond = all(ratio > factor for ratio in ratios) or all(ratio < 1.0 / factor for ratio in ratios)
    # The last has the times that are shown.
    return ratios[-1], beyond
