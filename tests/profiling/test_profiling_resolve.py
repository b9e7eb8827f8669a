"""SGLang's paths: reference/sglang.md 1.1 as a table."""

from __future__ import annotations

import itertools

import pytest

from autotune_cli.errors import UnknownName
from autotune_cli.profiling.resolve import FORCE_PAGED, MODES, forced_paged, parse_mode, resolve

PAIR = ("ragged", "paged", "merge")
FLAGS = ("deterministic", "multimodal", "multi_item_scoring", "piecewise", "forced_paged")

# mode, flags, planned, executed, wrappers planned, kernels a layer
GOLDEN = [
    ("decode", {}, "decode", "decode", ("decode",), ("paged",)),
    ("decode", {"graph": True}, "decode", "decode", ("decode",), ("paged",)),
    ("decode", {"graph": True, "forced_paged": True}, "decode", "decode", ("decode",), ("paged",)),
    ("idle", {}, "decode", "decode", ("decode",), ()),
    ("target_verify", {}, "paged", "paged", ("verify",), ("paged",)),
    ("target_verify", {"graph": True}, "paged", "paged", ("verify",), ("paged",)),
    ("draft_extend_v2", {"graph": True}, "paged", "paged", ("paged",), ("paged",)),
    ("draft_extend", {}, "paged", "paged", ("paged",), ("paged",)),
    # The plan is `not use_paged`, the metadata True always: SGLang's fault.
    ("dllm_extend", {"graph": True}, "ragged", "ragged", ("ragged", "paged"), PAIR),
    ("dllm_extend", {"graph": True, "forced_paged": True}, "paged", "ragged", ("paged",), PAIR),
    ("extend", {"graph": True}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {"multimodal": True}, "paged", "paged", ("paged",), ("paged",)),
    ("mixed", {"multimodal": True}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {"multi_item_scoring": True}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {"deterministic": True}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {"piecewise": True}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {"forced_paged": True}, "paged", "paged", ("paged",), ("paged",)),
    ("mixed", {"forced_paged": True}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {"forced_paged": True, "prefix": False}, "paged", "paged", ("paged",), ("paged",)),
    ("extend", {}, "ragged", "ragged", ("ragged", "paged"), PAIR),
    ("mixed", {}, "ragged", "ragged", ("ragged", "paged"), PAIR),
    # Planned over no keys, the paged wrapper is not run.
    ("extend", {"prefix": False}, "ragged", "ragged", ("ragged", "paged"), ("ragged",)),
]


@pytest.mark.parametrize(("mode", "flags", "planned", "executed", "wrappers", "kernels"), GOLDEN)
def test_the_golden_table(mode, flags, planned, executed, wrappers, kernels) -> None:  # type: ignore[no-untyped-def]
    found = resolve(mode, **flags)
    assert (found.planned, found.executed, found.wrappers, found.kernels) == (planned, executed, wrappers, kernels)
    assert found.consistent == (planned == executed)
    assert mode in found.reason


@pytest.mark.parametrize("mode", ["extend", "mixed"])
def test_any_one_condition_forces_paged_and_none_leaves_ragged(mode: str) -> None:
    """A conjunction, not a chain: all 32 combinations."""
    for values in itertools.product((False, True), repeat=len(FLAGS)):
        flags = dict(zip(FLAGS, values, strict=True))
        found = resolve(parse_mode(mode), **flags)
        assert found.executed == ("paged" if any(values) else "ragged")
        assert found.consistent


def test_only_one_path_is_planned_otherwise_than_run() -> None:
    odd = set()
    for mode in MODES:
        for values in itertools.product((False, True), repeat=len(FLAGS) + 2):
            flags = dict(zip((*FLAGS, "graph", "prefix"), values, strict=True))
            if not resolve(mode, **flags).consistent:
                odd.add((mode, flags["graph"], flags["forced_paged"]))
    assert odd == {("dllm_extend", True, True)}


def test_modes_have_short_names() -> None:
    assert parse_mode("verify") == "target_verify"
    assert parse_mode("Draft-Extend-V2") == "draft_extend_v2"
    assert parse_mode("prefill") == "extend"
    assert [parse_mode(mode) for mode in MODES] == list(MODES)
    with pytest.raises(UnknownName, match="did you mean 'decode'"):
        parse_mode("decoed")


@pytest.mark.parametrize(
    ("value", "on"),
    [("1", True), ("TRUE", True), ("yes", True), ("y", True), ("0", False), ("No", False), ("false", False)],
)
def test_the_variable_as_sglang_reads_it(value: str, on: bool) -> None:
    assert forced_paged(None, {FORCE_PAGED: value}) == (on, FORCE_PAGED, None)
    # The option beats it.
    assert forced_paged(not on, {FORCE_PAGED: value}).on is not on


@pytest.mark.parametrize("value", ["on", "", " 1", "2", "paged"])
def test_other_values_warn_and_do_not_force(value: str) -> None:
    toggle = forced_paged(None, {FORCE_PAGED: value})
    assert (toggle.on, toggle.source) == (False, "default")
    assert toggle.warning is not None
    assert FORCE_PAGED in toggle.warning


def test_without_anything_paged_is_not_forced() -> None:
    assert forced_paged(None, {}) == (False, "default", None)
