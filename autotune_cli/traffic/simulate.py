"""The batches that a scheduler makes of a log's requests. Everything that is decided here is in docs/traffic.md."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from autotune_cli.traffic.log import Log, Request
from autotune_cli.traffic.scheduler import TOKENS_IN_A_STEP, Scheduler
from autotune_cli.traffic.steps import Steps


def simulate(log: Log, scheduler: Scheduler) -> Steps:
    """The steps in which the scheduler would have served the log's requests, first come, first served.

    Each request's prompt is computed but for what lay in the cache, in chunks where the budget of a step ends; that
    gives its first output token, and each further one is a decode step of it. So all prompt tokens that were not cached
    and all output tokens but the first of each request are in the steps, once.

    Requests keep their place in the KV cache to their end, prompt and output: nothing is ever put back, which a server
    does that has promised more than it has. One that is larger than the whole cache is served alone.
    """
    return _Server(log, scheduler).run()


@dataclass
class _Prefill:
    """A request of which new tokens are left to compute."""

    request: Request
    done: int
    """Tokens of the prompt that are in the cache."""

    @property
    def left(self) -> int:
        return self.request.prompt - self.done


@dataclass
class _Running:
    """The requests that are decoded. All get a token in each decode step, so that a step costs nothing to count."""

    batch: int = 0
    keys: int = 0
    """Of all of them in the next decode step, its new ones included."""
    decoded: int = 0
    """Decode steps since the server began."""
    ends: list[tuple[int, int, int]] = field(default_factory=list)
    """A heap: ``decoded`` at the request's end, its keys after that, and what it takes of the cache."""

    def join(self, request: Request) -> bool:
        """A request that has its first output token; is there another one to come?"""
        if request.output == 1:
            return False
        self.batch += 1
        self.keys += request.prompt + 1
        whole = request.prompt + request.output
        heapq.heappush(self.ends, (self.decoded + request.output - 1, whole, whole))
        return True

    def advance(self, steps: int) -> int:
        """After so many decode steps, none beyond the next request's end: tokens of the cache that are free again."""
        self.decoded += steps
        self.keys += self.batch * steps
        freed = 0
        while self.ends and self.ends[0][0] <= self.decoded:
            _, keys, held = heapq.heappop(self.ends)
            self.batch -= 1
            self.keys -= keys
            freed += held
        return freed


class _Server:
    def __init__(self, log: Log, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._step_s = scheduler.step_of(log.step_s)
        self._most_in_flight = log.most_in_flight or math.inf
        self._coming = deque(log.in_order())
        self._waiting: deque[Request] = deque()
        self._prefilling: deque[_Prefill] = deque()
        self._running = _Running()
        self._held = 0
        self._now = self._coming[0].arrival if self._coming else 0.0
        self._steps = Steps(scheduler.captured)

    def run(self) -> Steps:
        mixed = self._scheduler.policy == "mixed"
        while self._coming or self._waiting or self._prefilling or self._running.batch:
            self._arrive()
            self._admit()
            if self._prefilling:
                self._prefill(mixed)
            elif self._running.batch:
                self._decode()
            else:
                self._now = max(self._now, self._coming[0].arrival)
        return self._steps

    @property
    def _in_flight(self) -> int:
        return len(self._waiting) + len(self._prefilling) + self._running.batch

    def _arrive(self) -> None:
        while self._coming and self._coming[0].arrival <= self._now and self._in_flight < self._most_in_flight:
            self._waiting.append(self._coming.popleft())

    def _admit(self) -> None:
        """Requests for which there is a place, as many as this step's budget begins."""
        budget = self._scheduler.chunk - sum(each.left for each in self._prefilling)
        if self._scheduler.policy == "mixed":
            budget -= self._running.batch
        while self._waiting and budget > 0 and self._has_place(self._waiting[0]):
            request = self._waiting.popleft()
            self._held += request.prompt + request.output
            self._prefilling.append(_Prefill(request, min(request.cached, request.prompt - 1)))
            budget -= self._prefilling[-1].left

    def _has_place(self, request: Request) -> bool:
        served = len(self._prefilling) + self._running.batch
        if served >= self._scheduler.max_running:
            return False
        most = self._scheduler.max_tokens
        return most is None or not served or self._held + request.prompt + request.output <= most

    def _prefill(self, mixed: bool) -> None:
        """One step of new tokens; ``mixed``: the running requests get a token each in it."""
        decoding = self._running.batch if mixed else 0
        budget = max(1, self._scheduler.chunk - decoding)
        new: list[int] = []
        prefixes: list[int] = []
        finished: list[Request] = []
        while self._prefilling and budget > 0:
            each = self._prefilling[0]
            taken = min(each.left, budget)
            new.append(taken)
            prefixes.append(each.done)
            each.done += taken
            budget -= taken
            if each.left:
                break
            finished.append(self._prefilling.popleft().request)
        self._steps.prefill(new, prefixes)
        if decoding:
            self._steps.decode(decoding, self._running.keys, graph=False)
            self._held -= self._running.advance(1)
        for request in finished:
            if not self._running.join(request):
                self._held -= request.prompt + request.output
        self._pass(sum(new) + decoding)

    def _decode(self) -> None:
        """Decode steps up to the next one that is different: a request ends, or one arrives that can be served."""
        running = self._running
        steps = running.ends[0][0] - running.decoded
        duration = self._step_s * max(1.0, running.batch / TOKENS_IN_A_STEP)
        if self._coming and self._in_flight < self._most_in_flight:
            left = (self._coming[0].arrival - self._now) / duration
            steps = max(1, min(steps, math.ceil(left) if left < steps else steps))
        self._steps.decode(running.batch, running.keys, steps)
        self._held -= running.advance(steps)
        self._steps.passes += steps
        self._now += steps * duration

    def _pass(self, tokens: int) -> None:
        self._steps.passes += 1
        self._now += self._step_s * max(1.0, tokens / TOKENS_IN_A_STEP)


def computed_tokens(requests: Sequence[Request]) -> tuple[int, int]:
    """New tokens of prompts, and tokens that are decoded, which the steps of these requests must have."""
    prompts = sum(request.prompt - min(request.cached, request.prompt - 1) for request in requests)
    return prompts, sum(request.output - 1 for request in requests)
