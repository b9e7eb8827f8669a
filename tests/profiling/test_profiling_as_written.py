"""Traces as profilers and servers write them: two documents in one file, names as they stand, a server's steps."""

from __future__ import annotations

import gzip
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from trace_builders import FA2_DECODE, FA2_RAGGED, GEMM, ChromeTrace, NsysTrace

from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.phases import Recording
from autotune_cli.profiling.readers.finding import find_trace, read_trace
from autotune_cli.profiling.steps import paged_steps, server_steps

CLASSIFY = load_classifier()
FA3_VARLEN = (
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<"
    "2, cute::tuple<cute::C<1> >, cute::tuple<cute::C<128> >, 128, cutlass::bfloat16_t, float, cutlass::arch::Sm90, "
    "true, false, false, true, false, false, false>, flash::CollectiveEpilogueFwd<int>, flash::Scheduler<1> > > >(X)"
)


def paged_trace(*more: str) -> ChromeTrace:
    trace = ChromeTrace(deviceProperties=[{"name": "NVIDIA H100"}])
    for name in (FA2_DECODE, GEMM, *more):
        trace.kernel(name)
    return trace


def recorded(path: Path, *wanted: str) -> Recording:
    return split_into_phases(read_trace(path), CLASSIFY, wanted)


# A kernel beside a paged one, and what `profile --paged` must say of both.
BESIDE = {
    "sage": ("void qk_int8_sv_f8_attn_kernel_sm100<128u, (QuantGranularity)2, __half>(CUtensorMap_st)", 1),
    "ck_tile dense": (
        "_ZN7ck_tile6kentryILi2ENS_13FmhaFwdKernelINS_40BlockFmhaBatchPrefillPipelineQRKSVSAsyncILNS_28BlockAttention"
        "QuantScaleEnumE0EEENS_17Default2DEpilogueIfEEEEJNS_21FmhaFwdGroupModeKargsEEEEvDpT1_",
        1,
    ),
    "flex": ("triton_tem_fused_0", 3),
    "fa4": ("kernel_cutlass_kernel_flash_attncuteflash_fwd_sm100FlashAttentionForwardSm100_object_at__tensor0000_0", 3),
    "aiter": ("aiter::pa_bf16_noquant_gqa8_1tg_4w", 0),
    "cudnn decode": ("_Z44cudnn_sm100_fprop_sdpa_decode_bf16_Mx128x128ILb1ELi1EEvN4fmha19AttentionDescriptorE", 0),
    "vllm": ("kernel_unified_attention", 0),
    "moe": ("fused_moe_kernel", 0),
    "sglang": ("void (anonymous namespace)::fused_rope_kernel<true, 128l, __nv_bfloat16>((anonymous namespace)::P)", 0),
    "mla reduction": ("void cutlass::device_kernel<cutlass::fmha::kernel::Sm100FmhaMlaReductionKernel<float> >(P)", 0),
    "nobody's": ("void acme::fused_quant_attention<float>(float*)", 1),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_a_kernel_beside_a_paged_one(beside: str, tmp_path: Path, usage: Any) -> None:
    name, code = BESIDE[beside]
    paged_trace(name).write(tmp_path / "t.json")
    assert usage("profile", "--paged", "--from-trace", "t.json").code == code


def test_the_reduction_of_mla_is_no_attention_of_its_own(tmp_path: Path) -> None:
    (phase,) = recorded(paged_trace(BESIDE["mla reduction"][0]).write(tmp_path / "t.json")).phases
    assert (phase.launches("paged"), phase.launches("split_merge")) == (1, 1)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("between", ["", "\n", " ,\n"])
def test_a_second_document_is_refused_with_its_place(tmp_path: Path, between: str, packed: bool) -> None:
    first, second = (json.dumps(trace.document()) for trace in (paged_trace(), paged_trace(FA2_RAGGED)))
    parts = [first.encode(), f"{between}{second}".encode()]
    path = tmp_path / ("t.json.gz" if packed else "t.json")
    # gzip files one behind the other are one file.
    path.write_bytes(b"".join(map(gzip.compress, parts)) if packed else b"".join(parts))
    place = len(first.encode()) + len(between) - len(between.lstrip())
    with pytest.raises(BadTrace, match=f"a second document follows at byte {place:,}: judge each"):
        read_trace(path)


def test_space_behind_a_document_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(paged_trace().document()) + "\n \n")
    assert len(read_trace(path).gpu.name) == 2


