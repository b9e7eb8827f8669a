"""Names of kernels as profilers print them, each with its family; and what each rule and each order is there for.

``tests/data/kernels/names.tsv``: a name, the families that may be said of it (several where the name can't tell), what
the rules say, the library and the role. ``fa3.tsv.gz``: every kernel of sglang-kernel 0.4.5's FlashAttention 3, its
family by the flags of its main loop.
"""

from __future__ import annotations

import ast
import gzip
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from autotune_cli import kernels
from autotune_cli.profiling.classify import Classifier, KernelKind, load_classifier
from autotune_cli.profiling.kernel_name import KernelName, parse
from autotune_cli.profiling.rules import Rule, project_rules

FOLDER = Path(__file__).parents[1] / "data" / "kernels"
RULES = project_rules()
CLASSIFY = Classifier(RULES)
BY_TMA = "dense or paged by TMA"


class Listed(NamedTuple):
    name: str
    true: str
    said: str
    library: str
    role: str


LISTED = [Listed(*line.split("\t")) for line in (FOLDER / "names.tsv").read_text().splitlines()[1:]]


@cache
def fa3() -> list[tuple[str, str]]:
    lines = gzip.decompress((FOLDER / "fa3.tsv.gz").read_bytes()).decode().splitlines()[1:]
    return [(name, family) for name, family in (line.split("\t") for line in lines)]


@cache
def parsed() -> list[KernelName]:
    """The listed names, and enough of FA3's."""
    return [parse(name) for name in [*(row.name for row in LISTED), *(name for name, _ in fa3()[::20])]]


def said(kind: KernelKind) -> tuple[str, str, str]:
    return kind.family, kind.library, kind.role


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name[:60])
def test_a_listed_name_has_its_family(row: Listed) -> None:
    assert said(CLASSIFY(row.name)) == (row.said, row.library, row.role)
    assert row.said in row.true.split("|") or (row.said == "undecided" and "|" in row.true)
    assert CLASSIFY(row.name).reason


def test_every_kernel_of_fa3_is_told_by_its_main_loop_alone() -> None:
    """The epilogue has flags of its own behind an architecture: 440 FP8 kernels were called paged for them."""
    wrong = [name for name, family in fa3() if CLASSIFY(name).family != (family, "undecided")[family == BY_TMA]]
    assert len(fa3()) == 4492
    assert not wrong


def test_no_name_fits_two_rules_that_name_kernels() -> None:
    """So the order of these files, and in them, means nothing."""
    named = [rule for rule in RULES if rule.tier == "named"]
    for name in parsed():
        assert sum(rule.fits(name) for rule in named) <= 1, name.whole


def test_rules_that_name_kernels_are_sorted_in_their_files() -> None:
    """As their order means nothing, it is the one in which they are found."""
    by_file: dict[str, list[list[str]]] = {}
    for rule in RULES:
        if rule.tier == "named":
            parts = dict(rule.parts)
            texts = [parts[part].pattern if part in parts else "" for part in ("base", "space", "first", "args")]
            by_file.setdefault(rule.path, []).append(texts)
    assert len(by_file) == 8
    for path, texts in by_file.items():
        assert texts == sorted(texts), path


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.path}-{rule.reason[:30]}")
def test_without_a_rule_a_listed_name_is_taken_for_something_else(rule: Rule) -> None:
    others = Classifier([other for other in RULES if other is not rule])
    mine = [name.whole for name in parsed() if rule.fits(name)]
    assert any(said(others(name)) != said(CLASSIFY(name)) for name in mine)


def test_rules_of_one_tier_that_fit_one_name_are_in_the_order_that_is_right() -> None:
    """Swapped, a listed name is taken for something else; where no name fits both, the order means nothing."""
    for tier in ("words", "everyday"):
        rules = [rule for rule in RULES if rule.tier == tier]
        rest = [rule for rule in RULES if rule.tier != tier]
        for first, second in pairwise(rules):
            fitting = [name for name in parsed() if first.fits(name) and second.fits(name)]
            decided = [name.whole for name in fitting if next(rule for rule in RULES if rule.fits(name)) is first]
            both = [name for name in decided if CLASSIFY(name).family != "unknown"]
            swapped = [{first: second, second: first}.get(rule, rule) for rule in rules]
            changed = Classifier([*rest, *swapped])
            assert all(changed(name) != CLASSIFY(name) for name in both)


