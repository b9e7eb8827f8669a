"""Batches of a path: lengths by mode, captured sizes, which phases there are, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.models import load_model
from autotune_cli.profiling.errors import NothingToRun
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.request import CandidateSpec, PathRequest, parse_backend, parse_phases

LLAMA = load_model("llama-3.1-8b")


def planned(mode: str = "extend", model: str = "llama-3.1-8b", **values: Any) -> tuple[PathSpec, list[str]]:
    chosen = load_model(model)
    ask = PathRequest(mode, **{"batch": 4, **values})  # type: ignore[arg-type]
    return plan_path(ask, chosen, chosen.geometries())


def lengths(mode: str, **values: Any) -> Lengths:
    spec, _ = planned(mode, **values)
    found = spec.layers[0].lengths
    assert found is not None
    return found


def test_a_decode_step_has_one_new_token_a_request() -> None:
    found = lengths("decode", context=100)
    assert found.qo == (1, 1, 1, 1)
    assert max(found.kv) <= 100
    assert len(set(found.kv)) > 1


def test_an_extend_is_tunes() -> None:
    for prefix, context in ((True, 96), (False, 32)):
        spec, _ = planned("extend", new=32, context=context, prefix=prefix)
        workload = spec.layers[0].workload
        assert workload.operation == ("attention.extend" if prefix else "attention.prefill")
        assert spec.layers[0].lengths == workload.lengths


def cached(mode: str, prefix: bool, new: int) -> tuple[Lengths, tuple[int, ...]]:
    """Lengths in the mode, and the cached keys of each request."""
    context = new + 64 if prefix else new
    found = lengths(mode, new=new, context=context, prefix=prefix)
    rest = tuple(keys - count for count, keys in zip(*found, strict=True))
    plain = lengths("extend", new=new, context=context, prefix=prefix)
    # What is cached doesn't depend on the mode.
    assert rest == tuple(keys - count for count, keys in zip(*plain, strict=True))
    return found, rest


@pytest.mark.parametrize("prefix", [True, False])
def test_in_a_mixed_batch_every_second_request_decodes(prefix: bool) -> None:
    found, rest = cached("mixed", prefix, 32)
    assert found.qo[1::2] == (1, 1)
    assert min(found.qo[0::2]) > 1
    assert all(count > 0 for count in rest) if prefix else set(rest) == {0}


@pytest.mark.parametrize("mode", ["target_verify", "dllm_extend"])
@pytest.mark.parametrize("prefix", [True, False])
def test_drafts_to_verify_and_blocks_have_one_length(mode: str, prefix: bool) -> None:
    found, _ = cached(mode, prefix, 6)
    assert found.qo == (6, 6, 6, 6)


@pytest.mark.parametrize("mode", ["draft_extend", "draft_extend_v2"])
def test_of_a_draft_each_request_accepted_its_own_number(mode: str) -> None:
    found, _ = cached(mode, True, 8)
    assert len(set(found.qo)) > 1
    assert all(1 <= count <= 8 for count in found.qo)


@pytest.mark.parametrize(
    ("mode", "shape", "most"),
    [
        ("extend", "4 x 128+1024", (128, 1152)),
        ("mixed", "4 x 128+1024", (128, 1152)),
        ("decode", "8 x 2048", (1, 2048)),
        ("target_verify", "4 x 4+1024", (4, 1028)),
        ("draft_extend", "4 x 4+1024", (4, 1028)),
        ("dllm_extend", "4 x 32+1024", (32, 1056)),
    ],
)
def test_sizes_when_none_are_given(mode: str, shape: str, most: tuple[int, int]) -> None:
    spec, notes = planned(mode, batch=None)
    layer = spec.layers[0]
    assert layer.lengths is not None
    assert layer.workload.shape == shape
    assert max(layer.lengths.qo) <= most[0]
    assert max(layer.lengths.kv) <= most[1]
    assert not notes
    topk, _ = planned("topk", "deepseek-v3.2", batch=None)
    assert topk.layers[0].workload.shape == "16 x 65536"


def sized(tokens: int, **values: Any) -> tuple[PathSpec, list[str]]:
    """An extend of one request with so many new tokens: its longest one has all of them less a few."""
    new = next(count for count in range(tokens, tokens + 20) if sum(lengths("extend", batch=1, new=count).qo) == tokens)
    return planned("extend", batch=1, new=new, **values)


@pytest.mark.parametrize(
    ("tokens", "pad_mode", "static", "note"),
    [
        (64, "fake-request", 64, "64 tokens are a captured size: nothing is padded"),
        (63, "fake-request", 64, ""),
        (65, "fake-request", 80, ""),
        (4096, "fake-request", 4096, "4096 tokens are a captured size"),
        (4095, "fake-request", 4096, ""),
        (4097, "fake-request", 0, "4097 tokens fit no captured size: no piecewise phase, as in SGLang"),
        (1, "fake-request", 4, ""),
        (2, "narrow", 4, ""),
        # More padding than tokens: later versions run it eagerly.
        (1, "narrow", 0, "1 tokens fit no captured size"),
        (64, "narrow", 64, "64 tokens are a captured size"),
    ],
)
def test_the_captured_size(tokens: int, pad_mode: str, static: int, note: str) -> None:
    spec, notes = sized(tokens, pad_mode=pad_mode)
    assert spec.layers[0].lengths is not None
    assert sum(spec.layers[0].lengths.qo) == tokens
    names = [plan.name for plan in spec.phases]
    assert names == ["eager", "capture", "replay", *(["piecewise"] if static else [])]
    assert [plan.static_tokens for plan in spec.phases] == [0, 0, 0, *([static] if static else [])]
    assert {plan.pad_mode for plan in spec.phases if plan.in_pieces} <= {pad_mode}
    assert len(notes) == bool(note)
    assert note in "".join(notes)


def test_a_note_on_a_phase_that_was_not_asked_for_is_left_out() -> None:
    assert sized(4097, phases=("eager",))[1] == []
    assert sized(64, phases=("eager", "replay"))[1] == []


SERVER = "sglang --attention-backend flashinfer --enable-deterministic-inference"


def test_a_deterministic_extend_has_fixed_splits_outside_of_whole_graphs() -> None:
    spec, notes = planned("extend", deterministic=True)
    assert {plan.executed for plan in spec.phases} == {"paged"}
    usual = "flashinfer.paged(path=fa2,page_size=1)"
    assert {plan.name: str(plan.wanted) for plan in spec.phases} == {
        "eager": SERVER, "capture": usual, "replay": usual, "piecewise": SERVER,
    }  # fmt: skip
    assert notes == []
    assert {str(plan.wanted) for plan in planned("target_verify", deterministic=True)[0].phases} == {usual}


def test_a_deterministic_decode_has_no_graph_and_says_so_once() -> None:
    spec, notes = planned("decode", deterministic=True)
    assert [(plan.name, str(plan.wanted)) for plan in spec.phases] == [("eager", SERVER)]
    assert len(notes) == 1
    assert notes[0].startswith("no capture and replay: a deterministic decode graph has no splits")
    assert "#5176" in notes[0]
    with pytest.raises(BadField, match="phases: no replay: a deterministic decode graph has no splits"):
        planned("decode", deterministic=True, phases=("replay",))
    # fa3 never splits.
    spec, notes = planned("decode", deterministic=True, kernels="fa3")
    assert [plan.name for plan in spec.phases] == ["eager", "capture", "replay"]
    assert notes == []


def test_phases_run_in_their_order() -> None:
    assert parse_phases(None) is None
    assert parse_phases("replay, eager,,eager") == ("eager", "replay")
    spec, _ = planned("extend", phases=("piecewise",))
    assert [plan.name for plan in spec.phases] == ["piecewise"]
    with pytest.raises(UnknownName, match="unknown phase 'repaly'; did you mean 'replay'"):
        parse_phases("eager,repaly")
    for text in ("", " ", ",,"):
        with pytest.raises(BadField, match=r"phases: names no phase \(known: eager, capture, .*, breakable\)"):
            parse_phases(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "decode", "phases": ("piecewise",)}, "phases: piecewise graphs are for .* not for mode=decode"),
        ({"mode": "target_verify", "phases": ("eager", "piecewise")}, "not for mode=target_verify"),
        ({"backend": "torch.sdpa", "phases": ("piecewise",)}, "not for backend=torch.sdpa"),
        ({"mode": "topk", "model": "deepseek-v3.2", "phases": ("piecewise",)}, "not for"),
        ({"new": 5000, "phases": ("piecewise",)}, r"phases: \d+ tokens fit no captured size .* leave piecewise out"),
        ({"new": 64, "context": 64}, "context: 64 keys in all leave no prefix beside 64 new tokens"),
        ({"new": 64, "context": 10}, "context: 10 keys in all leave no prefix"),
        ({"new": 64, "context": 65, "prefix": False}, "context: without a prefix it is the number of new tokens, 64"),
        ({"mode": "decode", "new": 2}, "new: a decode step has one new token a request"),
        ({"mode": "topk", "model": "deepseek-v3.2", "new": 2}, "new: a selection has no new tokens"),
        ({"mode": "decode", "model": "gemma-2-9b", "calls": 1}, "calls: 1 is below 2, the number of kinds of layers"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadField, match=message):
        planned(**values)


@pytest.mark.parametrize(
    ("mode", "model", "message"),
    [
        ("idle", "llama-3.1-8b", "mode=idle: no request, so no attention runs"),
        ("extend", "deepseek-v3.2", "deepseek-v3.2: its attention is multi-head latent"),
        ("topk", "llama-3.1-8b", "llama-3.1-8b: it has no sparse indexer, so no top-k"),
        # What is to be known of its attention is no reason.
        ("topk", "gemma-2-9b", "gemma-2-9b: it has no sparse indexer, so no top-k"),
    ],
)
def test_nothing_to_run(mode: str, model: str, message: str) -> None:
    with pytest.raises(NothingToRun, match=message) as caught:
        planned(mode, model)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("torch.sdpa", CandidateSpec("torch.sdpa")),
        ("my-own.back_end", CandidateSpec("my-own.back_end")),
        (" flashinfer.decode ( path = fa3 , page_size=16 ) ", None),
        ("flashinfer.decode(path=fa3,page_size=16)", None),
        ("x()", CandidateSpec("x")),
        ("x(a=)", CandidateSpec("x", (("a", ""),))),
    ],
)
def test_a_candidate_by_name(text: str, wanted: CandidateSpec | None) -> None:
    decode = CandidateSpec("flashinfer.decode", (("path", "fa3"), ("page_size", "16")))
    assert parse_backend(text) == (wanted or decode)
    assert parse_backend(str(parse_backend(text))) == parse_backend(text)


@pytest.mark.parametrize(
    "text", ["", "x(", "x)", "x(a=1", "x(a)", "x(=1)", "a b", "x(a=1)(b=2)", "x y(a=1)", "x(a=(1))"]
)
def test_a_candidate_that_can_be_none(text: str) -> None:
    with pytest.raises(BadField, match="backend: "):
        parse_backend(text)
