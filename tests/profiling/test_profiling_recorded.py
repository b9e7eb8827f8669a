"""Traces recorded on an H200 (tests/data/traces/record.sh), each with the verdict it must get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.checks import self_check
from autotune_cli.profiling.classify import Classifier, load_classifier, parse_rules
from autotune_cli.profiling.errors import BadRules
from autotune_cli.profiling.findings import Expectation, ProfileVerdict
from autotune_cli.profiling.phases import Phase, Recording, make_use
from autotune_cli.profiling.readers.finding import EXAMPLES, find_trace, read_trace
from autotune_cli.profiling.verdict import PathShape, judge

FOLDER = Path(__file__).parents[1] / "data" / "traces"
CLASSIFY = load_classifier()
PAGED, PAIR = {"paged"}, {"ragged", "paged", "merge"}


@dataclass(frozen=True)
class Seen:
    """What a trace shows, and how it is judged."""

    families: set[str]
    """In each phase that ran, everyday kernels and the split-KV merge aside."""
    library: str
    """Of what tells this trace from the others."""
    kernel: str
    """A regular expression that fits that kernel."""
    paged: int
    """Exit code under ``--paged``."""
    free: int
    """Exit code without: SGLang's ragged path, with a prefix or without."""
    eager: set[str] | None = None
    """Where the eager phase shows others than the graphs."""
    phases: tuple[str, ...] = ("eager", "replay")


FOUR = ("eager", "replay", "piecewise")
FA2_RAGGED, FA3_RAGGED = r"BatchPrefillWithRaggedKVCacheKernel", r"<flashinfer::CollectiveMainloop<RaggedParams"
FA2_PAGED, FA3_PAGED = r"BatchPrefillWithPagedKVCacheKernel", r"<flashinfer::SparseCollectiveMainloop<PagedParams"
TRACES = {
    "example": Seen(PAGED, "flashinfer fa2", FA2_PAGED, 0, 1),
    "example-ragged": Seen(PAIR, "flashinfer fa2", FA2_RAGGED, 1, 0, phases=("eager",)),
    "fa2-paged": Seen(PAGED, "flashinfer fa2", FA2_PAGED, 0, 1, phases=FOUR),
    "fa3-paged": Seen(PAGED, "flashinfer fa3", FA3_PAGED, 0, 1, phases=FOUR),
    # Not forced: ragged when eager, paged in graphs.
    "fa3-extend": Seen(PAGED, "flashinfer fa3", FA3_PAGED, 1, 1, eager=PAIR, phases=FOUR),
    # dllm_extend is the one mode that SGLang runs ragged in a graph.
    "fa2-pair": Seen(PAIR, "flashinfer fa2", FA2_RAGGED, 1, 0),
    "fa3-pair": Seen(PAIR, "flashinfer fa3", FA3_RAGGED, 1, 0),
    "fa3-ragged": Seen({"ragged"}, "flashinfer fa3", FA3_RAGGED, 1, 0),
    # On tensor cores a decode step is a prefill.
    "decode-fa2": Seen(PAGED, "flashinfer fa2", FA2_PAGED, 0, 1),
    "decode-fa3": Seen(PAGED, "flashinfer fa3", FA3_PAGED, 0, 1),
    "decode-cuda-cores": Seen(PAGED, "flashinfer fa2", "BatchDecodeWithPagedKVCacheKernel", 0, 1),
    # docs/own-kernels.md: a name that no rule knows.
    "decode-triton": Seen({"unknown"}, "", "^decode_kernel$", 1, 1),
    "mla-fa2": Seen(PAGED, "flashinfer mla", "BatchMLAPagedAttentionKernel", 0, 1),
    "mla-fa3": Seen(PAGED, "flashinfer mla", "BatchMLAPageAttentionHopperKernel", 0, 1),
    "sdpa-flash": Seen({"dense"}, "torch sdpa", "pytorch_flash::flash_fwd_splitkv_kernel", 1, 1),
    "sdpa-cudnn": Seen({"dense"}, "torch sdpa", "cudnn.*sdpa", 1, 1),
    "sdpa-efficient": Seen({"dense"}, "torch sdpa", "fmha_cutlassF|PyTorchMemEffAttention", 1, 1),
    # No attention kernel at all: a softmax between two matrix products.
    "sdpa-math": Seen({"dense"}, "torch", "(?i)soft_?max", 1, 1),
    # GPU kernels, but no attention: nothing to judge.
    "topk-filtered": Seen({"topk"}, "flashinfer", "FilteredTopKUnifiedKernel", 3, 3),
    "topk-radix": Seen({"topk"}, "flashinfer", "RadixTopKKernel_Unified", 3, 3),
    "topk-sgl": Seen({"topk"}, "sgl_kernel", r"\btopk_kernel\b", 3, 3),
}
RECORDED = [name for name in TRACES if name not in EXAMPLES]


