"""What kind of attention each layer of a model has, from the fields in which its family tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autotune_cli.kernels.models.fields import MOST_SIZE, Fields
from autotune_cli.kernels.models.known import defaults_of

FULL, WINDOW, CHUNKED, SPARSE = "full_attention", "sliding_attention", "chunked_attention", "sparse_attention"
LINEAR = "linear_attention"
TUNED = (FULL, WINDOW, CHUNKED, SPARSE)
"""Kinds with a KV cache over which softmax attention runs; layers of any other name are left out."""

# Other names of the kinds in layer_types and its like. "hybrid" layers (Zamba, Falcon-H1) have attention beside a state
# space. Of Nemotron-H's pattern: M Mamba, * attention, - an MLP, E experts.
_NAMES = {
    **dict.fromkeys(("attention", "full", "global", "global_attention", "attn", "softmax", "hybrid", "*"), FULL),
    **dict.fromkeys(("sliding", "local", "local_attention", "swa", "sliding_window", "hybrid_sliding"), WINDOW),
    **dict.fromkeys(("sliding_window_attention", "reference_sliding_attention"), WINDOW),
    **dict.fromkeys(("chunked", "local_chunked_attention"), CHUNKED),
    **dict.fromkeys(("indexed_attention", "block_sparse_attention", "minimax_m3_sparse"), SPARSE),
    **dict.fromkeys(("compressed_sparse_attention", "heavily_compressed_attention"), SPARSE),
    **dict.fromkeys(("linear", "kda", "gated_deltanet", "lightning_attention"), LINEAR),
    "M": "mamba",
    "-": "mlp",
    "E": "moe",
}  # fmt: skip
# The letters of cycles in known/defaults.toml and of EXAONE's sliding_window_pattern ("LLLG").
_CYCLE = {"f": FULL, "s": WINDOW, "c": CHUNKED, "l": LINEAR, "v": "conv", "i": SPARSE}
_LOCAL = {"L": WINDOW, "G": FULL}
# Lists of names, one a layer, in the order in which they are looked for; block_types (RecurrentGemma) repeats.
_LISTS = ("layer_types", "layers_block_type", "block_types", "mixer_types")


def read_pattern(fields: Fields, total: int) -> tuple[str, list[str]]:
    """The field that tells the kinds of layers (empty: none does), and the kind of each of ``total`` layers.

    Kinds are :data:`TUNED`, or the name of what has no attention.

    Raises:
        BadConfig: a field that tells them makes no sense.
    """
    for name in _LISTS:
        kinds: list[str] | None = getattr(fields, name)
        if kinds is not None:
            kinds = [_NAMES.get(kind, kind) for kind in kinds]
            # Entries beyond the layers are those of a draft model (Step-3.5).
            if name == "block_types":
                # RecurrentGemma's attention has a window, which its file calls attention_window_size.
                window = fields.attention_window_size
                kinds = [WINDOW if kind == FULL and window else kind for kind in kinds]
                return name, _repeat(kinds, total)
            return name, kinds[:total]
    pattern = fields.values.get("hybrid_override_pattern")
    if pattern is not None:
        return "hybrid_override_pattern", _letters(fields, "hybrid_override_pattern", pattern, _NAMES, total)
    found = _attention_among_others(fields, total)
    if found is not None:
        return found
    found = _windows_among_full(fields, total)
    if found is not None:
        return found
    default = defaults_of(fields.model_type).values
    if "cycle" in default:
        kinds = _repeat([_CYCLE[letter] for letter in default["cycle"]], total)
        # Every later layer is windowed in Qwen's files; its class has none, as its window is off by default.
        if not (set(kinds) == {FULL} and fields.use_sliding_window):
            return "", [*kinds[:-1], _CYCLE[default["last"]]] if "last" in default else kinds
    return "", []


def _attention_among_others(fields: Fields, total: int) -> tuple[str, list[str]] | None:
    """Hybrids that tell which layers have attention; the others are linear or a state space's."""
    interval = fields.full_attention_interval
    if interval:  # Qwen3-Next, Qwen3.5
        return "full_attention_interval", _where((i for i in range(total) if (i + 1) % interval == 0), total)
    period = fields.attn_layer_period
    if period:  # Jamba
        offset = fields.attn_layer_offset or 0
        return "attn_layer_period", _where((i for i in range(total) if i % period == offset % period), total)
    step = fields.mamba_step
    if step and fields.values.get("mamba_enabled", True):  # PLaMo 2
        return "mamba_step", _where((i for i in range(total) if i % step == step // 2), total)
    for name in ("attn_layer_indices", "full_attn_idxs"):  # Bamba; LFM2
        indices: list[int] | None = getattr(fields, name)
        if indices is not None:
            return name, _where(indices, total)
    flags = fields.attn_type_list
    if flags:  # MiniMax: 1 softmax, 0 linear
        return "attn_type_list", [FULL if flag else LINEAR for flag in flags[:total]]
    linear = fields.section("linear_attn_config")
    if linear is not None:  # Kimi Linear, counted from 1
        layers = linear.full_attn_layers
        if layers:
            return "linear_attn_config", _where((layer - 1 for layer in layers), total)
    group = fields.layer_group_size
    if group and group > 1:  # Ling and Ring linear
        return "layer_group_size", _where((i for i in range(total) if (i + 1) % group == 0), total)
    return None


def _windows_among_full(fields: Fields, total: int) -> tuple[str, list[str]] | None:
    """Models that tell which layers have a window."""
    flags = fields.hybrid_layer_pattern
    if flags:  # MiMo-V2: 1 windowed
        return "hybrid_layer_pattern", [WINDOW if flag else FULL for flag in flags[:total]]
    for name in ("sliding_window_layers", "local_layer_ids"):  # Baichuan-M1; Inkling
        windowed: list[int] | None = getattr(fields, name)
        if windowed:
            return name, _where(windowed, total, WINDOW, FULL)
    for field in ("sliding_window_pattern", "own_sliding_window_pattern", "global_attn_every_n_layers"):
        name = fields.name_of(field)
        value = fields.values.get(name)
        if isinstance(value, str) and value:  # EXAONE 4: "LLLG", repeated
            return name, _repeat(_letters(fields, name, value, _LOCAL, MOST_SIZE), total)
        period: int | None = getattr(fields, field)
        if period:
            return name, [FULL if (i + 1) % period == 0 else WINDOW for i in range(total)]
    kinds = fields.values.get("attention_types")
    if kinds is not None:  # GPT-Neo: [[["global", "local"], 12]]
        return "attention_types", _runs(fields, kinds)[:total]
    return None


def _runs(fields: Fields, value: Any) -> list[str]:
    kinds: list[str] = []
    for run in value if isinstance(value, list) else [value]:
        fits = isinstance(run, list) and len(run) == 2 and isinstance(run[0], list)
        if not fits or not isinstance(run[1], int) or not 0 < run[1] * len(run[0]) <= MOST_SIZE:
            raise fields.bad("attention_types", "must be a list of [names, repetitions]")
        if not all(isinstance(name, str) for name in run[0]):
            raise fields.bad("attention_types", "must be a list of [names, repetitions]")
        kinds += [_NAMES.get(name, name) for name in run[0]] * run[1]
    return kinds


def _where(layers: Iterable[int], total: int, there: str = FULL, elsewhere: str = LINEAR) -> list[str]:
    chosen = set(layers)
    return [there if layer in chosen else elsewhere for layer in range(total)]


def _letters(fields: Fields, name: str, value: object, names: dict[str, str], most: int) -> list[str]:
    if not isinstance(value, str) or not value or any(letter not in names for letter in value[:most]):
        known = ", ".join(letter for letter in names if len(letter) == 1)
        raise fields.bad(name, f"must be text of the letters {known}")
    return [names[letter] for letter in value[:most]]


def _repeat(kinds: list[str], total: int) -> list[str]:
    return [kinds[i % len(kinds)] for i in range(total)]
