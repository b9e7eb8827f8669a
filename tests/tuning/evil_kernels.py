"""A user's kernel file with everything that can go wrong. Names say what each one does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from autotune_cli.kernels import register

# Calls of a top-k's launch while it is vetted: two to check it, two more on other inputs in the same tensors; then one
# to see its kernels, four for its rough time.
CHECKING_CALLS = 4
VETTING_CALLS = CHECKING_CALLS + 5
# Of the parent's clock (clocks.py), which leaps over its time limit for each byte that is written here.
HANGS = os.environ["EVIL_HANGS"]
LEAPS = f"{HANGS}.leaps"

Run = Callable[[], Any]


def evil(prepare: Callable[[Any], Run]) -> Callable[[Any], Run]:
    """Register for both operations under the function's name."""
    return register("topk.select", "attention.decode", name=f"evil.{prepare.__name__}", devices=("cpu", "cuda"))(
        prepare
    )


def right(problem: Any) -> Any:
    """The right output, by the simplest means."""
    if hasattr(problem, "scores"):
        return torch.topk(problem.scores, problem.k, dim=1).indices.to(torch.int32)
    g, lengths = problem.geometry, problem.lengths
    pages, rows = problem.paged(16), []
    for request, (_, length) in enumerate(zip(lengths.qo, lengths.kv, strict=True)):
        table = pages.tables[request].long()
        k, v = (cache[table].reshape(-1, g.num_kv_heads, g.head_dim)[:length].double() for cache in (pages.k, pages.v))
        q = problem.q[request].double().view(g.num_kv_heads, g.group, g.head_dim)
        weights = torch.softmax(torch.einsum("hgd,lhd->hgl", q, k) * g.scale, dim=-1)
        rows.append(torch.einsum("hgl,lhd->hgd", weights, v).reshape(g.num_qo_heads, g.head_dim))
    return torch.stack(rows).to(problem.q.dtype)


def hang_begins() -> int:
    """Tell the parent's clock; how often it was told in all."""
    with open(HANGS, "ab") as hangs:
        hangs.write(b".")
        return hangs.tell()


def inputs(problem: Any) -> torch.Tensor:
    return problem.scores if hasattr(problem, "scores") else problem.q


# --- raising ---------------------------------------------------------------------------------------------------------


@evil
def raises(problem: Any) -> Run:
    def run() -> Any:
        raise ValueError("no such luck [/red]\nsecond line")

    return run


@evil
def raises_in_prepare(problem: Any) -> Run:
    raise NotImplementedError("head_dim 128")


@evil
def raises_something_odd(problem: Any) -> Run:
    class Odd(Exception):
        def __str__(self) -> str:
            return ""

    def run() -> Any:
        raise Odd

    return run


@evil
def exits_politely(problem: Any) -> Run:
    return lambda: sys.exit(5)


# --- ending or stopping the process ----------------------------------------------------------------------------------


@evil
def exits_at_once(problem: Any) -> Run:
    return lambda: os._exit(3)


@evil
def segfaults(problem: Any) -> Run:
    return lambda: ctypes.string_at(0)


@evil
def kills_itself(problem: Any) -> Run:
    return lambda: os.kill(os.getpid(), signal.SIGKILL)


@evil
def interrupts_itself(problem: Any) -> Run:
    def run() -> Any:
        raise KeyboardInterrupt

    return run


@evil
def closes_everything(problem: Any) -> Run:
    return lambda: os.closerange(0, 256)


@evil
def leaves_a_child(problem: Any) -> Run:
    """The child holds the worker's connection open after the worker's end."""

    def run() -> Any:
        if os.fork() == 0:
            time.sleep(60.0)
            os._exit(0)
        os._exit(7)

    return run


@evil
def writes_into_the_connection(problem: Any) -> Run:
    return lambda: _write_everywhere(b"\x00\x00\x00\x04junk" * 8)


@evil
def writes_less_than_a_message(problem: Any) -> Run:
    """What the worker says next is cut off by it."""

    def run() -> Any:
        _write_everywhere(b"abc")
        return right(problem)

    return run


@evil
def comes_back_twice(problem: Any) -> Run:
    """A copy of the worker returns into it, and would answer as well."""
    os.fork()
    return lambda: right(problem)


def _write_everywhere(data: bytes) -> None:
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, data)


