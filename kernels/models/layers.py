"""Which layers of a model are alike in their attention, read from its config.json as transformers and SGLang do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from autotune_cli.kernels.models.blocks import read_blocks
from autotune_cli.kernels.models.fields import MOST_SIZE, Fields, Part
from autotune_cli.kernels.models.heads import Heads, checked, full_heads, windowed_heads
from autotune_cli.kernels.models.model import LayerKind
from autotune_cli.kernels.models.pattern import CHUNKED, FULL, SPARSE, TUNED, WINDOW, read_pattern
from autotune_cli.kernels.models.window import read_window

MOST_KINDS = 4
"""Kinds of layers that are tuned; of models with more (OpenELM has one for each few layers) the commonest."""


@dataclass(frozen=True)
class Layer:
    """One layer's attention; ``window`` None: it sees everything."""

    heads: Heads
    window: int | None = None


def read_layers(fields: Fields, heads: Heads) -> tuple[tuple[LayerKind, ...], list[str]]:
    """The kinds of attention layers, full ones first, and notes on what is left out."""
    total = count_layers(fields)
    blocks = read_blocks(fields, heads, total)
    notes: list[str] = []
    if blocks is not None:
        layers: list[Layer | None] = [None if block is None else Layer(*block) for block in blocks]
        without = layers.count(None)
        if without:
            notes = [f"{without} of {total} layers have no attention (block_configs)"]
    else:
        layers, notes = _by_kind(fields, heads, total)
        layers = _by_number(fields, layers)
    layers, more = _without_cross_attention(fields, layers)
    counts = Counter(layer for layer in layers if layer is not None)
    if not counts:
        raise fields.bad("num_hidden_layers", f"is {total}, but none of the layers has attention that is tuned")
    kinds, left = _kinds(fields, counts)
    return kinds, notes + more + left


def count_layers(fields: Fields) -> int:
    """Layers in all. Nemotron-H saved by transformers 5 names each and doesn't count them."""
    total = fields.num_hidden_layers
    if total is None:
        named = fields.layers_block_type or fields.layer_types
        if named is None or len(named) > MOST_SIZE:
            raise fields.missing("num_hidden_layers")
        return len(named)
    return total


def _by_kind(fields: Fields, heads: Heads, total: int) -> tuple[list[Layer | None], list[str]]:
    """Layers as layer_types and its like tell them; None: without attention."""
    name, kinds = read_pattern(fields, total)
    window = read_window(fields)
    notes: list[str] = []
    if not kinds:
        kinds = _windowed_from(fields, total) if window is not None else [FULL] * total
    if name and WINDOW in kinds and not _has_window(fields):
        raise fields.bad("sliding_window", f"is missing or off, though {name} has layers with one")
    others = Counter(kind for kind in kinds if kind not in TUNED)
    if len(others) and sum(others.values()) == len(kinds):
        only = ", ".join(repr(kind)[:40] for kind in sorted(others)[:3])
        raise fields.bad(name, f"has no softmax attention that is tuned, only {only}")
    notes += [f"{count} layers of type {kind[:40]!r} are left out" for kind, count in sorted(others.items())]
    if name and len(kinds) < total:
        notes.append(f"{name} has {len(kinds)} layers of the {total} in {fields.name_of('num_hidden_layers')}")
    notes += _state_space_notes(fields, name, kinds)
    if window is None or WINDOW not in kinds:
        fields.defaulted.pop("sliding_window", None)
    elif window.note:
        notes.append(window.note)
    counts = Counter(kinds)
    if counts[CHUNKED]:
        notes.append(f"{counts[CHUNKED]} layers of chunked attention are tuned as full attention")
    if counts[SPARSE]:
        notes.append(f"{counts[SPARSE]} of {len(kinds)} layers are sparse: tuned as dense attention")
    beside = FULL in kinds and WINDOW in kinds
    full = full_heads(fields, heads) if beside and not fields.values.get("per_layer_config") else heads
    narrow = windowed_heads(fields, heads) if WINDOW in kinds else heads
    by_kind = {
        FULL: Layer(full),
        WINDOW: Layer(narrow, window.tokens if window else None),
        CHUNKED: Layer(heads),
        SPARSE: Layer(heads),
    }
    return [by_kind.get(kind) for kind in kinds], notes


def _state_space_notes(fields: Fields, name: str, kinds: list[str]) -> list[str]:
    """A hybrid whose layers no field, or none that is known, tells apart. All of Falcon-H1's have attention as well."""
    hints = [key for key in fields.values if key.startswith(("mamba_", "mb_per_", "ssm_")) and fields.values[key]]
    if name or not hints or fields.model_type == "falcon_h1" or not set(kinds) <= set(TUNED):
        return []
    return [f"{hints[0][:40]!r} tells of state-space layers but not which: all {len(kinds)} are tuned as attention"]


def _has_window(fields: Fields) -> bool:
    """Does the file, or its class, have a window, if an unused one?"""
    return read_window(fields) is not None or fields.use_sliding_window is False


