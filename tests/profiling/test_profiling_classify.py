"""Kernel families: the rules on names as they are recorded, and rules files of users."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trace_builders import (
    CUDNN,
    FA2_DECODE,
    FA2_PAGED,
    FA2_RAGGED,
    FA3_PAGED,
    FA3_RAGGED,
    FA3_SINGLE,
    FILL,
    GEMM,
    MERGE,
    SPLIT_MERGE,
    STRANGE,
    TOPK,
    TORCH_SOFTMAX,
)

from autotune_cli.profiling.classify import UNKNOWN, line_to_paste, load_classifier, parse_rules
from autotune_cli.profiling.errors import BadRules
from autotune_cli.profiling.kernel_name import base_name, parse, pattern_of, short_name
from autotune_cli.profiling.names import demangle

FLASH3 = (
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<"
    "2, cute::tuple<cute::C<1>, cute::C<1>, cute::C<1> >, cute::tuple<cute::C<64>, cute::C<128>, cute::C<128> >, 128, "
    "cutlass::bfloat16_t, float, cutlass::arch::Sm90, true, false, false, true, {paged}, false, false, true, true> >"
)
MLA = (
    "flashinfer::mla::hopper::BatchMLAPageAttentionHopperKernel<flashinfer::mla::hopper::HopperKernelTraits<true, 2u> >"
)

CASES = [
    (FA2_PAGED, "paged", "flashinfer fa2"),
    (FA2_RAGGED, "ragged", "flashinfer fa2"),
    (FA2_DECODE, "paged", "flashinfer fa2"),
    (FA3_PAGED, "paged", "flashinfer fa3"),
    (FA3_RAGGED, "ragged", "flashinfer fa3"),
    (FA3_SINGLE, "dense", "flashinfer fa3"),
    (FA3_PAGED.replace("SparseCollective", "SparseTmaCollective"), "paged", "flashinfer fa3"),
    (FA3_PAGED.replace("PrefillWith", "FP8PrefillWith").replace("Sparse", "FP8Sparse"), "paged", "flashinfer fa3"),
    (
        FA3_RAGGED.replace("PrefillWith", "FP8PrefillWith").replace("CollectiveMain", "FP8CollectiveMain"),
        "ragged",
        "flashinfer fa3",
    ),
    (f"void {MLA}(Params)", "paged", "flashinfer mla"),
    (
        "void flashinfer::mla::BatchMLAPagedAttentionKernel<KernelTraits<1> >()",
        "paged",
        "flashinfer mla",
    ),
    (
        "void flashinfer::PersistentKernelTemplate<flashinfer::BlockBatchPagedAttentionPersistent<X>, Y>()",
        "paged",
        "flashinfer",
    ),
    ("void flashinfer::SinglePrefillWithKVCacheKernel<X>(P)", "dense", "flashinfer fa2"),
    ("void flashinfer::PODWithKVCacheTensorKernel<X>(P)", "ragged", "flashinfer"),
    ("void flashinfer::BatchPODWithKVCacheTensorKernel<X>(P)", "paged", "flashinfer"),
    ("fmha_v2_flash_attention_bf16_64_128_S_q_paged_kv_128_causal_tma_ws_sm90_kernel", "paged", "fmha_v2"),
    ("fmha_v2_flash_attention_bf16_64_128_S_q_k_v_128_causal_tma_ws_sm90_kernel", "ragged", "fmha_v2"),
    ("kernel_mha(unsigned int, float)", "paged", "xqa"),
    (FLASH3.format(paged="true"), "paged", "flash-attention 3"),
    (FLASH3.format(paged="false"), "undecided", "flash-attention 3"),
    (FLASH3.replace("true, {paged}", "false, {paged}").format(paged="false"), "dense", "flash-attention 3"),
    (
        FLASH3.replace("true", "(bool)1").replace("false", "(bool)0").format(paged="(bool)1"),
        "paged",
        "flash-attention 3",
    ),
    (CUDNN, "dense", "torch sdpa"),
    ("void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<128> >(P)", "dense", "torch sdpa"),
    (
        "fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention::AttentionKernel::Params)",
        "dense",
        "torch sdpa",
    ),
    (MERGE, "merge", "flashinfer"),
    ("merge_state_kernel", "merge", "sglang, vllm"),
    (SPLIT_MERGE, "split_merge", "flashinfer"),
    ("_fwd_grouped_kernel_stage1", "paged", "sglang triton"),
    ("_fwd_kernel_stage2", "split_merge", "sglang triton"),
    ("_fwd_kernel_unified", "paged", "sglang triton"),
    ("_fwd_kernel", "undecided", "sglang triton"),
    ("create_flashinfer_kv_indices_triton", "index", "sglang triton"),
    ("kernel_unified_attention_2d", "paged", "vllm"),
    (TOPK, "topk", "flashinfer"),
    ("void (anonymous namespace)::topk_kernel(float const*, int*)", "topk", "sgl_kernel"),
    ("(anonymous namespace)::topk_transform_prefill_ragged_kernel(X)", "topk", "sgl_kernel"),
    ("void at::native::sbtopk::gatherTopK<float, unsigned int, 2, false>(X)", "topk", "torch"),
    ("void moe::dev::topkGatingSoftmax<float, 8>(float*)", "benign", "moe"),
    (FILL, "benign", "torch"),
    (GEMM, "benign", "matmul"),
    ("void flashinfer::norm::FusedAddRMSNormKernel<8u, __nv_bfloat16>(X)", "benign", "model"),
    ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "benign", "communication"),
]


@pytest.mark.parametrize(("name", "family", "library"), CASES)
def test_a_recorded_name_has_its_family(name: str, family: str, library: str) -> None:
    kind = load_classifier()(name)
    assert (kind.family, kind.library) == (family, library)
    assert kind.reason


def test_words_alone_do_not_tell_fa3_apart() -> None:
    """The kernel's own name is one and the same: only the template argument differs."""
    assert base_name(FA3_PAGED) == base_name(FA3_RAGGED)
    assert load_classifier()(FA3_PAGED) != load_classifier()(FA3_RAGGED)


