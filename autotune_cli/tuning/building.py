"""Builds the modules that aren't compiled yet, several at a time, before the first candidate is vetted.

Each module has a process of its own (:mod:`autotune_cli.tuning.builder`), whose compilers (ninja's jobs) are told by
MAX_JOBS how many they may be. The rule by which cores and memory are given out:

- As many compilers as there are cores, over all modules; the user's own MAX_JOBS bounds them too. So none waits for a
  core, above all not the one that the longest module hangs on.
- Modules that take longest come first: by the time they take on as many cores as they can use.
- Each gets that share of the free cores which its work has in the work that is waiting, at least one core and at most
  as many as it has source files. Then all that begin together end at about the same time.
- No module begins while the memory that its compilers may need isn't free; alone it always may. A module says how
  many GB one of its compilers takes (measured, nvcc 13.0: 3.6 for fa3, 1.9 for top-k, 0.5 for fa2).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autotune_cli.errors import AutotuneError
from autotune_cli.tuning.builds import Builds
from autotune_cli.tuning.jobs import BuildModule
from autotune_cli.tuning.messages import ModuleBuilt, ModuleToBuild, ToBuild
from autotune_cli.tuning.progress import BuildsState, TuneProgress
from autotune_cli.tuning.resources import cores, free_bytes
from autotune_cli.worker.failures import OutOfTime, Stopped, WorkerDied, WorkerKilled, WorkerRaised, WorkerTimeout
from autotune_cli.worker.guard import most_compilers
from autotune_cli.worker.process import BUILD_TIMEOUT_S, Worker
from autotune_cli.worker.protocol import WorkerSettings

# The compilers' estimates are rough, and a run needs memory itself.
_MEMORY_SHARE = 0.8
# Python with torch, which FlashInfer imports.
_BUILDER_GB = 0.4


class BuilderProcess(Worker):
    """The parent's side of a builder; sees no GPU."""

    program = "autotune_cli.tuning.builder"
    # Another try is given out here, when there is memory for it.
    tries = 1

    def __init__(self, settings: WorkerSettings, stop: threading.Event, variables: Mapping[str, str]) -> None:
        super().__init__(replace(settings, device="cpu"), None, stop, variables)


def build(
    wanted: ToBuild,
    settings: WorkerSettings,
    progress: TuneProgress,
    stop: threading.Event,
    budget_s: float | None = None,
    timeout_s: float = BUILD_TIMEOUT_S,
) -> Builds:
    """Build every module; one that can't be built is an outcome, and what ``budget_s`` leaves no time for is too.

    Raises:
        Stopped: ``stop`` was set; no builder and no compiler is left.
    """
    if not wanted.modules:
        return Builds(wanted.needs)
    return _Site(wanted, settings, progress, stop, budget_s, timeout_s).run()


def allowance(module: ModuleToBuild, waiting: Sequence[ModuleToBuild], free: int) -> int:
    """Compilers that a module gets when ``free`` cores are for it and the others that are ``waiting``."""
    work = sum(other.seconds for other in waiting)
    share = free * module.seconds / work if work > 0 else free / len(waiting)
    return max(1, min(round(share), module.jobs, free))


@dataclass
class _Running:
    module: ModuleToBuild
    jobs: int
    gigabytes: float
    begin: float