def _windowed_from(fields: Fields, total: int) -> list[str]:
    """Without a pattern all layers have the window, or those from max_window_layers on (files written as Qwen's)."""
    first = fields.values.get("max_window_layers", 0)
    if isinstance(first, bool) or not isinstance(first, int) or first < 0:
        raise fields.bad("max_window_layers", "must be a whole number")
    full = min(first, total)
    return [FULL] * full + [WINDOW] * (total - full)


def _by_number(fields: Fields, layers: list[Layer | None]) -> list[Layer | None]:
    """What single layers have of their own: lists of heads (OpenELM, DeciLM), and per_layer_config (transformers 5)."""
    changed = list(layers)
    for name, key in (("num_attention_heads", "query"), ("num_key_value_heads", "kv"), ("head_dim", "dim")):
        # Laguna has the number of most layers and a list beside it.
        field = f"{name}_per_layer" if fields.has(f"{name}_per_layer") else name
        told = fields.name_of(field)
        if not isinstance(fields.values.get(told), list):
            continue
        numbers: list[int] = getattr(fields, field)
        if len(numbers) != len(layers):
            raise fields.bad(told, f"has {len(numbers)} entries for {len(layers)} layers")
        for index, (layer, number) in enumerate(zip(changed, numbers, strict=True)):
            if layer is not None:
                changed[index] = replace(layer, heads=replace(layer.heads, **{key: number})) if number else None
    single = fields.section("per_layer_config")
    if single is not None:
        _refuse_empty(fields, single, changed)
        for key in single.values:
            # transformers 5 pads the numbers: "05" before "11".
            if not (key.isascii() and key.isdigit() and len(key) <= 6):
                raise fields.bad("per_layer_config", f"has {key[:20]!r}, which is no number of a layer")
            own, index = single.section(key), int(key)
            layer = changed[index] if index < len(changed) else None
            if own is not None and layer is not None:
                changed[index] = _changed(own, layer)
    for layer in dict.fromkeys(changed):
        if layer is not None:
            checked(fields, fields.name_of("num_key_value_heads"), layer.heads)
    return changed


def _changed(own: Part, layer: Layer) -> Layer:
    heads = Heads(
        own.num_attention_heads or layer.heads.query,
        own.num_key_value_heads or layer.heads.kv,
        own.head_dim or layer.heads.dim,
    )
    given = any(name in own.values for name in ("sliding_window", "window_size"))
    return Layer(heads, own.sliding_window if given else layer.window)


def _refuse_empty(fields: Fields, single: Part, layers: list[Layer | None]) -> None:
    """Gemma 4's full layers have heads of their own, which a file with an empty per_layer_config has lost."""
    windows = {layer.window is None for layer in layers if layer is not None}
    if not single.values and "global_head_dim" in fields.defaulted and len(windows) == 2:
        # Its class's 512 holds without per_layer_config only.
        detail = (
            f"is empty: {fields.model_type}'s full layers have another head dim and other KV heads than its windowed "
            f"ones, which this file doesn't tell; take the config.json that was published"
        )
        raise fields.bad("per_layer_config", detail)


def _without_cross_attention(fields: Fields, layers: list[Layer | None]) -> tuple[list[Layer | None], list[str]]:
    """Layers that attend to an image, not to the text (Llama 3.2 Vision)."""
    crossing = set(fields.cross_attention_layers or ())
    kept = [None if index in crossing else layer for index, layer in enumerate(layers)]
    dropped = sum(layer is not None for layer in layers) - sum(layer is not None for layer in kept)
    return kept, [f"{dropped} layers of cross-attention are left out"] if dropped else []


def _kinds(fields: Fields, counts: Counter[Layer]) -> tuple[tuple[LayerKind, ...], list[str]]:
    softcap = fields.attn_logit_softcapping
    common = [layer for layer, _ in counts.most_common(MOST_KINDS)]
    # Full ones first, then the commonest.
    order = sorted(common, key=lambda layer: (layer.window is not None, layer.window or 0, -counts[layer]))
    kinds = []
    for layer in order:
        shape: dict[str, Any] = {
            "count": counts[layer],
            "num_qo_heads": layer.heads.query,
            "num_kv_heads": layer.heads.kv,
            "head_dim": layer.heads.dim,
            "window": layer.window,
            "softcap": softcap,
            "sinks": _sinks(fields, layer.window),
        }
        kinds.append(LayerKind.model_validate(shape))
    rare = sum(counts.values()) - sum(counts[layer] for layer in common)
    note = (
        f"{rare} layers of {len(counts) - len(common)} rarer shapes are left out: the {MOST_KINDS} commonest are tuned"
    )
    return tuple(kinds), [note] if rare else []


def _sinks(fields: Fields, window: int | None) -> bool:
    """gpt-oss has sinks in every layer and no field for them; MiMo-V2 a field each for its two kinds of layers."""
    if fields.model_type == "gpt_oss":
        return True
    return bool(fields.add_full_attention_sink_bias if window is None else fields.add_swa_attention_sink_bias)
