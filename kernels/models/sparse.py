"""Attention that looks at parts of the context only, chosen by blocks or chunks: tuned as dense, with a note."""

from __future__ import annotations

from typing import Any

from autotune_cli.kernels.models.fields import Fields

# Fields that turn it on: MiniMax-M3, MiniCPM4, Phi-3-small, MoBA, native sparse attention, SeerAttention, Qwen2.5-1M,
# and names that published variants use. Lists or numbers of layers say in how many.
_FIELDS = {
    "sparse_attention_config": "block-sparse attention",
    "sparse_attention": "block-sparse attention",
    "sparse_attn_config": "block-sparse attention",
    "sparse_config": "block-sparse attention",
    "block_sparse_config": "block-sparse attention",
    "blocksparse_params": "block-sparse attention",
    "blocksparse_block_size": "block-sparse attention",
    "nsa_config": "native sparse attention",
    "native_sparse_attention": "native sparse attention",
    "moba_config": "mixture of block attention",
    "moba_chunk_size": "mixture of block attention",
    "moba_topk": "mixture of block attention",
    "seerattn_gate_type": "block-sparse attention",
    "dual_chunk_attention_config": "dual chunk attention",
}
_SWITCHES = ("use_sparse_attention", "enabled", "enable", "use_moba", "use_nsa")
_BY_LAYER = ("sparse_attention_freq", "layers", "sparse_layers")


def sparse_notes(fields: Fields, total: int) -> list[str]:
    """A line for the first field of a file that says so; a switched-off one says nothing."""
    for name, what in _FIELDS.items():
        value = fields.values.get(name)
        if not value or (isinstance(value, dict) and _off(value)):
            continue
        # A sparse_config that says nothing of attention may be one of weights (compressed-tensors' sparsity).
        if name == "sparse_config" and not isinstance(value, dict):
            continue
        sparse = _layers(value, total) or _other_than_dense(fields, total)
        some = f"{sparse} of {total} layers have" if sparse else "layers have"
        return [f"{some} {what} ({name}): tuned as dense attention"]
    if fields.attention_chunk_size is not None:
        return ["chunked attention (attention_chunk_size) is tuned as full attention"]
    return []


def _off(value: dict[str, Any]) -> bool:
    if any(value.get(name) is False for name in _SWITCHES):
        return True
    flags = value.get("sparse_attention_freq")
    return isinstance(flags, list) and not any(flags)


def _layers(value: Any, total: int) -> int | None:
    """How many layers the field names, if it does: flags by layer, or a list of layers."""
    if not isinstance(value, dict):
        return None
    for name in _BY_LAYER:
        listed = value.get(name)
        if isinstance(listed, list) and listed:
            return sum(bool(flag) for flag in listed[:total]) if name == "sparse_attention_freq" else len(listed)
    return None


def _other_than_dense(fields: Fields, total: int) -> int | None:
    """Phi-3-small: every n-th layer is dense."""
    period = fields.dense_attention_every_n_layers
    return None if period is None else total - total // period