class _Site:
    """Where modules are built: gives out cores and memory, and waits. A thread for each builder, as a process dies with
    the thread that has started it."""

    def __init__(
        self,
        wanted: ToBuild,
        settings: WorkerSettings,
        progress: TuneProgress,
        stop: threading.Event,
        budget_s: float | None,
        timeout_s: float,
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._stop = stop
        self._timeout_s = timeout_s
        self._begin = time.monotonic()
        self._end = float("inf") if budget_s is None else self._begin + budget_s
        self._builds = Builds(wanted.needs)
        self._total = len(wanted.modules)
        self._titles = {module.name: module.title for module in wanted.modules}
        self._waiting = sorted(wanted.modules, key=lambda module: module.seconds / module.jobs, reverse=True)
        self._again: list[ModuleToBuild] = []
        """Killed for lack of memory; each gets another try, alone."""
        self._running: dict[str, _Running] = {}
        self._errors: list[BaseException] = []
        self._changed = threading.Condition()
        self._cores = _compilers(os.environ, cores())
        free = free_bytes()
        self._gigabytes = float("inf") if free is None else _MEMORY_SHARE * free / 1e9

    def run(self) -> Builds:
        threads: list[threading.Thread] = []
        try:
            with self._changed:
                self._tell()
                while not self._over():
                    while not self._stop.is_set() and (begun := self._next()) is not None:
                        threads.append(threading.Thread(target=self._work, args=begun, name=begun[0].module.title))
                        threads[-1].start()
                        self._tell()
                    if not self._running and (self._stop.is_set() or self._over()):
                        break
                    self._changed.wait()
        finally:
            # Only a second Ctrl-C comes here before the threads are done.
            if any(thread.is_alive() for thread in threads):
                self._stop.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        if self._stop.is_set():
            raise Stopped
        return self._builds

    def _over(self) -> bool:
        return not (self._waiting or self._again or self._running)

    # Giving out cores and memory. The lock is held.

    def _next(self) -> tuple[_Running, bool] | None:
        """The next module to begin with, and whether it is its last try; None: nothing can begin now."""
        if self._end <= time.monotonic():
            for module in (*self._waiting, *self._again):
                self._builds.outcomes[module.name] = _skipped()
            self._waiting, self._again = [], []
        if not self._waiting and self._again and not self._running:
            module = self._again.pop(0)
            # Alone, and with half of what it had, as its need is not what was thought.
            return self._begun(module, max(1, min(module.jobs, self._cores) // 2)), True
        used = sum(other.jobs for other in self._running.values())
        left = self._gigabytes - sum(other.gigabytes for other in self._running.values())
        for module in self._waiting if used < self._cores else ():
            jobs = allowance(module, self._waiting, self._cores - used)
            if self._running:
                # What doesn't fit waits, and a smaller one goes ahead.
                jobs = min(jobs, int((left - _BUILDER_GB) // module.gigabytes)) if module.gigabytes else jobs
                if jobs < 1 or left < _BUILDER_GB:
                    continue
            elif module.gigabytes:
                jobs = max(1, min(jobs, int((left - _BUILDER_GB) // module.gigabytes)))
            self._waiting.remove(module)
            return self._begun(module, jobs), False
        return None

    def _begun(self, module: ModuleToBuild, jobs: int) -> _Running:
        running = _Running(module, jobs, _BUILDER_GB + jobs * module.gigabytes, time.monotonic())
        self._running[module.name] = running
        return running

    # A builder's thread.

    def _work(self, running: _Running, last: bool) -> None:
        module = running.module
        outcome: ModuleBuilt | None = None
        try:
            outcome = self._build(running)
        except Stopped:
            pass
        except BaseException as error:  # handed to the main thread, which raises it
            self._errors.append(error)
            self._stop.set()
        with self._changed:
            del self._running[module.name]
            spent = time.monotonic() - running.begin
            self._builds.seconds[module.name] = self._builds.seconds.get(module.name, 0.0) + spent
            if outcome is not None and outcome.killed and not last:
                self._again.append(module)
            elif outcome is not None:
                self._builds.outcomes[module.name] = outcome
            self._tell()
            self._changed.notify_all()

    def _build(self, running: _Running) -> ModuleBuilt:
        module, limit = running.module, self._timeout_s
        variables = {**module.variables, "MAX_JOBS": str(running.jobs)}
        # What the user has set of the target counts more than what is guessed here.
        variables = {name: value for name, value in variables.items() if name == "MAX_JOBS" or name not in os.environ}
        builder = BuilderProcess(self._settings, self._stop, variables)
        try:
            outcome: ModuleBuilt = builder.ask(BuildModule(module), limit, build_timeout_s=limit, end=self._end)
        except OutOfTime:
            return _skipped()
        except WorkerTimeout as error:
            outcome = ModuleBuilt("timeout", str(error))
        except WorkerDied as error:
            outcome = ModuleBuilt("crashed", str(error), killed=isinstance(error, WorkerKilled))
        except (WorkerRaised, AutotuneError) as error:
            outcome = ModuleBuilt("error", str(error).splitlines()[0])
        finally:
            builder.kill()
        if outcome.status == "ok":
            return outcome
        return replace(outcome, reason=f"building {module.title}: {outcome.reason}")

    def _tell(self) -> None:
        done = self._builds.outcomes
        self._progress.builds(
            BuildsState(
                total=self._total,
                running={running.module.title: running.begin for running in self._running.values()},
                built={self._titles[name]: self._builds.seconds[name] for name in done if done[name].status == "ok"},
                failed={
                    self._titles[name]: outcome.reason or outcome.status
                    for name, outcome in done.items()
                    if outcome.status not in ("ok", "skipped")
                },
                skipped=sum(outcome.status == "skipped" for outcome in done.values()),
            )
        )


def _skipped() -> ModuleBuilt:
    return ModuleBuilt("skipped", "the budget was spent before it was built")


def _compilers(environ: Mapping[str, str], most: int) -> int:
    """Compilers at a time: as many as there are cores, and no more than the user allows."""
    return min(most, most_compilers(environ) or most)
