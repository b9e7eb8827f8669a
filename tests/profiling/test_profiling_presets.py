"""Presets: is it the attention backend that the server should have, or did it fall back?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trace_builders import FA2_DECODE, FA2_PAGED, FA2_RAGGED, FILL, GEMM, MERGE, ChromeTrace

from autotune_cli.errors import UnknownName
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.presets import load_preset, preset_names
from autotune_cli.profiling.rules import project_rules

FA3 = (
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<"
    "2, cute::tuple<cute::C<1> >, cute::tuple<cute::C<128> >, 128, cutlass::bfloat16_t, float, cutlass::arch::Sm90, "
    "true, false, false, true, {paged}, false, false>, flash::CollectiveEpilogueFwd<int>, flash::Scheduler<1> > > >(X)"
)
PAGED, BY_TMA = FA3.format(paged="true"), FA3.format(paged="false")
SHOWN = {
    "aiter": ["aiter::pa_bf16_noquant_gqa8_1tg_4w", "_fwd_grouped_kernel_stage1"],
    "fa3": [PAGED, BY_TMA],
    "flashinfer": [FA2_DECODE, FA2_RAGGED, FA2_PAGED, MERGE],
    "flashinfer-paged": [FA2_DECODE, FA2_PAGED],
    "flashmla": ["void sm90::decode::flash_fwd_splitkv_mla_kernel<T>(X)", FA2_RAGGED],
    "triton": ["_fwd_grouped_kernel_stage1", "_fwd_kernel_stage2", "_fwd_kernel"],
    "trtllm": ["fmhaSm100fKernel_QkvBfloat16OBfloat16H128PagedKvCausalP64VarSeqQ128Kv128PersistentContext"],
}
ANOTHER = "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<128> >(P)"


def trace_of(*kernels: str) -> ChromeTrace:
    trace = ChromeTrace(deviceProperties=[{"name": "NVIDIA H100"}])
    for name in kernels:
        trace.kernel(name)
    return trace


def test_every_preset_is_listed_and_can_be_loaded(usage: Any) -> None:
    assert set(preset_names()) == set(SHOWN)
    done = usage("profile", "--preset", "?")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == list(preset_names())
    assert all(load_preset(line.split()[0]).about in line for line in lines)
    with pytest.raises(UnknownName, match="unknown preset 'fa4'"):
        load_preset("fa4")


def test_a_preset_names_libraries_that_there_are() -> None:
    known = {rule.library for rule in project_rules()}
    for name in preset_names():
        assert set(load_preset(name).libraries) <= known, name


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_server_should_run_passes_and_a_fall_back_does_not(name: str, tmp_path: Path, usage: Any) -> None:
    for kernels, code in ((SHOWN[name], 0), ([*SHOWN[name], ANOTHER], 1), ([ANOTHER], 1), ([GEMM, FILL], 3)):
        trace_of(GEMM, *kernels, FILL).write(tmp_path / "t.json")
        done = usage("profile", "--from-trace", "t.json", "--preset", name, "--self-check")
        # Where nothing of the preset ran there may be kernels without attention: that is a missing kernel.
        wanted = 1 if code == 3 and load_preset(name).expects else code
        assert done.code == wanted, (kernels, done.out)
    assert f"of preset {name}" in done.out


def test_another_backend_is_named(tmp_path: Path, usage: Any) -> None:
    trace_of(FA2_DECODE).write(tmp_path / "t.json")
    done = usage("profile", "--from-trace", "t.json", "--preset", "fa3")
    assert done.code == 1
    assert "FAIL: 1 kernel of another library than expected in eager: BatchDecodeWithPagedKVCacheKernel" in done.out


def test_paged_beside_a_preset_asks_for_both(tmp_path: Path, usage: Any) -> None:
    trace_of(FA2_DECODE, FA2_RAGGED).write(tmp_path / "t.json")
    assert usage("profile", "--from-trace", "t.json", "--preset", "flashinfer").code == 0
    assert usage("profile", "--from-trace", "t.json", "--preset", "flashinfer", "--paged").code == 1
    # FA3 by TMA: the preset doesn't say how keys lie, and the name doesn't either.
    trace_of(PAGED, BY_TMA).write(tmp_path / "t.json")
    done = usage("profile", "--from-trace", "t.json", "--preset", "fa3", "--paged")
    assert done.code == 3
    assert done.out.splitlines()[-1].startswith("UNDECIDED: 1 undecided kernel in eager: flash::FlashAttnFwdSm90")


def test_rules_of_a_preset_come_behind_a_users_and_before_the_projects(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('\'^_fwd_kernel$\' = { family = "dense", library = "mine" }\n')
    preset = load_preset("triton").rules
    assert load_classifier()("_fwd_kernel").family == "undecided"
    assert load_classifier(preset=preset)("_fwd_kernel").family == "ragged"
    assert load_classifier([own], preset)("_fwd_kernel").family == "dense"


def test_a_preset_goes_with_a_trace(usage: Any) -> None:
    done = usage("profile", "--preset", "fa3")
    assert (done.code, "--preset: goes with --from-trace" in done.err) == (2, True)
    done = usage("profile", "--from-trace", "example", "--preset", "fa9")
    assert (done.code, "unknown preset 'fa9'" in done.err) == (2, True)