def events_text(trace: ChromeTrace) -> str:
    return json.dumps(trace.events)


def test_a_bare_list_may_lack_its_end_and_an_object_may_not(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for end in ("", ",", ",\n", "]", "]\n"):
        path.write_text(events_text(paged_trace())[:-1] + end)
        assert len(read_trace(path).gpu.name) == 2
    path.write_text(events_text(paged_trace())[:-2])
    with pytest.raises(BadTrace, match="cut off in the middle of an event"):
        read_trace(path)
    path.write_text(json.dumps(paged_trace().document()).partition('], "traceName"')[0])
    with pytest.raises(BadTrace, match="cut off: the list of events has no end"):
        read_trace(path)


@pytest.mark.parametrize(
    "bare",
    [
        '{"device": "cpu", "dtype": "float32"}(12): run',
        r"C:\Users\me\model.py(3): forward",
        r'C:\new\"quoted" dir\x.py(3): f',
        'a"b',
        "ends with a back-slash\\",
    ],
)
def test_names_as_they_stand_are_read(tmp_path: Path, bare: str) -> None:
    """Kineto writes a Python function's name without escaping it."""
    head = '{"ph": "X", "cat": "%s", "name": "%s", "pid": 99, "tid": 1, "ts": 1.0, "dur": 2.0, "args": {}}'
    path = tmp_path / "t.json"
    for category, ranges in (("python_function", 0), ("user_annotation", 1)):
        text = json.dumps(paged_trace().document())
        path.write_text(text.replace('"traceEvents": [', f'"traceEvents": [{head % (category, bare)}, ', 1))
        trace = read_trace(path)
        assert len(trace.gpu.name) == 2
        assert len(trace.spans) == ranges
        assert trace.notes == ["1 x a name with bare quotes or back-slashes: read as it stands"]


def test_what_is_no_json_is_refused_with_its_place_and_never_called_cut_off(tmp_path: Path) -> None:
    text = json.dumps(paged_trace().document())
    path = tmp_path / "t.json"
    place = text.index('"cat": "kernel"')
    path.write_text(text.replace('"cat": "kernel"', '"cat" "kernel"', 1))
    with pytest.raises(BadTrace, match=f"not JSON: expecting ':' delimiter at byte {place + 6:,}"):
        read_trace(path)


def test_a_broken_name_swallows_no_event(tmp_path: Path) -> None:
    """Where the name's end can't be told, the file is refused: the events behind it would go unseen."""
    text = json.dumps(paged_trace(FA2_RAGGED).document())
    path = tmp_path / "t.json"
    path.write_text(text.replace('"name": "cudaLaunchKernel", "pid"', '"name": "a"b, "pid"', 1))
    with pytest.raises(BadTrace, match="not JSON"):
        read_trace(path)


@pytest.mark.parametrize("word", ["-nan(ind)", "nan", "inf", "-inf", "-Infinity", "1.#INF", "-1.#IND00", "nan(0x1)"])
def test_the_words_of_c_for_numbers(tmp_path: Path, word: str) -> None:
    path = tmp_path / "t.json"
    text = json.dumps(paged_trace().document())
    path.write_text(text.replace('"stream": 7', f'"est. achieved occupancy %": {word}, "stream": 7'))
    trace = read_trace(path)
    assert len(trace.gpu.name) == 2
    assert all(math.isfinite(start) for start in trace.gpu.start)


def backwards(category: str, name: str) -> dict[str, Any]:
    return {"ph": "X", "cat": category, "name": name, "pid": 99, "tid": 1, "ts": 5000.0, "dur": -1, "args": {}}


def test_a_negative_duration_is_counted_and_said(tmp_path: Path, usage: Any) -> None:
    trace = paged_trace()
    trace.events += [backwards("user_annotation", "x"), backwards("user_annotation", "x")]
    trace.events += [backwards("gpu_memcpy", "Memcpy DtoH"), backwards("cuda_runtime", "c")]
    trace.write(tmp_path / "t.json")
    done = usage("profile", "--paged", "--from-trace", "t.json")
    assert done.code == 0
    assert "2 x user_annotation with a negative duration: left out" in done.out
    assert "1 x gpu_memcpy with a negative duration: taken as of no length" in done.out
    assert "1 x cuda_runtime with a negative duration: taken as of no length" in done.out


def test_a_kernel_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    trace = paged_trace()
    trace.events.append(backwards("kernel", FA2_DECODE))
    with pytest.raises(BadTrace, match=r"lasts -1\.0 us"):
        read_trace(trace.write(tmp_path / "t.json"))


@pytest.mark.parametrize("wanted", [(), ("replay",), ("rep*",)])
def test_a_range_that_is_judged_must_not_end_before_it_begins(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    """What ran in it would be outside of the ranges, and not be judged."""
    trace = ChromeTrace()
    with trace.span("phase.eager" if not wanted else "replay"):
        trace.kernel(FA2_DECODE)
    trace.events.append(backwards("user_annotation", "phase.replay" if not wanted else "replay"))
    with pytest.raises(BadTrace, match="ends before it begins: what ran in it is unknown"):
        recorded(trace.write(tmp_path / "t.json"), *wanted)


def test_a_range_of_nsight_systems_that_ends_before_it_begins(tmp_path: Path) -> None:
    trace = NsysTrace(tmp_path / "r.sqlite")
    begin = trace.now
    trace.kernel(FA2_DECODE)
    path = trace.span("step", begin).write()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE NVTX_EVENTS SET end = start - 5")
    assert recorded(path).notes == ("1 x NVTX_EVENTS with a negative duration: left out",)
    with pytest.raises(BadTrace, match="ends before it begins"):
        recorded(path, "step")


def test_a_number_too_big_for_a_clock_is_called_so(tmp_path: Path) -> None:
    trace = paged_trace()
    trace.events[-1]["ts"] = 10**400
    with pytest.raises(BadTrace, match="has a start or a duration beyond all clocks"):
        read_trace(trace.write(tmp_path / "t.json"))


def test_of_a_folder_what_is_no_trace_is_passed_over(tmp_path: Path) -> None:
    trace = paged_trace().write(tmp_path / "1767-TP-0.trace.json.gz")
    (tmp_path / "server_args.json").write_text('{"model_path": "x"}')
    assert find_trace(tmp_path, None) == trace
    paged_trace().write(tmp_path / "host_12.async_llm.1767.pt.trace.json.gz")
    assert find_trace(tmp_path, None) == trace
    # A damaged trace is one: it is not passed over.
    (tmp_path / "1767-TP-1.trace.json.gz").write_bytes(trace.read_bytes()[:-20])
    assert find_trace(tmp_path, 1).name == "1767-TP-1.trace.json.gz"


def test_launches_without_a_kernel_stand_in_the_last_line(tmp_path: Path, usage: Any) -> None:
    paged_trace().call("cudaLaunchKernel").write(tmp_path / "t.json")
    done = usage("profile", "--paged", "--from-trace", "t.json")
    last = "PASS: only paged attention in eager (1 kernel); 1 launch without a recorded kernel"
    assert (done.code, done.out.splitlines()[-1]) == (0, last)


def server(tmp_path: Path) -> Path:
    """Two decode steps and a prefill, within what SGLang's scheduler calls a batch."""
    trace = ChromeTrace()
    for step, kernel in (
        ("step[DECODE bs=4]", FA2_DECODE),
        ("step[EXTEND bs=4 toks=2013]", FA2_RAGGED),
        ("step[DECODE bs=8]", FA2_DECODE),
    ):
        with trace.span("scheduler.run_batch"), trace.span(step):
            trace.kernel(kernel)
    return trace.write(tmp_path / "t.json")


def test_steps_of_a_server_are_judged_by_their_mode(tmp_path: Path, usage: Any) -> None:
    phases = recorded(server(tmp_path)).phases
    assert [(phase.name, phase.demand, phase.launches()) for phase in phases] == [
        ("decode", "lenient", 2),
        ("extend", "lenient", 1),
    ]
    done = usage("profile", "--no-paged", "--self-check", "--from-trace", "t.json")
    assert done.code == 0
    assert "a ragged kernel injected into decode: stopped" in done.out
    done = usage("profile", "--paged", "--from-trace", "t.json")
    assert (done.code, "FAIL: 1 ragged kernel in extend" in done.out) == (1, True)
    # A mode that was asked for holds for all of them.
    assert usage("profile", "--no-paged", "--mode", "extend", "--from-trace", "t.json").code == 1


@pytest.mark.parametrize(
    ("wanted", "kernels"),
    [
        ("step[DECODE bs=8]", 1),
        ("[DECODE bs=8]", 1),
        ("DECODE bs=8", 1),
        ("step[DECODE*", 2),
        ("step[DECODE bs=?]", 2),
        ("step[DECODE bs=#]", 2),
        ("decode", 2),
    ],
)
def test_ranges_with_brackets_are_taken_as_they_stand(tmp_path: Path, wanted: str, kernels: int) -> None:
    phase = recorded(server(tmp_path), wanted).phases[0]
    assert (phase.name, phase.demand, phase.launches()) == (wanted, "strict", kernels)


def test_names_of_steps() -> None:
    assert server_steps(["step[DECODE bs=32]", "execute_32_context_0(x)_generation_32(y)", "z"]) == {
        "step[DECODE bs=32]": "decode"
    }
    assert server_steps(["execute_context_2(81)_generation_0(0)", "execute_context_0(0)_generation_4(4)"]) == {
        "execute_context_2(81)_generation_0(0)": "prefill",
        "execute_context_0(0)_generation_4(4)": "decode",
    }
    mixed = "execute_8192_context_9(sq8155sk8430sqsq7475785sqsk7671310)_generation_37(sq37sk34489sqsq37sqsk34489)"
    assert server_steps([mixed]) == {mixed: "mixed"}
    assert server_steps(["step", "forward", "step[decode]"]) == {}
    assert paged_steps(["extend", "decode", "target_verify", "outside"]) == ("decode", "target_verify")


def call_above(trace: ChromeTrace, category: str, name: str, **args: Any) -> None:
    """A call that lasts for all launches of the trace."""
    event = {"ph": "X", "cat": category, "name": name, "pid": 99, "tid": 1, "ts": 0.0, "dur": 1e5, "args": args}
    trace.events.append(event)


@pytest.mark.parametrize(
    ("category", "name", "args", "family"),
    [
        ("cpu_op", "sgl_kernel::fwd", {"Input Dims": [[8, 32, 128], [99, 128, 8, 128]]}, "paged"),
        ("cpu_op", "sgl_kernel::fwd", {"Input Dims": [[8, 32, 128], [64, 8, 128]]}, "ragged"),
        ("cpu_op", "_vllm_fa3_C::fwd", {"Input Dims": [[8, 32, 128], [99, 16, 8, 128]]}, "paged"),
        # Not varlen: keys of [batch, length, heads, dim], or pages.
        ("cpu_op", "sgl_kernel::fwd", {"Input Dims": [[8, 1, 32, 128], [99, 128, 8, 128]]}, "undecided"),
        ("cpu_op", "sgl_kernel::fwd", {}, "undecided"),
        ("cpu_op", "sgl_kernel::fwd", {"Input Dims": "?"}, "undecided"),
        ("cpu_op", "aten::mm", {"Input Dims": [[8, 32, 128], [99, 128, 8, 128]]}, "undecided"),
        ("python_function", "sgl_kernel/flash_attn.py(42): flash_attn_with_kvcache", {}, "paged"),
        ("python_function", r"D:\sglang\jit_kernel\flash_attention.py(7): flash_attn_with_kvcache", {}, "paged"),
        ("python_function", "sgl_kernel/flash_attn.py(266): flash_attn_varlen_func", {}, "ragged"),
        ("python_function", "mine/flash_attn.py(42): flash_attn_with_kvcache", {}, "undecided"),
    ],
)
def test_the_call_above_a_launch_tells_what_the_name_does_not(
    tmp_path: Path, category: str, name: str, args: dict[str, Any], family: str
) -> None:
    trace = ChromeTrace().kernel(FA3_VARLEN)
    call_above(trace, category, name, **args)
    (phase,) = recorded(trace.write(tmp_path / "t.json")).phases
    (use,) = phase.kernels
    assert (use.family, use.library) == (family, "flash-attention 3")


@pytest.mark.parametrize(
    ("frame", "family"),
    [
        ("sglang/srt/layers/attention/triton_ops/extend_attention.py(300): extend_attention_fwd", "ragged"),
        ("sglang/srt/layers/attention/triton_ops/prefill_attention.py(150): context_attention_fwd", "ragged"),
        ("vllm/v1/attention/ops/prefix_prefill.py(600): context_attention_fwd", "paged"),
    ],
)
def test_one_name_of_triton_in_two_servers(tmp_path: Path, frame: str, family: str) -> None:
    trace = ChromeTrace().kernel("_fwd_kernel")
    call_above(trace, "python_function", frame)
    assert recorded(trace.write(tmp_path / "t.json")).phases[0].kernels[0].family == family


def test_a_call_says_nothing_of_kernels_with_a_name_nor_of_a_graphs(tmp_path: Path) -> None:
    trace = ChromeTrace().kernel(FA2_RAGGED)
    call_above(trace, "cpu_op", "sgl_kernel::fwd", **{"Input Dims": [[8, 32, 128], [99, 128, 8, 128]]})
    trace.now = 2e5
    trace.graph(FA3_VARLEN)
    eager, replay = recorded(trace.write(tmp_path / "t.json")).phases
    assert [use.family for use in (*eager.kernels, *replay.kernels)] == ["ragged", "undecided"]


def test_an_undecided_kernel_is_neither_a_pass_nor_a_failure(tmp_path: Path, usage: Any) -> None:
    ChromeTrace().kernel(FA3_VARLEN).write(tmp_path / "t.json")
    for options in (["--paged"], ["--no-paged"], ["--prefix"]):
        done = usage("profile", *options, "--from-trace", "t.json")
        assert done.code == 3
        assert "UNDECIDED: 1 undecided kernel in eager: flash::FlashAttnFwdSm90" in done.out
        assert "a trace with input shapes or Python stacks decides it" in done.out
        assert '\\bflash::FlashAttnFwdSm90\\b\' = { family = "?"' in done.out
    said = json.loads(usage("profile", "--paged", "--from-trace", "t.json", "--format", "json").out)
    assert (said["verdict"], said["exit_code"]) == ("undecided", 3)
    assert [phase["state"] for phase in said["phases"]] == ["undecided"]
    # Beside one that must not be there it is a failure.
    ChromeTrace().kernel(FA3_VARLEN).kernel(FA2_RAGGED).write(tmp_path / "t.json")
    assert usage("profile", "--paged", "--from-trace", "t.json").code == 1


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("void acme::secret_kernel<4>(float*)", "benign"),
        ("_acme_pick_topk_ids", "topk"),
        ("void acme::gemm_attention<float>(float*)", "?"),
        ("triton_poi_fused_add_flash_attention_0", "?"),
        ("acme_decode_kernel", "?"),
        ("void acme::gemm<acme::PagedAttentionTraits>(float*)", "paged"),
        ("acme_quant_ragged_kernel", "ragged"),
        ("acme_rope_mla_merge", "split_merge"),
    ],
)
def test_the_line_to_paste_says_what_the_words_say(tmp_path: Path, usage: Any, name: str, family: str) -> None:
    from autotune_cli.profiling.classify import line_to_paste

    assert f'{{ family = "{family}", ' in line_to_paste(name)


def test_a_line_that_was_left_open_is_refused_until_it_is_filled_in(tmp_path: Path, usage: Any) -> None:
    paged_trace("void acme::gemm_attention<float>(float*)").write(tmp_path / "t.json")
    done = usage("profile", "--paged", "--from-trace", "t.json")
    assert (done.code, "1 unknown kernel in eager: acme::gemm_attention" in done.out) == (1, True)
    (line,) = [line.strip() for line in done.out.splitlines() if "= {" in line]
    (tmp_path / "own.toml").write_text(line)
    done = usage("profile", "--paged", "--from-trace", "t.json", "--rules", "own.toml")
    assert (done.code, "family '?' is none of paged" in done.err) == (2, True)
    (tmp_path / "own.toml").write_text(line.replace('"?"', '"paged"', 1))
    assert usage("profile", "--paged", "--from-trace", "t.json", "--rules", "own.toml").code == 0
