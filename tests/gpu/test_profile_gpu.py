"""SGLang's paths and other candidates on a real GPU, in every phase, each with the verdict it must get.

In this process, a session for all four phases of a path. Padding and injected faults: test_profile_faults_gpu.py; the
trees of drafts: test_profile_trees_gpu.py; the command itself: test_profile_command_gpu.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from live_sessions import ALL, GRAPHED, LLAMA, Session, of_layer, run, spec_of

from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.profiling.findings import Expectation
from autotune_cli.profiling.request import PhaseName
from autotune_cli.profiling.verdict import PathShape, judge
from autotune_cli.sglang.resolve import FORCE_PAGED, forced_paged

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

FA3 = REGISTRY.get("sgl_kernel.fa3")
FA3_ONLY = pytest.mark.skipif(FA3.missing() is not None, reason=f"sgl_kernel is not installed: {FA3.install}")
Key = tuple[str, bool, bool]
MATRIX: list[Key] = list(itertools.product(("fa2", "fa3"), (True, False), (True, False)))
FAMILIES: dict[PathShape, set[str]] = {"paged": {"paged"}, "ragged": {"ragged"}, "pair": {"ragged", "paged", "merge"}}
# FlashInfer packs the bits of a custom mask.
MASKED_PAIR = FAMILIES["pair"] | {"index"}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Key], Session]:
    """A session by FlashInfer's kernels, forced paged, prefix."""
    done: dict[Key, Session] = {}

    def get(key: Key) -> Session:
        if key not in done:
            kernels, forced, prefix = key
            spec = spec_of(kernels=kernels, forced_paged=forced, prefix=prefix)
            done[key] = run(spec, tmp_path_factory.mktemp("session"))
        return done[key]

    return get


def shape_of(phase: str, forced: bool, prefix: bool) -> PathShape:
    """What SGLang runs: graphs, whole or in pieces, are paged whatever is asked for."""
    if forced or phase != "eager":
        return "paged"
    return "pair" if prefix else "ragged"


@pytest.mark.parametrize("phase", ALL)
@pytest.mark.parametrize("key", MATRIX, ids=lambda key: f"{key[0]} {'forced' if key[1] else 'free'} {key[2]}")
def test_every_phase_runs_what_it_must(matrix: Callable[[Key], Session], key: Key, phase: str) -> None:
    kernels, forced, prefix = key
    session = matrix(key)
    shape = shape_of(phase, forced, prefix)
    judged = session.judged(phase)
    assert (judged.state, judged.problems) == ("ok", ())
    assert session.verdict.expectation.of(phase) == shape
    assert session.families(phase) == FAMILIES[shape]
    # Two calls; a merge of their splits is fa2's alone.
    assert all(judged.phase.launches(family) == 2 for family in session.families(phase))
    assert kernels == "fa2" or not judged.phase.launches("split_merge")
    for family in session.families(phase) & {"paged", "ragged"}:
        assert session.libraries(phase, family) == {f"flashinfer {kernels}"}


@pytest.mark.parametrize("key", MATRIX, ids=str)
def test_the_whole_verdict_and_what_it_rests_on(matrix: Callable[[Key], Session], key: Key) -> None:
    session = matrix(key)
    assert (session.code, session.problems) == (0, [])
    assert list(session.states) == list(ALL)
    facts = {name: "; ".join(session.judged(name).phase.facts) for name in ALL}
    assert all("planned and executed" in text for text in facts.values())
    assert all("output right" in facts[name] for name in ("eager", "replay", "piecewise"))
    assert "the replay ran the kernel nodes of its graph, no more and no fewer" in facts["replay"]
    assert "planned without waiting for the device" in facts["piecewise"]
    replay = session.judged("replay").phase
    assert (replay.graph_launches, replay.empty_graph_launches, replay.lost_launches) == (1, 0, 0)
    # Indptrs on the host and indices on the device: no plan waits.
    plans = [session.judged(name).phase.plan for name in ALL]
    assert all(plan is not None and (plan.waits, plan.copies_to_host) == (0, 0) for plan in plans)


