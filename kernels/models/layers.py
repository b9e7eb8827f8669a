"""Which layers of a model are windowed or have sinks, read from its config.json as transformers reads it."""

from __future__ import annotations

from collections import Counter

from autotune_cli.kernels.models.fields import Fields
from autotune_cli.kernels.models.model import LayerKind

# Models whose file may leave out layer_types, with the period of their full layers: layer i sees everything if
# (i + 1) % period == 0 (transformers' configuration classes).
_FULL_EVERY = {"gemma2": 2, "gpt_oss": 2, "gemma3_text": 6, "cohere2": 4}


def read_layers(fields: Fields, heads: int, kv_heads: int, head_dim: int) -> tuple[tuple[LayerKind, ...], list[str]]:
    """The kinds of attention layers, full ones first, and notes on layers that are left out."""
    counts, notes = _count(fields)
    softcap = fields.number("attn_logit_softcapping")
    shape = {"num_qo_heads": heads, "num_kv_heads": kv_heads, "head_dim": head_dim, "softcap": softcap}
    kinds: list[LayerKind] = []
    for window in sorted(counts, key=lambda w: (w is not None, w)):
        if counts[window]:
            own = {"count": counts[window], "window": window, "sinks": _sinks(fields, window)}
            kinds.append(LayerKind.model_validate({**own, **shape}))
    return tuple(kinds), notes


def _sinks(fields: Fields, window: int | None) -> bool:
    """gpt-oss has sinks in every layer and no field for them; MiMo-V2 a field each for its two kinds of layers."""
    if fields.text("model_type") == "gpt_oss":
        return True
    kind = "full" if window is None else "swa"
    return bool(fields.flag(f"add_{kind}_attention_sink_bias"))


def _count(fields: Fields) -> tuple[Counter[int | None], list[str]]:
    """Layers by window (None: full)."""
    total = fields.needed("num_hidden_layers", "n_layer")
    types = fields.names("layer_types")
    window = _window(fields)
    if types is not None:
        return _by_type(fields, types, window)
    interval = fields.count("full_attention_interval")
    if interval:  # Qwen3-Next, Qwen3.5
        full = max(1, total // interval)
        return Counter({None: full}), [f"{total - full} layers of linear attention are left out"]
    if window is None:
        return Counter({None: total}), []
    period = fields.count("sliding_window_pattern") or _FULL_EVERY.get(fields.text("model_type"))
    if period:
        full = total // period
        return Counter({None: full, window: total - full}), []
    # transformers' Qwen2: the layers from max_window_layers (28 if absent) on are windowed.
    qwen = fields.text("model_type").startswith("qwen")
    first = fields.values.get("max_window_layers", 28) if qwen else 0
    if isinstance(first, bool) or not isinstance(first, int) or first < 0:
        raise fields.bad("max_window_layers", "must be a whole number")
    full = min(first, total)
    return Counter({None: full, window: total - full}), []


def _by_type(fields: Fields, types: list[str], window: int | None) -> tuple[Counter[int | None], list[str]]:
    counts: Counter[int | None] = Counter()
    others: Counter[str] = Counter()
    for kind in types:
        if kind in ("full_attention", "attention", "global"):
            counts[None] += 1
        elif kind in ("sliding_attention", "sliding", "local"):
            counts[window] += 1
            if window is None:
                raise fields.bad("sliding_window", f"is missing or off, though layer_types has {kind!r}")
        else:
            others[kind] += 1
    notes = [f"{count} layers of type {kind!r} are left out" for kind, count in sorted(others.items())]
    if not counts:
        raise fields.bad("layer_types", f"has no softmax attention that is tuned, only {', '.join(sorted(others))}")
    return counts, notes


def _window(fields: Fields) -> int | None:
    window = fields.count("sliding_window")
    used = fields.flag("use_sliding_window")
    # Qwen's files carry a window that is off unless use_sliding_window says otherwise.
    if used is None and fields.text("model_type").startswith("qwen"):
        used = False
    return None if used is False else window
