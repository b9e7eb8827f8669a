"""What came of the builds of a run, for the candidates that need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune_cli.tuning.messages import ModuleBuilt, Vetted


@dataclass
class Builds:
    """What came of the builds of a run."""

    needs: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    outcomes: dict[str, ModuleBuilt] = field(default_factory=dict)
    """By module."""
    seconds: dict[str, float] = field(default_factory=dict)

    def failure(self, workload: str, candidate: str) -> Vetted | None:
        """What becomes of a candidate (keys) one of whose modules couldn't be built; None: it can be vetted."""
        for name in self.needs.get((workload, candidate), ()):
            outcome = self.outcomes[name]
            if outcome.status != "ok":
                return Vetted(
                    outcome.status, outcome.reason, build_s=self.spent(workload, candidate), killed=outcome.killed
                )
        return None

    def spent(self, workload: str, candidate: str) -> float | None:
        """Seconds that this run spent on the modules of a candidate, one after another; None: it built none."""
        names = self.needs.get((workload, candidate), ())
        return round(sum(self.seconds.get(name, 0.0) for name in names), 3) if names else None
