"""The data of servers: what they can be told, and what they can't combine."""

from __future__ import annotations

import pytest
from planning_runs import H100, candidate, fa3, result, workload

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.kernels.workload import OPERATIONS
from autotune_cli.planning.comparing import why_untold
from autotune_cli.planning.configurations import Servers
from autotune_cli.planning.pins import parse_pins
from autotune_cli.planning.server import load_server, server_names

SGLANG = load_server("sglang")


def test_a_version_whose_rules_nobody_read_is_told() -> None:
    read = "read in SGLang 0.5.10.post1, 0.5.16 and 0.5.23"
    assert [SGLANG.unread(version) for version in (None, "0.5.10.post1", "0.5.13", "0.5.23")] == [""] * 4
    assert SGLANG.unread("0.5.10") == f"SGLang 0.5.10 is older than all whose rules are known: {read}"
    assert SGLANG.unread("0.6.0rc1") == f"SGLang 0.6.0rc1 is newer than all whose rules are known: {read}"
    # Of commits nobody knows which is newer.
    assert load_server("vllm").unread("99.0") == ""


@pytest.mark.parametrize("name", server_names())
def test_a_file_names_what_the_engines_table_knows(name: str) -> None:
    server = load_server(name)
    table = server.table
    known = {knob.name for knob in server.knob}
    assert server.engine == name
    for knob in server.knob:
        assert knob.source
        assert knob.option in table.options if knob.option else knob.variable in table.variables
        for value in server.values(knob):
            if value:
                # As a baseline: so the plan can be measured.
                typed = knob.written(value)
                parse_baseline(f"{typed} {name}" if knob.variable else f"{name} {typed}")
    for option, knobs in server.together.items():
        assert option in table.options
        assert set(knobs) <= known
    conditions = known | set(table.options)
    for rule in server.rule:
        assert rule.reason
        assert rule.source
        assert {*rule.options, *rule.variables, *rule.requires} <= conditions
        for each, values in rule.requires.items():
            knob = next(knob for knob in server.knob if knob.name == each)
            usual = () if knob.variable else (table.defaults[each],)
            assert set(values) <= {*server.values(knob), *usual}
        assert all(any(operation.startswith(name) for operation in OPERATIONS) for name in rule.operations)
    backends = {backend.name for backend in REGISTRY.all()}
    for row in server.untold:
        assert row.source
        for each in row.backends:
            assert any(backend == each or backend.startswith(f"{each}.") for backend in backends), each


@pytest.mark.parametrize(
    ("values", "version", "reason"),
    [
        ({"page-size": "64"}, "0.5.23", None),
        ({"decode-attention-backend": "flashmla", "page-size": "64"}, "0.5.23", None),
        ({"decode-attention-backend": "flashmla", "page-size": "16"}, "0.5.23", "FlashMLA takes pages of 64 only"),
        ({"decode-attention-backend": "flashmla"}, "0.5.23", "FlashMLA takes pages of 64 only"),
        ({"decode-attention-backend": "cutlass_mla", "page-size": "128"}, "0.5.16", None),
        ({"decode-attention-backend": "cutlass_mla", "page-size": "128"}, "0.5.23", "has no cutlass_mla"),
        ({"decode-attention-backend": "trtllm_mha", "page-size": "128"}, "0.5.16", "pages of 16, 32 or 64"),
        ({"decode-attention-backend": "trtllm_mha", "page-size": "128"}, "0.5.23", None),
        ({"decode-attention-backend": "trtllm_mha"}, "0.5.23", "pages of 16, 32, 64 or 128"),
        ({"SGLANG_FLASHINFER_USE_TENSOR_CORE": "true"}, "0.5.23", "only SGLang's flashinfer backend reads"),
        (
            {"SGLANG_FLASHINFER_USE_TENSOR_CORE": "true", "decode-attention-backend": "flashinfer"},
            "0.5.23",
            None,
        ),
        ({"decode-attention-backend": "fa4"}, "0.5.23", None),  # on Hopper
    ],
)
def test_what_cant_be_combined(values: dict[str, str], version: str, reason: str | None) -> None:
    servers = Servers(SGLANG, version, H100, [result(workload("decode"), candidate("x", 1.0))], "")
    rule = servers.broken(values)
    assert (rule is None) == (reason is None)
    if rule is not None:
        assert str(reason) in rule.reason