def recording_of(name: str, classify: Classifier = CLASSIFY) -> Recording:
    """The trace's phases."""
    path = find_trace(Path(name), None) if name in EXAMPLES else FOLDER / f"{name}.json.gz"
    return split_into_phases(read_trace(path), classify)


def ran(recording: Recording) -> dict[str, Phase]:
    """Phases in which something ran: not a capture, which only launches, nor what is outside of the ranges."""
    judged = [phase for phase in recording.phases if phase.demand != "ignored"]
    return {phase.name: phase for phase in judged if not phase.captured}


def verdict(
    recording: Recording, shape: PathShape, expects: Sequence[str] = (), forbids: Sequence[str] = ()
) -> ProfileVerdict:
    return judge(recording, Expectation(shape, tuple(expects), tuple(forbids)))


@pytest.mark.parametrize("name", TRACES)
def test_what_each_phase_shows(name: str) -> None:
    seen, recording = TRACES[name], recording_of(name)
    phases = ran(recording)
    assert tuple(phases) == seen.phases
    for phase in phases.values():
        wanted = seen.eager if seen.eager and phase.name == "eager" else seen.families
        assert set(phase.families()) - {"benign", "split_merge"} == wanted, phase.name
        assert (phase.empty_graph_launches, phase.lost_launches) == (0, 0)
        told = [use for use in phase.kernels if use.library == seen.library and use.family in wanted]
        assert told
    assert recording.devices == ("NVIDIA H200",)
    assert recording.notes == ()


@pytest.mark.parametrize("name", TRACES)
def test_the_verdict_under_paged_and_without(name: str) -> None:
    seen, recording = TRACES[name], recording_of(name)
    assert verdict(recording, "paged").exit_code == seen.paged
    assert verdict(recording, "ragged or pair").exit_code == seen.free


@pytest.mark.parametrize("name", TRACES)
def test_expect_and_forbid_its_kernel(name: str) -> None:
    """Judged by names alone; a capture, whose launches are not run, is no reason to fail."""
    seen, recording = TRACES[name], recording_of(name)
    assert verdict(recording, "any", [seen.kernel]).exit_code == 0
    forbidding = verdict(recording, "any", forbids=[seen.kernel])
    assert forbidding.exit_code == 1
    failed = {judged.phase.name for judged in forbidding.phases if judged.state == "failed"}
    assert failed == set(seen.phases)
    assert verdict(recording, "any", ["no_such_kernel"]).exit_code == 1


@pytest.mark.parametrize("name", TRACES)
def test_a_capture_launches_and_runs_nothing(name: str) -> None:
    recording = recording_of(name)
    captures = [phase for phase in recording.phases if phase.captured]
    assert [phase.name for phase in captures] == (["capture"] if "replay" in ran(recording) else [])
    for phase in captures:
        assert set(phase.families()) <= {"benign"}
        assert phase.captured >= 2


@pytest.mark.parametrize("name", [name for name, seen in TRACES.items() if 0 in (seen.paged, seen.free)])
def test_kernels_injected_into_a_trace_that_passes_are_stopped(name: str) -> None:
    seen, recording = TRACES[name], recording_of(name)
    shape: PathShape = "paged" if seen.paged == 0 else "ragged or pair"
    tried, faults = self_check(recording, Expectation(shape), lambda kernel: make_use(kernel, 1, 0.0, CLASSIFY))
    assert not faults
    assert len(tried) == 4 * len(seen.phases) + 1


@pytest.mark.parametrize("name", ["topk-filtered", "topk-radix", "topk-sgl"])
def test_a_selection_passes_as_one(name: str) -> None:
    assert verdict(recording_of(name), "topk").exit_code == 0


def test_the_free_path_passes_phase_by_phase() -> None:
    """As a live profile judges it: each phase has a shape of its own."""
    expectation = Expectation("paged", shapes=(("eager", "pair"),))
    assert judge(recording_of("fa3-extend"), expectation).exit_code == 0
    assert judge(recording_of("fa3-paged"), expectation).exit_code == 1


def test_a_rule_makes_the_unknown_kernel_paged() -> None:
    """The line to paste leaves its family open: it decodes, so nobody may paste it as benign unread."""
    recording = recording_of("decode-triton")
    problems = [problem for judged in verdict(recording, "paged").phases for problem in judged.problems]
    (paste,) = {problem.paste for problem in problems if problem.paste}
    assert paste == '\'\\bdecode_kernel\\b\' = { family = "?", library = "?", reason = "?" }'
    with pytest.raises(BadRules, match="family '\\?' is none of paged"):
        parse_rules(paste, "extra.toml")
    for family, code in (("benign", 3), ("paged", 0)):
        rule = paste.replace('"?"', f'"{family}"', 1)
        rules = Classifier([*parse_rules(rule, "extra.toml"), *CLASSIFY.rules])
        assert verdict(recording_of("decode-triton", rules), "paged").exit_code == code


@pytest.mark.parametrize("name", RECORDED)
def test_traces_are_small(name: str) -> None:
    recording_of(name)
    assert (FOLDER / f"{name}.json.gz").stat().st_size < 60_000
