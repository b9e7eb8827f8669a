"""Every flag that is exported, or could be, is held against SGLang's own command line, of each version."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from sglang_parser import VERSIONS, Refused, names_variable, parser_of

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_runs import real

from autotune_cli.exporting.launch import arguments, variables
from autotune_cli.planning.plan import Request, plan_of
from autotune_cli.planning.server import KnobRow, load_server

SERVER = load_server("sglang")
PATH = ["--model-path", "meta-llama/Llama-3.1-8B"]


def accepted(version: str, words: list[str]) -> bool:
    try:
        parser_of(version).parse_args([*PATH, *words])
    except Refused:
        return False
    return True


def settings(version: str) -> list[tuple[KnobRow, str]]:
    """All that a plan can come to in a version: knobs, and the options that stand for several."""
    knobs = {knob.name: knob for knob in SERVER.knobs(version)}
    found = [(knob, value) for knob in knobs.values() for value in SERVER.values(knob) if value]
    for option, names in SERVER.together.items():
        knob = KnobRow(option=option, source="together")
        found += [(knob, value) for value in SERVER.values(knobs[names[0]]) if value]
    never = {
        value
        for rule in SERVER.rule
        if rule.is_of(version) and () in rule.requires.values()
        for values in rule.options.values()
        for value in values
    }
    return [(knob, value) for knob, value in found if value not in never]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_parser_that_is_read_refuses_what_sglang_refuses(version: str) -> None:
    assert len(vars(parser_of(version))["_actions"]) > 200
    assert accepted(version, ["--page-size", "64", "--tp-size", "8", "--enable-deterministic-inference"])
    for words in (
        ["--attention-backend", "fa5"],
        ["--page-size", "large"],
        ["--pages", "64"],
        ["--decode-attention-backend"],
        ["--kv-cache-dtype", "float8_e4m3fn"],
        ["--enable-deterministic-inference", "true"],
    ):
        assert not accepted(version, words), words


@pytest.mark.parametrize("version", VERSIONS)
def test_every_setting_of_a_version_is_one_that_it_takes(version: str) -> None:
    told = settings(version)
    assert len(told) > 40
    for knob, value in told:
        if knob.variable:
            assert names_variable(version, knob.variable), knob.variable
        else:
            assert accepted(version, shlex.split(knob.written(value))), knob.written(value)


def test_settings_that_a_version_lacks_are_refused_by_it() -> None:
    """So that the bounds of versions in the data are its own."""
    assert not accepted("0.5.10.post1", ["--dsa-topk-backend", "torch"])
    for variable in ("SGLANG_FLASHINFER_USE_PAGED", "SGLANG_DSA_FUSE_TOPK"):
        assert not names_variable("0.5.10.post1", variable)
        assert names_variable("0.5.16", variable)
    assert accepted("0.5.16", ["--attention-backend", "cutlass_mla"])
    assert not accepted("0.5.23", ["--attention-backend", "cutlass_mla"])


CASES = [
    ("llama-3.1-8b", "h100", ()),
    ("llama-3.1-8b", "h100", ("prefill-attention-backend=fa3", "decode-attention-backend=flashinfer")),
    ("llama-3.1-8b", "h200", ("SGLANG_FLASHINFER_USE_PAGED=1",)),
    ("llama-3.1-8b-fp8", "h100", ()),
    ("llama-3.1-70b-tp8", "h200", ()),
    ("gpt-oss-120b", "h100", ()),
    ("deepseek-v3.2", "h100", ("dsa-topk-backend=torch",)),
]
# Before 0.5.16 a decode step had no scheduler metadata, and --dsa-topk-backend and USE_PAGED are not that old.
OLDER = [CASES[0], CASES[1], CASES[4]]


@pytest.mark.parametrize(
    ("version", "name", "device", "pins"),
    [(version, *case) for version in VERSIONS for case in (CASES if version == VERSIONS[-1] else OLDER)],
)
def test_what_is_exported_is_accepted(version: str, name: str, device: str, pins: tuple[str, ...]) -> None:
    plan = plan_of(real(name, device), Request(engine="sglang", version=version, pins=pins))
    words = [word for text, _ in arguments(plan) for word in shlex.split(text)]
    parsed = parser_of(version).parse_args([*PATH, *words])
    for setting in plan.settings:
        if not setting.variable:
            assert str(getattr(parsed, setting.name.replace("-", "_"))) == setting.value
    for text, _ in variables(plan):
        assert names_variable(version, text.partition("=")[0])
    assert getattr(parsed, "tp_size", None) in (None, 8) or "--tp-size" not in words
    if name == "llama-3.1-8b-fp8":
        assert parsed.kv_cache_dtype == "fp8_e4m3"
