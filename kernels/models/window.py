"""The sliding window of a model's windowed layers: its width, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.kernels.models.fields import Fields, Part
from autotune_cli.kernels.models.known import served_without_window

# Where windowed layers of Jet-Nemotron have theirs.
_JET = ("efficient_attention_config", "swa")


@dataclass(frozen=True)
class Window:
    """A window that a file has and doesn't switch off."""

    tokens: int | None
    """That a query sees, itself included; None: the layers see everything all the same."""
    note: str = ""
    """Why they do."""


def read_window(fields: Fields) -> Window | None:
    """The window of the windowed layers; None: absent, or off (zero, null, false, ``use_sliding_window`` false)."""
    window = _tokens(fields)
    used = fields.use_sliding_window
    # Qwen's files carry a window that is off unless use_sliding_window says otherwise.
    if used is None and fields.model_type.startswith("qwen"):
        used = False
    if window is None or used is False:
        return None
    name = fields.name_of("sliding_window")
    longest = fields.max_position_embeddings
    if longest is not None and window >= longest:
        positions = f"{fields.name_of('max_position_embeddings')} {longest}"
        return Window(None, f"{name} {window} hides nothing within {positions}: no layer has a window")
    versions = served_without_window(fields.model_type)
    if versions:
        said = f"{versions} serves {fields.model_type} without it, so every layer sees the whole context"
        return Window(None, f"{name} {window} is left out: {said}")
    return Window(window)


def _tokens(fields: Fields) -> int | None:
    name = fields.name_of("sliding_window")
    # What SGLang and FlashAttention call no window, in files that use their name for it (Grok-2).
    if name != "sliding_window" and fields.values[name] == -1:
        return None
    nested: Fields | Part | None = fields
    for part in _JET:
        nested = None if nested is None else nested.section(part)
    own = None if nested is None else nested.sliding_window
    return own or fields.sliding_window
