"""What must be noticed on a real GPU: padding, injected kernels, other bits, wrong graphs, plans that wait."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from live_sessions import ALL, GRAPHED, padded_spec, run, spec_of

from autotune_cli.profiling.path import PhasePlan
from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.profiling.recording.inject import injected
from autotune_cli.profiling.recording.padded import Padded
from autotune_cli.profiling.recording.run import Recorder
from autotune_cli.profiling.recording.step import Step
from autotune_cli.profiling.request import INJECTED
from autotune_cli.sglang.padding import PAD_MODES, PadMode

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

# New tokens and cached ones of each request, and what padding to a captured size (..., 64, 80, ...) adds.
BATCHES: dict[str, tuple[Sequence[int], Sequence[int], int]] = {
    "exact fit": ((40, 24), (100, 7), 0),
    "one short": ((40, 23), (100, 7), 1),
    "one over": ((40, 25), (100, 7), 15),
    "one token": ((1,), (0,), 3),
    "one token on a prefix": ((1,), (77,), 3),
    "no prefix": ((17, 30), (0, 0), 1),
    "some without a prefix": ((17, 5, 30, 11), (0, 100, 0, 333), 1),
    # The pool has as many requests as the batch: the fake one is one more than it holds.
    "batch = pool": ((1,) * 63, tuple(range(1, 127, 2)), 1),
    "batch = pool, exact fit": ((1,) * 64, tuple(range(1, 129, 2)), 0),
}
# Both kernels where padding does something odd; elsewhere fa2, which is SGLang's and splits its work.
BY_KERNELS = [("fa2", name) for name in BATCHES] + [("fa3", name) for name in ("one over", "one token", "batch = pool")]


@pytest.mark.parametrize("pad_mode", PAD_MODES)
@pytest.mark.parametrize(("kernels", "name"), BY_KERNELS)
def test_piecewise_padding(tmp_path: Path, kernels: str, name: str, pad_mode: PadMode) -> None:
    qo, prefix, padding = BATCHES[name]
    spec = padded_spec(qo, prefix, pad_mode, kernels=kernels)
    static = spec.phases[-1].static_tokens
    assert static - sum(qo) == padding
    session = run(spec, tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert session.families("piecewise") == {"paged"}
    assert session.libraries("piecewise", "paged") == {f"flashinfer {kernels}"}
    said = session.check("piecewise", "bad_padding").text
    if pad_mode == "narrow":
        assert said.startswith(f"narrowed to {sum(qo)} of {static} tokens")
    elif padding:
        assert said.startswith(f"{sum(qo)} tokens and {padding} tokens of a fake request on scratch slot 0")
        assert "metadata of the real rows bit-identical" in said
    else:
        assert said == f"{sum(qo)} tokens fit exactly: no fake request"
    rows = session.check("piecewise", "padding_changes_rows").text
    explained = re.search(r"rows differ, by up to \S+, first token \d+ of .* \(KV .*; KV .*\)$", rows)
    assert rows == "real rows padded and not: bit-equal" or (explained and kernels == "fa2" and padding), rows
    plan = session.judged("piecewise").phase.plan
    assert plan is not None
    assert (plan.waits, plan.copies_to_host) == (0, 0)


@pytest.mark.parametrize("pad_mode", PAD_MODES)
def test_some_requests_without_a_prefix_on_the_free_path(tmp_path: Path, pad_mode: PadMode) -> None:
    """Eager it is ragged + paged + merge, where the paged call has no keys for some requests."""
    qo, prefix, _ = BATCHES["some without a prefix"]
    spec = padded_spec(qo, prefix, pad_mode, forced_paged=False, phases=ALL)
    session = run(spec, tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert session.families("eager") == {"ragged", "paged", "merge"}
    assert all(session.families(phase) == {"paged"} for phase in ALL[1:])


@pytest.mark.parametrize(
    ("mode", "asked", "phases"),
    [
        ("extend", {"forced_paged": True, "kernels": "fa2"}, ALL),
        ("extend", {"forced_paged": True, "kernels": "fa3"}, ALL),
        ("extend", {"forced_paged": False}, ALL),
        ("decode", {}, GRAPHED),
        ("topk", {"model": "deepseek-v3.2"}, GRAPHED),
    ],
    ids=str,
)
def test_injected_kernels_are_stopped_in_every_phase(
    tmp_path: Path, mode: str, asked: dict[str, Any], phases: tuple[str, ...]
) -> None:
    """A real ragged kernel, and a real dense one, run beside those that belong there."""
    session = run(spec_of(mode, injected=INJECTED, **asked), tmp_path)
    assert (session.code, session.problems) == (0, [])
    stopped = [f"a {family} kernel run in {phase}: stopped" for family in INJECTED for phase in phases]
    assert session.tried == [*stopped, "all kernels taken away: nothing to judge, exit 3"]


def test_without_a_prefix_one_ragged_kernel_more_is_allowed(tmp_path: Path) -> None:
    session = run(spec_of(prefix=False, phases=("eager",), injected=INJECTED), tmp_path)
    assert session.code == 0
    assert session.tried[:2] == [
        "a ragged kernel run in eager: allowed, as it must be",
        "a dense kernel run in eager: stopped",
    ]


@pytest.mark.parametrize("mode", ["extend", "decode"])
def test_fa3_gives_the_same_bits(tmp_path: Path, mode: str) -> None:
    """It doesn't split a request's keys: neither a graph nor other requests beside it change a bit."""
    session = run(spec_of(mode, kernels="fa3", forced_paged=True, bitwise=True, phases=GRAPHED), tmp_path)
    assert (session.code, session.problems) == (0, [])
    facts = "; ".join(fact for phase in GRAPHED for fact in session.judged(phase).phase.facts)
    assert "eager and replay: bit-equal" in facts
    assert "the batch and every second request of it alone: bit-equal" in facts


def test_fa2_gives_other_bits_in_another_batch_and_says_how_each_was_split(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"batch": 4, "new": 128, "context": 1152}
    session = run(spec_of(forced_paged=True, bitwise=True, phases=GRAPHED, **sizes), tmp_path)
    assert (session.code, session.problems) == (1, [("eager", "bits_differ")])
    work = r"KV split, \d+ work items of 128 queries"
    assert re.search(rf"\d+ of 237 rows differ, by up to \S+, first token \d+ of .* \({work}; {work}\)$", session.text)
    assert "eager and replay: bit-equal" in "; ".join(session.judged("replay").phase.facts)


@pytest.mark.parametrize("more", ["a call", "a ragged kernel"])
def test_a_replay_of_another_graph_than_the_listed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """After the nodes are listed the graph is captured again, with something more; the output is right all the same."""
    listed = Recorder._list_nodes

    def list_and_capture_again(self: Recorder, plan: PhasePlan) -> None:
        listed(self, plan)
        step = self.steps["capture"]
        self._capture(Step(step.kinds, step.count + (more == "a call"), extra if more == "a ragged kernel" else None))

    extra = injected("ragged", None)
    extra()
    monkeypatch.setattr(Recorder, "_list_nodes", list_and_capture_again)
    session = run(spec_of(forced_paged=True, phases=GRAPHED), tmp_path)
    assert session.code == 1
    assert session.states == {"eager": "ok", "capture": "ok", "replay": "failed"}
    codes = {"replay_differs"} if more == "a call" else {"replay_differs", "forbidden_family"}
    assert set(session.problems) == {("replay", code) for code in codes}
    assert "the replay ran other kernels than were captured" in session.text
    assert session.check("replay", "wrong_output").ok


def test_a_plan_that_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SGLang 0.5.10, which asked the device for numbers that the host knows."""
    written = Padded.write

    def write_and_ask(self: Padded) -> None:
        written(self)
        self._buffers.kv_indices[:1].item()

    monkeypatch.setattr(Padded, "write", write_and_ask)
    session = run(spec_of(forced_paged=True, phases=("eager", "piecewise")), tmp_path)
    assert (session.code, session.problems) == (1, [("", "plan_waits")])
    assert re.search(rf"piecewise: planning waits for the device: {Path(__file__).name}, line \d+", session.text)
    assert session.states == {"eager": "ok"}
    assert torch.cuda.get_sync_debug_mode() == 0


def test_keys_that_are_not_written_before_a_paged_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right kernels on a cache without the new tokens: names can't show it, the output does."""
    monkeypatch.setattr(CacheWrite, "__call__", lambda self: None)
    session = run(spec_of(forced_paged=True), tmp_path)
    assert session.code == 1
    assert set(session.problems) == {(phase, "wrong_output") for phase in ("eager", "replay", "piecewise")}


def test_a_fake_request_outside_of_the_scratch_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slot that a request may own: a server would write the padded tokens' keys there."""
    written = Padded.write

    def write_elsewhere(self: Padded) -> None:
        written(self)
        self._buffers.kv_indices[self._used : self._used + 1] = 1

    monkeypatch.setattr(Padded, "write", write_elsewhere)
    session = run(padded_spec((40, 23), (100, 7), "fake-request"), tmp_path)
    assert (session.code, session.problems) == (1, [("piecewise", "bad_padding")])
    assert "padding outside of scratch slot 0" in session.text