@pytest.mark.parametrize("key", MATRIX, ids=str)
def test_the_trace_alone_gets_the_verdict_of_forced_paged(matrix: Callable[[Key], Session], key: Key) -> None:
    """As ``--from-trace FILE --paged`` would judge it: the free path fails, and only where it is eager."""
    _, forced, _ = key
    verdict = judge(matrix(key).trace, Expectation("paged"))
    assert verdict.exit_code == (0 if forced else 1)
    states = {judged.phase.name: judged.state for judged in verdict.phases if judged.phase.demand == "strict"}
    assert states == {"eager": "ok" if forced else "failed", "capture": "captured", "replay": "ok", "piecewise": "ok"}


def test_the_variable_is_read_once_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is changed after the path is built, and again and again while its phases are prepared and run."""
    monkeypatch.setenv(FORCE_PAGED, "1")
    spec = spec_of(forced_paged=forced_paged(None, {FORCE_PAGED: "1"}).on, phases=GRAPHED)
    values = itertools.cycle(("0", "1"))
    seen: list[str] = []

    def report(name: str, subject: str) -> None:
        seen.append(f"{name} {subject}")
        monkeypatch.setenv(FORCE_PAGED, next(values))

    session = run(spec, tmp_path, report=report)
    assert len(seen) >= 6
    assert session.code == 0
    assert {phase: session.families(phase) for phase in GRAPHED} == {phase: {"paged"} for phase in GRAPHED}


@pytest.mark.parametrize(
    ("mode", "forced", "eager", "graphs"),
    [
        ("decode", False, "paged", "paged"),
        ("target_verify", False, "paged", "paged"),
        ("draft_extend", False, "paged", "paged"),
        ("draft_extend_v2", False, "paged", "paged"),
        ("mixed", False, "pair", "paged"),
        ("mixed", True, "paged", "paged"),
        # The one mode that SGLang runs ragged in a graph, unless it is forced: see the next test.
        ("dllm_extend", False, "pair", "pair"),
    ],
)
def test_modes(tmp_path: Path, mode: str, forced: bool, eager: PathShape, graphs: PathShape) -> None:
    session = run(spec_of(mode, forced_paged=forced), tmp_path)
    assert (session.code, session.problems) == (0, [])
    phases = ALL if mode == "mixed" else GRAPHED
    assert list(session.states) == list(phases)
    for phase in phases:
        assert session.families(phase) == FAMILIES[eager if phase == "eager" else graphs]


def test_dllm_extend_plans_paged_and_executes_ragged_in_a_graph(tmp_path: Path) -> None:
    session = run(spec_of("dllm_extend", forced_paged=True), tmp_path)
    assert session.code == 1
    assert session.problems == [("", "planned_not_executed")] * 2
    assert session.states == {"eager": "ok"}
    for phase in ("capture", "replay"):
        assert f"{phase}: planned paged, executed ragged" in session.text


@pytest.mark.parametrize("flag", ["deterministic", "multimodal", "multi_item_scoring"])
def test_flags_that_force_paged(tmp_path: Path, flag: str) -> None:
    asked: dict[str, Any] = {flag: True, "phases": ("eager",)}
    session = run(spec_of(**asked), tmp_path)
    assert (session.code, session.families("eager")) == (0, {"paged"})


def test_decode_on_cuda_cores(tmp_path: Path) -> None:
    """One query head to a KV head: SGLang's decode without tensor cores, a kernel of another name."""
    one_to_one = LLAMA.model_copy(update={"num_qo_heads": 8})
    session = run(of_layer(spec_of("decode"), one_to_one), tmp_path)
    assert session.code == 0
    for phase in GRAPHED:
        names = [use.name for use in session.judged(phase).phase.kernels if use.family == "paged"]
        assert len(names) == 1
        assert "BatchDecodeWithPagedKVCacheKernel" in names[0]


def test_decode_from_an_fp8_cache(tmp_path: Path) -> None:
    session = run(spec_of("decode", kv_dtype="float8_e4m3fn"), tmp_path)
    assert (session.code, session.problems) == (0, [])
    for phase in GRAPHED:
        assert session.families(phase) == {"paged"}
        (name,) = (use.name for use in session.judged(phase).phase.kernels if use.family == "paged")
        assert "e4m3" in name