def test_what_no_rule_knows_is_unknown() -> None:
    assert load_classifier()(STRANGE) is UNKNOWN


def test_mangled_names_are_demangled() -> None:
    name = "_ZN10flashinfer16MergeStateKernelILj8E13__nv_bfloat16S1_EEvPT0_PfS3_S4_PT1_S4_jj"
    if demangle(name) == name:
        pytest.skip("no libstdc++ on this machine")
    assert load_classifier()(name).family == "merge"
    assert demangle("_Znonsense") == "_Znonsense"


def test_softmax_and_matmul_have_roles() -> None:
    assert load_classifier()(TORCH_SOFTMAX).role == "softmax"
    assert load_classifier()("void (anonymous namespace)::softmax_warp_forward<float, float>(X)").role == "softmax"
    assert load_classifier()(GEMM).role == "matmul"
    assert load_classifier()(FILL).role == "elementwise"


def test_extra_rules_come_first(tmp_path: Path) -> None:
    file = tmp_path / "extra.toml"
    file.write_text(line_to_paste(STRANGE) + '\n\'\\bMergeStateKernel\\b\' = { family = "index", library = "x" }\n')
    classify = load_classifier([file])
    assert classify(STRANGE).family == "benign"
    assert classify(MERGE).family == "index"
    assert classify(FA2_PAGED).family == "paged"


@pytest.mark.parametrize(
    "name", [STRANGE, "a.b[c]", "it's(int)", "void (anonymous namespace)::k<1>(int)", "+", FA3_PAGED]
)
def test_the_line_to_paste_is_a_rule_that_fits(name: str) -> None:
    (rule,) = parse_rules(line_to_paste(name), "x")
    assert rule.family == ("paged" if name == FA3_PAGED else "benign")
    assert rule.fits(parse(name))


def test_the_line_to_paste_fits_any_template_and_no_other_kernel() -> None:
    pattern = re.compile(pattern_of(STRANGE))
    assert pattern.search("void acme::secret_kernel<9, half>(half*)")
    assert not pattern.search("void acme::secret_kernel_two<9>(half*)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a' = 3", "not of the form"),
        ("'a' = { family = \"pagd\" }", "did you mean 'paged'"),
        ("'a' = { family = \"unknown\" }", "none of"),
        ("'a' = { library = \"x\" }", "family None"),
        ('\'a\' = { family = "paged", colour = "red" }', "unknown key 'colour'"),
        ("'a' = { family = \"paged\", reason = 3 }", "reason must be text"),
        ('\'a\' = { family = "paged", role = "king" }', "role 'king'"),
        ("'(' = { family = \"paged\" }", "is no regular expression"),
        ("a b c", "not TOML"),
    ],
)
def test_a_bad_rules_file_names_itself_and_the_fault(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(BadRules, match=re.escape(message)) as caught:
        load_classifier([file])
    assert "bad.toml" in str(caught.value)


def test_a_rules_file_that_is_not_there() -> None:
    with pytest.raises(BadRules, match="no such file"):
        load_classifier([Path("/nonexistent/rules.toml")])


def test_short_names_show_what_tells_kernels_apart() -> None:
    assert short_name(FA2_PAGED) == "BatchPrefillWithPagedKVCacheKernel"
    assert short_name(FA3_RAGGED).startswith("PrefillWithKVCacheKernel<CollectiveMainloop<RaggedParams")
    assert short_name(FA3_PAGED).startswith("PrefillWithKVCacheKernel<SparseCollectiveMainloop<")
    assert len(short_name("x" * 500)) == 72
