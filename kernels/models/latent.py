"""Multi-head latent attention (MLA), read from a config.json: DeepSeek's names, which all publishers have taken."""

from __future__ import annotations

from autotune_cli.kernels.models.fields import Fields
from autotune_cli.kernels.models.model import LatentLayers


def read_latent(fields: Fields, heads: int) -> LatentLayers | None:
    """The layers of a file with ``kv_lora_rank``; None for any other. Raises :class:`BadConfig` for a missing size.

    ``use_mla`` false (small DeepSeek-VL2) turns it off, whatever the sizes are.
    """
    rank = fields.kv_lora_rank
    if fields.values.get("use_mla") is False or rank is None:
        return None
    rope, nope, value = fields.qk_rope_head_dim, fields.qk_nope_head_dim, fields.v_head_dim
    if rope is None:
        raise fields.missing("qk_rope_head_dim")
    if nope is None:
        raise fields.missing("qk_nope_head_dim")
    if value is None:
        raise fields.missing("v_head_dim")
    return LatentLayers(
        count=None if _has_others(fields) else fields.num_hidden_layers,
        num_heads=heads,
        kv_lora_rank=rank,
        qk_rope_head_dim=rope,
        qk_nope_head_dim=nope,
        v_head_dim=value,
    )


def _has_others(fields: Fields) -> bool:
    """Are there layers beside those of latent attention?"""
    return bool(fields.values.get("linear_attn_config") or fields.values.get("layer_types"))


def latent_notes(fields: Fields) -> list[str]:
    """What is tuned otherwise than it runs: layers beside it, and an indexer that leaves keys out."""
    notes = []
    if _has_others(fields):
        notes.append("layers beside those of latent attention (MLA) are left out")
    if fields.index_topk is not None:
        said = (
            "prefill and extend of latent attention (MLA) are tuned as dense, over all keys, "
            "not over the {} that the sparse indexer selects"
        )
        notes.append(said.format(fields.index_topk))
    return notes