@evil
def is_killed_once(problem: Any) -> Run:
    """As if the machine had been short of memory for a moment."""
    # In the run's own folder.
    if not os.path.exists("killed-once"):
        open("killed-once", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return lambda: right(problem)


@evil
def sleeps(problem: Any) -> Run:
    return lambda: _sleep(problem)


def _sleep(problem: Any) -> Any:
    hang_begins()
    time.sleep(1000.0)


@evil
def spins(problem: Any) -> Run:
    def run() -> Any:
        hang_begins()
        while True:
            pass

    return run


@evil
def sleeps_in_c(problem: Any) -> Run:
    """Without giving the interpreter's lock back: no other Python thread of the worker runs."""

    def run() -> Any:
        hang_begins()
        # A signal ends it early: that which asks where the worker hangs.
        while True:
            ctypes.PyDLL(None).sleep(1000)

    return run


# --- memory ----------------------------------------------------------------------------------------------------------


@evil
def allocates_tensors(problem: Any) -> Run:
    return lambda: torch.empty(1 << 50, device=problem.device)


@evil
def allocates_bytes(problem: Any) -> Run:
    return lambda: bytearray(1 << 60)


# --- wrong outputs ---------------------------------------------------------------------------------------------------


@evil
def returns_nothing(problem: Any) -> Run:
    return lambda: None


@evil
def returns_wrong_shape(problem: Any) -> Run:
    return lambda: right(problem)[:, :-1]


@evil
def returns_wrong_type(problem: Any) -> Run:
    return lambda: right(problem).to(torch.float64)


@evil
def returns_nan(problem: Any) -> Run:
    return lambda: torch.full_like(right(problem), float("nan") if problem_is_attention(problem) else -1)


@evil
def returns_zeros(problem: Any) -> Run:
    """Fast and wrong."""
    zeros = torch.zeros_like(right(problem))
    return lambda: zeros.clone()


@evil
def returns_its_input(problem: Any) -> Run:
    return lambda: inputs(problem)


@evil
def is_right_once(problem: Any) -> Run:
    """The second call returns what is left in its buffer."""
    buffer, calls = right(problem), []

    def run() -> Any:
        if not calls:
            buffer.copy_(right(problem))
        calls.append(1)
        return buffer

    return run


def problem_is_attention(problem: Any) -> bool:
    return not hasattr(problem, "scores")


# --- inputs ----------------------------------------------------------------------------------------------------------


@evil
def overwrites_its_input(problem: Any) -> Run:
    def run() -> Any:
        output = right(problem)
        inputs(problem).zero_()
        return output

    return run


@evil
def sorts_its_input(problem: Any) -> Run:
    """Every element stays, at another place."""

    def run() -> Any:
        output = right(problem)
        inputs(problem).copy_(inputs(problem).sort(-1).values)
        return output

    return run


@evil
def overwrites_its_input_in_prepare(problem: Any) -> Run:
    output = right(problem)
    inputs(problem).zero_()
    return lambda: output.clone()


# --- a nuisance, but right -------------------------------------------------------------------------------------------


@evil
def prints(problem: Any) -> Run:
    def run() -> Any:
        print("x" * 100_000)
        os.write(2, b"  File: y\n" * 10_000)
        return right(problem)

    return run


@evil
def floods(problem: Any) -> Run:
    os.write(1, b"y" * 30_000_000)
    return lambda: right(problem)


@evil
def starts_threads(problem: Any) -> Run:
    threading.Thread(target=time.sleep, args=(1000.0,)).start()
    return lambda: right(problem)


def _slow_build(workload: Any) -> None:
    """Takes longer than a candidate may, by the parent's clock."""
    number = hang_begins()
    while os.path.getsize(LEAPS) < number:
        time.sleep(0.01)


@register("topk.select", name="evil.builds_slowly", devices=("cpu",), build=_slow_build)
def builds_slowly(problem: Any) -> Run:
    return lambda: right(problem)


def _broken_build(workload: Any) -> None:
    raise RuntimeError("nvcc fatal: unsupported architecture")


@register("topk.select", name="evil.does_not_build", devices=("cpu",), build=_broken_build)
def does_not_build(problem: Any) -> Run:
    return lambda: right(problem)


# --- right in the vetting, not in the race; so fast that no other would be left ------------------------------------


def later(name: str, then: Callable[[Any], Any]) -> None:
    def prepare(problem: Any) -> Run:
        output, calls = right(problem), []

        def run() -> Any:
            calls.append(1)
            if len(calls) <= CHECKING_CALLS:
                return right(problem)
            return output.clone() if len(calls) <= VETTING_CALLS else then(problem)

        return run

    register("topk.select", name=f"evil.{name}", devices=("cpu",))(prepare)


def _raise(problem: Any) -> Any:
    raise RuntimeError("too late")


later("raises_later", _raise)
later("exits_later", lambda problem: os._exit(9))
later("sleeps_later", _sleep)
later("is_wrong_later", lambda problem: torch.zeros(problem.scores.shape[0], problem.k, dtype=torch.int32))
later("overwrites_its_input_later", lambda problem: problem.scores.zero_())