def test_rules_ask_for_the_gpu() -> None:
    b200 = H100.model_copy(update={"device": "NVIDIA B200", "capability": (10, 0)})
    servers = Servers(SGLANG, "0.5.23", b200, [result(workload("decode"), candidate("x", 1.0))], "")
    assert servers.broken({"decode-attention-backend": "fa4", "page-size": "128"}) is None
    rule = servers.broken({"decode-attention-backend": "fa4"})
    assert rule is not None
    assert "pages of 128" in rule.reason


def test_settings_of_a_version_that_lacks_them_are_no_settings() -> None:
    assert {knob.name for knob in SGLANG.knob} - {knob.name for knob in SGLANG.knobs("0.5.10.post1")} == {
        "SGLANG_FLASHINFER_USE_PAGED", "dsa-topk-backend", "SGLANG_DSA_FUSE_TOPK",
    }  # fmt: skip
    assert len(SGLANG.knobs("0.5.16")) == len(SGLANG.knobs(None)) == len(SGLANG.knob)


def test_two_backends_that_agree_are_one_option() -> None:
    servers = Servers(SGLANG, "0.5.23", H100, [result(workload("decode"), candidate("x", 1.0))], "")
    both = {"prefill-attention-backend": "fa3", "decode-attention-backend": "fa3", "page-size": "64"}
    assert servers.typed(both) == "sglang --attention-backend fa3 --page-size 64"
    apart = {**both, "decode-attention-backend": "flashinfer", "SGLANG_FLASHINFER_USE_TENSOR_CORE": "true"}
    name = servers.typed(apart)
    assert name == (
        "SGLANG_FLASHINFER_USE_TENSOR_CORE=true sglang --prefill-attention-backend fa3 "
        "--decode-attention-backend flashinfer --page-size 64"
    )
    assert servers.baseline(apart).name == parse_baseline(name).name


def test_pins() -> None:
    assert parse_pins(SGLANG, "0.5.23", ["page_size=64", "--attention-backend=fa3"]) == {
        "page-size": "64", "prefill-attention-backend": "fa3", "decode-attention-backend": "fa3",
    }  # fmt: skip
    assert parse_pins(SGLANG, None, ["page-size=1", "sglang_flashinfer_use_paged=default"]) == {
        "page-size": "", "SGLANG_FLASHINFER_USE_PAGED": "",
    }  # fmt: skip
    for text, said in (
        ("pagesize=64", "unknown setting of SGLang 'pagesize'; did you mean 'page-size'?"),
        ("page_size=63", "unknown value of SGLang's page-size '63'; did you mean '64'?"),
        ("attention_backend=fa", "unknown value of SGLang's attention-backend 'fa'"),
    ):
        with pytest.raises(UnknownName) as error:
            parse_pins(SGLANG, None, [text])
        assert said in str(error.value)
    for texts, said in ((["page_size"], "page-size=VALUE"), (["page_size=64", "page_size=16"], "pinned to two values")):
        with pytest.raises(BadField) as bad:
            parse_pins(SGLANG, None, texts)
        assert said in str(bad.value)
    # A setting that the version doesn't have.
    with pytest.raises(UnknownName):
        parse_pins(SGLANG, "0.5.10", ["dsa-topk-backend=torch"])


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (
            "sgl_kernel.fa3(page_size=64,num_splits=4,scheduler_metadata=true)",
            "leaves the number of splits to the kernel",
        ),
        ("sgl_kernel.fa3(page_size=64,num_splits=0,scheduler_metadata=false)", "by a rule of its own"),
        ("flashinfer.decode(path=tensor_cores,page_size=16,split=none,pdl=none)", "plans with page size 1"),
        ("triton.decode(page_size=64,block=64,warps=4,stages=3,splits=16)", "a kernel of this program"),
        ("flashinfer.batch_attention(page_size=16)", "no setting of SGLang runs flashinfer.batch_attention"),
    ],
)
def test_why_the_best_cant_be_told(best: str, said: str) -> None:
    servers = Servers(SGLANG, "0.5.23", H100, [result(workload("decode"), candidate("x", 1.0))], "")
    assert said in why_untold(servers, best, fa3("decode", 64))