def test_the_order_within_the_ordered_files() -> None:
    """Everyday rules often overlap in names that nobody has listed: what is more special comes first."""
    reasons = {tier: [rule.reason for rule in RULES if rule.tier == tier] for tier in ("words", "everyday")}
    assert reasons["words"] == [
        "linear attention: a state in the place of keys",
        "what stands before or after attention in a layer",
        "builds indices or a schedule, or scores keys",
        "moves keys and values",
        "joins the splits of one call",
        "selection of keys",
        "attention over pages",
        "attention over contiguous keys",
        "training",
        "attention by its words, which don't say whether keys are paged",
        "attention by its words alone, which don't say whether keys are paged",
    ]
    assert reasons["everyday"] == [
        "copy or fill",
        "softmax",
        "end of a matmul",
        "experts: routing, sorting, products",
        "experts, by its words",
        "matrix product",
        "matrix product, by its namespace",
        "between GPUs",
        "between GPUs, by its namespace",
        "norm, rotation, activation or embedding",
        "norm, rotation, activation or quantisation",
        "a state in the place of keys, or its convolution",
        "scales and casts",
        "choice of the next token",
        "bookkeeping of requests",
        "elementwise, copies, reductions, sorts, by its namespace",
        "elementwise, copies, reductions, sorts",
        "fused elementwise",
    ]


def test_tiers_come_in_their_order_whatever_order_rules_are_given_in() -> None:
    backwards = Classifier(tuple(reversed(RULES)))
    for tier in ("named", "words", "everyday"):
        assert [rule.tier for rule in backwards.rules].index(tier) == [rule.tier for rule in CLASSIFY.rules].index(tier)
    # Words before what is everyday, and names before words.
    assert CLASSIFY("_acme_paged_attn_gemm_kernel").family == "paged"
    assert CLASSIFY("reshape_and_cache_kernel_flash").library == "sglang, vllm"


@pytest.mark.parametrize(
    ("everyday", "odd", "word"),
    [
        ("void acme::gemm<float>(float*)", "void acme::gemm<acme::FlashTraits>(float*)", "flash"),
        ("acme_rms_norm", "acme_rms_norm_sage", "sage"),
        ("void at::native::foo<int>(X)", "void at::native::foo<acme::MlaFunctor>(X)", "mla"),
        ("triton_poi_fused_add_0", "triton_poi_fused_add_attention_0", "attent"),
        ("acme_quant_kernel", "acme_quant_decode_kernel", "decode"),
        ("ncclDevKernel_AllReduce", "ncclDevKernel_PagedAllReduce", "paged"),
    ],
)
def test_a_name_that_speaks_of_attention_is_never_everyday(everyday: str, odd: str, word: str) -> None:
    assert CLASSIFY(everyday).family == "benign"
    kind = CLASSIFY(odd)
    assert kind.family == "unknown"
    assert f"{word!r} in the name speaks of attention" in kind.reason


@pytest.mark.parametrize(
    ("everyday", "step"),
    [
        ("acme_quant_kernel", "acme_fwd_grouped_quant_kernel"),
        ("acme_softmax_kernel", "acme_qk_softmax_pv_kernel"),
    ],
)
def test_a_step_of_attention_is_not_everyday_because_of_how_it_is_done(everyday: str, step: str) -> None:
    """A forward pass that reads quantised keys is no quantisation."""
    assert CLASSIFY(everyday).family == "benign"
    assert CLASSIFY(step).family == "unknown"


@pytest.mark.parametrize(
    ("does", "moves"),
    [
        ("acme_paged_attn_kernel", "acme_paged_attn_quantize_q"),
        ("acme_topk_kernel", "acme_topk_to_slots_kernel"),
        ("acme_varlen_attention_kernel", "acme_varlen_attention_reshape_kernel"),
        ("acme_attn_splitkv_reduce", "acme_gemm_splitk_reduce"),
        ("acme_causal_attention_f16", "acme_causal_attention_transpose_f16"),
    ],
)
def test_a_verb_makes_it_something_else(does: str, moves: str) -> None:
    """What prepares, casts or moves what attention reads has attention's words in its name too."""
    assert CLASSIFY(does).family in ("paged", "topk", "ragged", "split_merge", "undecided")
    assert CLASSIFY(moves).family in ("unknown", "benign", "index")


