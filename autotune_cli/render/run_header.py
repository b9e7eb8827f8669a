"""The lines above a run's table: on what was measured, and how."""

from __future__ import annotations

from autotune_cli.measure.timers import header_words
from autotune_cli.render.ceilings import ceilings_line
from autotune_cli.results.schema import Environment, Settings


def header(environment: Environment, settings: Settings, noise_band: float | None = None) -> list[str]:
    """What was measured on, and how; and the ceilings where they were measured."""
    parts = [environment.device]
    if environment.driver:
        parts.append(f"driver {environment.driver}")
    if environment.device_kind == "cpu":
        parts.append(f"{environment.threads} threads")
    for name, version in environment.libraries.items():
        if version != "not installed":
            parts.append(f"{name} {version}")
    method = f"{'cold' if settings.l2 == 'cold' else 'warm'} {'L2' if environment.device_kind == 'cuda' else 'caches'}"
    timing = f"{method}, {header_words(settings.timer)}"
    timing += f", {settings.rounds} rounds of up to {settings.iterations}"
    if settings.exhaustive:
        timing += ", exhaustive"
    if noise_band is not None:
        timing += f" | noise band {100 * noise_band:.2f} %"
    ceilings = ceilings_line(environment)
    return [", ".join(parts), timing, *([ceilings] if ceilings else [])]
