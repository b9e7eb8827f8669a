"""Builds of several machines at once, shown as one."""

from __future__ import annotations

import threading

from autotune_cli.tuning.progress import BuildsState, TuneProgress


class SeveralBuilds:
    """Adds up what each machine builds, and names the machine with each module."""

    def __init__(self, progress: TuneProgress) -> None:
        self._progress = progress
        self._states: dict[str, BuildsState] = {}
        self._lock = threading.Lock()

    def of(self, host: str) -> TuneProgress:
        """What the builds of a machine are told to."""
        return _OfHost(self, host)

    def told(self, host: str, state: BuildsState) -> None:
        """How far the builds of a machine are."""
        with self._lock:
            self._states[host] = state
            states = self._states.items()
            self._progress.builds(
                BuildsState(
                    total=sum(state.total for _, state in states),
                    running={_named(title, host): at for host, state in states for title, at in state.running.items()},
                    built={_named(title, host): took for host, state in states for title, took in state.built.items()},
                    failed={_named(title, host): why for host, state in states for title, why in state.failed.items()},
                    skipped=sum(state.skipped for _, state in states),
                )
            )


class _OfHost(TuneProgress):
    def __init__(self, several: SeveralBuilds, host: str) -> None:
        self._several = several
        self._host = host

    def builds(self, state: BuildsState) -> None:
        self._several.told(self._host, state)


def _named(title: str, host: str) -> str:
    return f"{title} on {host}"