def test_words_stand_for_themselves() -> None:
    """``Layout`` and ``template`` are no MLA, ``message`` no Sage, and FlashInfer's norm no flash attention."""
    for name in (
        "void acme::gemm<GemmLayout, KernelTemplate, Message>(X)",
        "void flashinfer::norm::RMSNormKernel<8u, __nv_bfloat16>(X)",
    ):
        assert CLASSIFY(name).family == "benign"


def test_every_rule_has_a_library_a_reason_and_a_source() -> None:
    for rule in RULES:
        assert rule.library, rule.shown
        assert rule.reason, rule.shown
        assert rule.source, rule.shown


@pytest.mark.parametrize(
    ("whole", "space", "base", "arguments"),
    [
        ("void a::b<1>::c<d<e, f>, (g)2>(h<i>)", "a::b", "c", ("d<e, f>", "(g)2")),
        ("void cutlass::device_kernel<x::enable_sm90<y::K<1> > >(y::P)", "y", "K", ("1",)),
        ("void ck_tile::kentry<256, 1, ck_tile::gfx9_t<X> >(K)", "ck_tile", "gfx9_t", ("X",)),
        ("void (anonymous namespace)::k<(anonymous namespace)::P>(int)", "", "k", ("P",)),
        ("std::enable_if<!(false), void>::type i::g::kernel<int, 6>(P<T>)", "i::g", "kernel", ("int", "6")),
        ("std::enable_if<T2>(int)0&&C<T1>::exists, void>::type v::k<int>(T1 *)", "v", "k", ("int",)),
        ("void v::k<int, &(float v::silu(float const&))>(int)", "v", "k", ("int", "&(float v::silu(float const&))")),
        ("void a::k<a::f(B&)::{lambda()#1}::operator()() const::{lambda(c)#2}>(int)", "a", "k", None),
        ("void a::k<b, c<d, e", "a", "k", ("b", "c<d, e")),
        ("_fwd_kernel_0d1d2d3c4de", "", "_fwd_kernel", ()),
        ("kernel_unified_attention_3d", "", "kernel_unified_attention_3d", ()),
        ("k.kd", "", "k", ()),
        ("void k<1> [clone .kd]", "", "k", ("1",)),
        ("_ZN1a1kILi2EN1b1cIfEEEEvT_.kd", "a", "k", ("2", "b::c<float>")),
        ("Memcpy DtoH (Device -> Pinned)", "", "Memcpy DtoH", ()),
        ("", "", "", ()),
    ],
)
def test_a_name_falls_into_its_parts(whole: str, space: str, base: str, arguments: tuple[str, ...] | None) -> None:
    name = parse(whole)
    assert (name.space, name.base) == (space, base)
    assert arguments is None or name.arguments == arguments


@pytest.mark.parametrize("letters", range(0, 400, 7))
def test_a_name_may_be_cut_off_anywhere(letters: int) -> None:
    """What is left is never taken for a kernel that must not be missed, and never stops the program."""
    fa3_dense = next(name for name, family in fa3() if family == "dense")
    assert CLASSIFY(fa3_dense[:letters]).family in ("undecided", "dense", "unknown", "benign")
    assert CLASSIFY(fa3_dense[: letters + 60]).family in ("undecided", "dense", "unknown")
    mangled = next(row.name for row in LISTED if row.name.startswith("_ZN7ck_tile6kentry") and len(row.name) > 500)
    assert CLASSIFY(mangled[:letters]).family in ("paged", "undecided", "unknown", "benign")


def test_classes_are_found_once_a_name() -> None:
    """A trace has millions of kernels and some hundred names."""
    classify = load_classifier()
    assert classify("k") is classify("k")


def test_every_triton_kernel_of_our_own_has_a_family() -> None:
    """``profile --paged --backend triton.decode`` failed for a kernel that counts keys: what is unknown fails."""
    expected = {"paged_decode_kernel": "paged", "paged_attention_extend_kernel": "paged"}
    expected |= {"decode_split_merge_kernel": "split_merge"}
    folder = Path(kernels.__file__).resolve().parent
    launched = {
        function.name
        for source in folder.glob("*/backends/_triton*.py")
        for function in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef) and function.name.endswith("_kernel") and function.decorator_list
    }
    assert len(launched) >= 7
    assert {name: CLASSIFY(name).family for name in launched} == dict.fromkeys(launched, "index") | expected
