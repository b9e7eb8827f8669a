"""What SGLang selects with: by version, variables and how the rows come, as read in its dsa_topk_backend.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune_cli.errors import UnknownName
from autotune_cli.kernels.engines import parse_baseline, resolve, situation_of, without_version
from autotune_cli.kernels.engines.resolve import Resolved, concerns
from autotune_cli.kernels.registry import Device
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.plan import plan

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
CPU = Device("cpu", "a processor")
FI = "sglang --dsa-topk-backend flashinfer"
DETERMINISTIC, TIE_BREAK = (f"SGLANG_DSA_TOPK_FLASHINFER_{name}" for name in ("DETERMINISTIC", "TIE_BREAK"))


def workload(operation: str = "topk.paged", k: int = 2048, **fields: Any) -> TopkWorkload:
    given = {"operation": operation, "rows": 8, "width": 65536, "k": k, "mode": "eager"}
    return TopkWorkload(**(given | fields))


def found(name: str, load: TopkWorkload, version: str = "0.5.23", device: Device = H100) -> Resolved:
    baseline = replace(parse_baseline(name), version=version, version_from="installed")
    return resolve(baseline, situation_of(load, device))


DECODE, EXTEND = workload(), workload(requests=4, packed=True)
RAGGED = workload("topk.ragged", requests=4, packed=True)
FUSED, RAGGED_FUSED = "sgl_kernel.fast_topk_transform_fused", "sgl_kernel.fast_topk_transform_ragged_fused"
FIRST_JIT, JIT = "sglang.topk_transform_512_v2", "sglang.topk_transform_paged_v2"
RAGGED_JIT = "sglang.topk_transform_ragged_v2"
PAGE_TABLE, OF_RAGGED = "flashinfer.top_k_page_table_transform", "flashinfer.ragged_transform"


@pytest.mark.parametrize(
    ("version", "decode", "extend", "ragged"),
    [
        ("0.5.10", FUSED, FUSED, RAGGED_FUSED),
        ("0.5.13", FUSED, FUSED, RAGGED_FUSED),
        ("0.5.16", FIRST_JIT, FUSED, RAGGED_FUSED),
        ("0.5.23", JIT, FUSED, RAGGED_JIT),
    ],
)
def test_the_default_by_version(version: str, decode: str, extend: str, ragged: str) -> None:
    for load, wanted in ((DECODE, decode), (EXTEND, extend), (RAGGED, ragged)):
        assert found("sglang", load, version).candidate == wanted
    off = "SGLANG_OPT_USE_TOPK_V2=no sglang"
    assert [found(off, each, version).candidate for each in (DECODE, EXTEND, RAGGED)] == [FUSED, FUSED, RAGGED_FUSED]


def test_a_named_backend_does_not_run_in_a_decode_step_of_0_5_16() -> None:
    for name in ("flashinfer", "torch"):
        result = found(f"sglang --dsa-topk-backend {name}", DECODE, "0.5.16")
        assert result.candidate == FIRST_JIT
        assert "whatever backend is named" in result.source
    assert found(FI, DECODE).candidate == f"{PAGE_TABLE}(algorithm=auto,dsa_graph_safe=true)"
    assert found(FI, EXTEND, "0.5.16").candidate == f"{PAGE_TABLE}(algorithm=auto,dsa_graph_safe=true)"


@pytest.mark.parametrize("load", [DECODE, EXTEND, RAGGED, workload("topk.select")], ids=lambda load: load.key)
@pytest.mark.parametrize(
    ("variables", "knobs"),
    [
        ("", ""),
        (f"{DETERMINISTIC}=1", "deterministic=true,"),
        (f"{DETERMINISTIC}=TRUE", "deterministic=true,"),
        (f"{DETERMINISTIC}=0", ""),
        (f"{DETERMINISTIC}=maybe", ""),  # SGLang warns and takes its default
        (f"{TIE_BREAK}=small", "tie_break=small,"),
        (f"{TIE_BREAK}=LARGE", "tie_break=large,"),
        (f"{DETERMINISTIC}=y {TIE_BREAK}=large", "deterministic=true,tie_break=large,"),
    ],
)
def test_flashinfers_variables(load: TopkWorkload, variables: str, knobs: str) -> None:
    names = {"topk.paged": PAGE_TABLE, "topk.ragged": OF_RAGGED, "topk.select": "flashinfer.top_k"}
    wanted = f"{names[load.operation]}(algorithm=auto,{knobs}dsa_graph_safe=true)"
    name = f"{variables} {FI}".strip()
    assert found(name, load).candidate == wanted
    # It is one that is planned, not only a text, and the baseline has the name that was typed.
    planned = plan(load, H100, [parse_baseline(name)])
    (entry,) = (entry for entry in planned.candidates if entry.candidate.key == wanted)
    assert entry.default
    assert entry.status in (None, "unavailable")
    assert [word.partition("=")[0] for word in planned.baselines[0].name.split()] == [
        word.partition("=")[0] for word in name.split()
    ]


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("1", True), ("true", True), ("TRUE", True), ("Yes", True), ("y", True),
        ("0", False), ("false", False), ("False", False), ("NO", False), ("n", False),
        # No truth values, so SGLang warns and takes the default.
        ("", None), (" 1 ", None), (" 0", None), ("on", None), ("off", None), ("2", None), ("t", None), ("none", None),
    ],
)  # fmt: skip
def test_truth_values_are_read_as_sglang_reads_them(text: str, on: bool | None) -> None:
    def told(variable: str) -> dict[str, str]:
        return {variable: text}

    def with_variables(name: str, variables: dict[str, str], load: TopkWorkload, version: str = "0.5.23") -> Resolved:
        baseline = replace(parse_baseline(name, variables), version=version, version_from="installed")
        return resolve(baseline, situation_of(load, H100))

    on_by_default, off_by_default = on is not False, on is True
    jit = with_variables("sglang", told("SGLANG_OPT_USE_TOPK_V2"), DECODE)
    assert jit.candidate == (JIT if on_by_default else FUSED)
    ragged = with_variables("sglang", told("SGLANG_OPT_USE_TOPK_V2"), RAGGED)
    assert ragged.candidate == (RAGGED_JIT if on_by_default else RAGGED_FUSED)
    for name, version in (("SGLANG_DSA_FUSE_TOPK", "0.5.23"), ("SGLANG_NSA_FUSE_TOPK", "0.5.16")):
        fused = with_variables("sglang", told(name), EXTEND, version)
        assert fused.candidate == (FUSED if on_by_default else None)
    ordered = with_variables(FI, told(DETERMINISTIC), RAGGED)
    assert ("deterministic=true" in (ordered.candidate or "")) is off_by_default
    # Typed before the engine it means the same.
    assert found(f"SGLANG_OPT_USE_TOPK_V2='{text}' sglang", DECODE).candidate == jit.candidate


def test_an_older_name_counts_only_where_the_newer_one_is_not_set() -> None:
    older = {"SGLANG_NSA_FUSE_TOPK": "0"}
    for newer, fused in (({}, False), ({"SGLANG_DSA_FUSE_TOPK": ""}, True), ({"SGLANG_DSA_FUSE_TOPK": "1"}, True)):
        baseline = replace(parse_baseline("sglang", {**older, **newer}), version="0.5.16", version_from="installed")
        assert bool(resolve(baseline, situation_of(EXTEND, H100)).candidate) is fused


@pytest.mark.parametrize("text", ["", " small", "first", "1"])
def test_a_tie_break_that_is_none_is_an_error_there(text: str) -> None:
    for load in (DECODE, RAGGED, workload("topk.select")):
        result = found(f"{TIE_BREAK}='{text}' {FI}", load)
        assert result.candidate is None
        assert result.missing == "SGLang raises: SGLANG_DSA_TOPK_FLASHINFER_TIE_BREAK must be small or large"


def test_without_fusing() -> None:
    torch = "sglang --dsa-topk-backend torch"
    assert "no fused path" in (found(torch, EXTEND).missing or "")
    for words, version, off in (
        ("SGLANG_DSA_FUSE_TOPK=0", "0.5.23", True),
        ("SGLANG_DSA_FUSE_TOPK=FALSE", "0.5.16", True),
        ("SGLANG_NSA_FUSE_TOPK=0", "0.5.16", True),
        ("SGLANG_NSA_FUSE_TOPK=0", "0.5.23", False),
        ("SGLANG_DSA_FUSE_TOPK=1 SGLANG_NSA_FUSE_TOPK=0", "0.5.16", False),
        ("SGLANG_DSA_FUSE_TOPK=1", "0.5.23", False),
    ):
        unfused = found(f"{words} {torch}", EXTEND, version)
        assert unfused.candidate == ("torch.topk_transform" if off else None), words
        assert bool(unfused.stand_in) is off
        for name in ("sglang", FI):
            assert ("unfused" in (found(f"{words} {name}", EXTEND, version).missing or "")) is off


def test_other_k_and_other_machines() -> None:
    assert "compiled for k = 2048" in (found("sglang", workload(k=512, requests=4, packed=True)).missing or "")
    for load in (DECODE, EXTEND, RAGGED):
        on_cpu = found("sglang", load, device=CPU)
        assert on_cpu.candidate == "torch.topk_transform"
        assert on_cpu.stand_in


def test_what_scores_and_selects_in_a_decode_step() -> None:
    indexer = {"page_size": 64, "index_heads": 64, "index_dim": 128}
    load = workload("topk.indexer", **indexer)
    assert found("sglang", load).candidate == "deep_gemm.indexer_sglang"
    with_flashinfer = found(FI, load)
    assert with_flashinfer.candidate == "deep_gemm.indexer_flashinfer(algorithm=auto,dsa_graph_safe=true)"
    assert with_flashinfer.stand_in
    for name, version in (("sglang", "0.5.16"), ("SGLANG_DSA_FUSE_TOPK=0 sglang", "0.5.23"), (FI, "0.5.16")):
        assert "no candidate yet" in (found(name, load, version).missing or "")
    assert found("sglang", load, device=CPU).candidate == "torch.indexer"
    for name in ("sglang", FI):
        planned = plan(load, H100, [parse_baseline(name)])
        (entry,) = (entry for entry in planned.candidates if entry.default)
        assert entry.status in (None, "unavailable")


def test_variables_are_part_of_a_baselines_name() -> None:
    typed = parse_baseline(f"{TIE_BREAK}=small {FI}", {TIE_BREAK: "large", "SGLANG_X": "1"})
    assert typed.name == f"{TIE_BREAK}=small {FI}"
    assert dict(typed.variables) == {TIE_BREAK: "small", "SGLANG_X": "1"}
    assert typed != parse_baseline(FI)
    assert parse_baseline(typed.name) == typed
    assert concerns(typed, "topk.paged")
    assert not concerns(typed, "attention.decode")
    without_options = parse_baseline("SGLANG_DSA_FUSE_TOPK=0 sglang")
    assert concerns(without_options, "topk.select")
    assert not concerns(without_options, "attention.decode")
    with pytest.raises(UnknownName, match="unknown variable of sglang 'SGLANG_DSA_FUSE'"):
        parse_baseline("SGLANG_DSA_FUSE=1 sglang")
    with pytest.raises(UnknownName, match="unknown variable of vllm"):
        parse_baseline(f"{TIE_BREAK}=small vllm")


def test_without_a_version_a_baseline_runs_with_the_variables_that_its_name_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SGLANG_DSA_FUSE_TOPK", "0")
    found = without_version(f"{TIE_BREAK}=small {FI}")
    assert (found.name, found.version) == (f"{TIE_BREAK}=small {FI}", None)
    # What the baseline runs is looked up with these; its name alone shows none of them dropped.
    assert dict(found.variables) == {TIE_BREAK: "small"}