def test_what_a_kernel_cant_do_is_not_run_and_says_why(tmp_path: Path) -> None:
    session = run(spec_of("decode", kv_dtype="float8_e4m3fn", kernels="fa3"), tmp_path)
    assert (session.code, set(session.problems)) == (4, {("", "phase_failed"), ("", "nothing_recorded")})
    assert "fa3 reads an FP8 cache only for FP8 queries" in session.text


@pytest.mark.parametrize("kernels", ["fa2", "fa3"])
def test_a_model_with_windowed_layers(tmp_path: Path, kernels: str) -> None:
    """gpt-oss: head dim 64, every second layer sees 128 tokens."""
    spec = spec_of(model="gpt-oss-120b", forced_paged=True, kernels=kernels)
    assert ["window 127" in layer.workload.key for layer in spec.layers] == [False, True]
    session = run(spec, tmp_path)
    assert (session.code, session.problems) == (0, [])
    for phase in ALL:
        assert session.families(phase) == {"paged"}
        assert session.judged(phase).phase.launches("paged") == 2
        assert session.libraries(phase, "paged") == {f"flashinfer {kernels}"}


@pytest.mark.parametrize("kernels", ["auto", "fa2"])
def test_a_window_over_a_prefix_is_a_mask_of_the_ragged_path(tmp_path: Path, kernels: str) -> None:
    session = run(spec_of(model="gpt-oss-120b", phases=GRAPHED, kernels=kernels), tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert session.families("eager") == MASKED_PAIR
    assert session.families("capture") == session.families("replay") == {"paged"}


def test_a_window_over_a_prefix_has_no_fa3(tmp_path: Path) -> None:
    session = run(spec_of(model="gpt-oss-120b", phases=GRAPHED, kernels="fa3"), tmp_path)
    assert (session.code, session.problems) == (4, [("", "phase_failed")])
    assert "a window over the prefix needs a custom mask, which only fa2 has" in session.text
    # The others are judged all the same.
    assert session.states == {"capture": "ok", "replay": "ok"}


@pytest.mark.parametrize("kernels", ["auto", "fa2"])
def test_rows_that_see_no_cached_key_are_those_of_the_new_ones_alone(tmp_path: Path, kernels: str) -> None:
    """Of up to 300 new tokens the last ones see 127 before them and no prefix: its part of the merge is empty."""
    sizes: dict[str, Any] = {"batch": 3, "new": 300, "context": 700}
    spec = spec_of(model="gpt-oss-120b", phases=("eager", "breakable"), kernels=kernels, **sizes)
    session = run(spec, tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert session.families("breakable") == session.families("eager") == MASKED_PAIR
    assert all(session.check(phase, "wrong_output").ok for phase in ("eager", "breakable"))


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gpt-oss-120b"])
def test_a_deterministic_extend_in_every_phase(tmp_path: Path, model: str) -> None:
    """Splits are fixed outside of whole graphs, where SGLang plans as usual."""
    session = run(spec_of(model=model, deterministic=True, phases=(*ALL, "breakable")), tmp_path)
    assert (session.code, session.problems) == (0, [])
    for done in session.run.recording.phases:
        assert session.families(done.plan.name) == {"paged"}
        whole = done.plan.name in ("capture", "replay")
        assert all(("split=4096" in key) != whole for key in done.candidates)


@pytest.mark.parametrize("mode", ["decode", "extend"])
def test_deterministic_flashinfer_gives_the_same_bits_in_another_batch(tmp_path: Path, mode: str) -> None:
    session = run(spec_of(mode, deterministic=True, bitwise=True, phases=("eager",)), tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert session.families("eager") == {"paged"}


@pytest.mark.parametrize("kernel", ["flash", "efficient", "math"])
def test_sdpa_is_not_paged_in_any_of_its_forms(tmp_path: Path, kernel: str) -> None:
    """``math`` has no attention kernel: it shows by a softmax between two matrix products."""
    spec = spec_of("decode", backend=f"torch.sdpa(kernel={kernel})", forced_paged=True)
    session = run(spec, tmp_path)
    assert session.code == 1
    for phase in GRAPHED:
        assert session.families(phase) == {"dense"}
        assert session.states[phase] == "failed"
        assert {code for name, code in session.problems if name == phase} == {"forbidden_family", "missing_family"}


@pytest.mark.parametrize(
    ("backend", "kernel", "other"),
    [
        ("flashinfer.top_k_ragged_transform", "FilteredTopK", "RadixTopK"),
        ("flashinfer.top_k_ragged_transform(algorithm=multi_cta)", "RadixTopK", "FilteredTopK"),
        ("sgl_kernel.fast_topk_v2", r"\btopk_kernel\b", "FilteredTopK|RadixTopK"),
    ],
)
def test_the_selected_topk_is_the_one_that_fires(tmp_path: Path, backend: str, kernel: str, other: str) -> None:
    spec = spec_of("topk", model="deepseek-v3.2", backend=backend)
    session = run(spec, tmp_path, expects=(kernel,), forbids=(other,))
    assert (session.code, session.problems) == (0, [])
    assert {phase: session.families(phase) for phase in GRAPHED} == {phase: {"topk"} for phase in GRAPHED}


@pytest.mark.parametrize(
    ("names", "code"),
    [({"forbids": ("TopK",)}, "forbidden_name"), ({"expects": (r"\btopk_kernel\b",)}, "missing_name")],
)
def test_another_topk_than_the_selected_one_fails(tmp_path: Path, names: dict[str, Any], code: str) -> None:
    spec = spec_of("topk", model="deepseek-v3.2", backend="flashinfer.top_k_ragged_transform")
    session = run(spec, tmp_path, **names)
    assert session.code == 1
    assert session.problems == [(phase, code) for phase in GRAPHED]


@FA3_ONLY
@pytest.mark.parametrize("mode", ["decode", "extend", "mixed", "target_verify", "draft_extend"])
def test_sglangs_default_on_hopper(tmp_path: Path, mode: str) -> None:
    """One paged FlashAttention-3 call in every phase; of decode its schedule is made before each step."""
    session = run(spec_of(mode, backend="fa3"), tmp_path)
    assert (session.code, session.problems) == (0, [])
    phases = (*GRAPHED, "breakable") if mode in ("extend", "mixed") else GRAPHED
    assert list(session.states) == list(phases)
    for phase in phases:
        assert {"paged"} <= session.families(phase) <= {"paged", "index"}
        assert session.judged(phase).phase.launches("paged") == 2
        assert session.libraries(phase, "paged") == {"flash-attention 3"}


@FA3_ONLY
@pytest.mark.parametrize("mode", ["decode", "extend"])
def test_deterministic_fa3_gives_the_same_bits(tmp_path: Path, mode: str) -> None:
    session = run(spec_of(mode, backend="fa3", deterministic=True, bitwise=True), tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert not any(session.judged(phase).phase.launches("split_merge") for phase in GRAPHED)


@FA3_ONLY
def test_fa3_with_sinks_and_windows(tmp_path: Path) -> None:
    spec = spec_of(model="gpt-oss-120b", backend="fa3")
    assert all(layer.workload.situation["sinks"] for layer in spec.layers)
    session = run(spec, tmp_path)
    assert (session.code, session.problems) == (0, [])


@pytest.mark.parametrize("prefix", [True, False])
def test_a_breakable_graph_takes_the_eager_route(tmp_path: Path, prefix: bool) -> None:
    session = run(spec_of(prefix=prefix, phases=("eager", "piecewise", "breakable")), tmp_path)
    assert (session.code, session.problems) == (0, [])
    assert session.families("breakable") == session.families("eager") == FAMILIES["pair" if prefix else "ragged"]
    assert session.families("piecewise") == {"paged"}


def test_a_replay_without_a_capture_phase(tmp_path: Path) -> None:
    """The graph is captured before the recording, and its nodes are not listed."""
    phases: tuple[PhaseName, ...] = ("replay",)
    session = run(spec_of("decode", phases=phases), tmp_path)
    assert (session.code, session.states, session.families("replay")) == (0, {"replay": "ok"}, {"paged"})
