"""Checks beside the phases: plan against execution, graph against replay, and whether the judge can say no at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune_cli.errors import EXIT_FAILED
from autotune_cli.profiling.emptied import check_emptied
from autotune_cli.profiling.families import ATTENTION
from autotune_cli.profiling.findings import Expectation, Finding
from autotune_cli.profiling.kernel_name import short_name
from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.phases import KernelUse, Phase, Recording
from autotune_cli.profiling.verdict import judge, judge_phase


def check_path(planned: str, executed: str, reason: str) -> Finding | None:
    """What was planned must be what ran."""
    if planned == executed:
        return None
    return Finding("planned_not_executed", f"planned {planned}, executed {executed} ({reason})")


def check_replay(captured: Sequence[KernelUse], replayed: Sequence[KernelUse], replays: int = 1) -> Finding | None:
    """A replay must run the kernel nodes of its graph, each as often as it is in there; no more and no fewer.

    Args:
        captured: the nodes.
        replayed: what graph launches ran.
        replays: how often the graph was launched.
    """
    nodes, ran = _by_name(captured), _by_name(replayed)
    wrong = [name for name in {**nodes, **ran} if nodes.get(name, 0) * replays != ran.get(name, 0)]
    if not wrong:
        return None
    name = wrong[0]
    counts = f"{nodes.get(name, 0)} in the graph, {ran.get(name, 0)} in {replays} x replay"
    return Finding("replay_differs", f"the replay ran other kernels than were captured: {short_name(name)} ({counts})")


def _by_name(uses: Sequence[KernelUse]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for use in uses:
        name = demangle(use.name)
        counted[name] = counted.get(name, 0) + use.launches
    return counted


# What a broken selection would let through; names as CUPTI gives them.
INJECTED = {
    "ragged": (
        "void flashinfer::PrefillWithKVCacheKernel<flashinfer::CollectiveMainloop<RaggedParams::AdditionalParams, "
        "flashinfer::AttentionKernelTraits<true, 128, 128, 128, 128, 2, cutlass::bfloat16_t> >>(RaggedParams)"
    ),
    "dense": (
        "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<128, 128, 64, 4, false, false, "
        "cutlass::bfloat16_t> >(pytorch_flash::Flash_fwd_params)"
    ),
    # Its template arguments speak of quantisation, as those of kernels do that are none of attention.
    "quantised dense": (
        "void qk_int8_sv_f8_attn_kernel<64u, 128u, 128u, 128u, (QuantGranularity)2, (QuantGranularity)2, "
        "__nv_bfloat16, (MaskMode)0, false, true>(CUtensorMap_st, CUtensorMap_st, CUtensorMap_st, float*)"
    ),
    "nameless attention": "void acme::fused_quant_gemm_norm_attention<float, at::native::Softmax>(float*)",
}


def self_check(
    recording: Recording, expectation: Expectation, make: Callable[[str], KernelUse]
) -> tuple[list[str], list[Finding]]:
    """Shows that the verdict can fail: injects a kernel that must be stopped into each judged phase, and empties all.

    Args:
        make: a classified kernel of a name, by the rules in force.

    Returns:
        What was tried, in words, and a problem for each injected kernel that came through.
    """
    tried: list[str] = []
    problems: list[Finding] = []
    for index, phase in enumerate(recording.phases):
        if phase.demand == "ignored" or not phase.launches(*ATTENTION):
            continue
        for family, name in INJECTED.items():
            injected = (*recording.phases[:index], phase.with_injected(make(name)), *recording.phases[index + 1 :])
            before, after = judge_phase(phase, expectation), judge(_with(recording, injected), expectation)
            new = set(after.phases[index].problems) - set(before.problems)
            stopped = after.exit_code == EXIT_FAILED and any(problem.is_violation for problem in new)
            if stopped:
                tried.append(f"a {family} kernel injected into {phase.title}: stopped")
            elif _may_run(make(name), expectation, phase.name):
                tried.append(f"a {family} kernel injected into {phase.title}: allowed, as it must be")
            else:
                problems.append(Finding("self_check", f"a {family} kernel injected into {phase.title} was not stopped"))
    lines, faults = check_emptied(recording, expectation)
    return [*tried, *lines], [*problems, *faults]


def _may_run(use: KernelUse, expectation: Expectation, phase: str) -> bool:
    """Without a prefix the ragged path may hold any number of ragged kernels; a preset may allow for any layout."""
    shape = expectation.of(phase)
    if shape == "attention":
        return use.family != "unknown" and (not expectation.libraries or use.library in expectation.libraries)
    return use.family == "ragged" and shape in ("ragged", "ragged or pair")


def _with(recording: Recording, phases: tuple[Phase, ...]) -> Recording:
    return Recording(recording.source, phases, recording.devices)
