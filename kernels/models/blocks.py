"""Models whose file describes each block on its own: Nemotron-NAS's block_configs (DeciLM)."""

from __future__ import annotations

from autotune_cli.kernels.models.fields import MOST_SIZE, Fields, Part
from autotune_cli.kernels.models.heads import Heads


def read_blocks(fields: Fields, heads: Heads, total: int) -> list[tuple[Heads, int | None] | None] | None:
    """Heads and window of each block, None for one without attention; None in all: the file has no block_configs.

    A block names its KV heads by the query heads that share one (``n_heads_in_group``) or, in newer files, by their
    number.

    Raises:
        BadConfig: a block that makes no sense.
    """
    blocks = fields.values.get("block_configs")
    if blocks is None:
        return None
    if not isinstance(blocks, list) or not 0 < len(blocks) <= MOST_SIZE:
        raise fields.bad("block_configs", "must be a list of blocks")
    return [_block(fields, heads, index, block) for index, block in enumerate(blocks[:total])]


def _block(fields: Fields, heads: Heads, index: int, block: object) -> tuple[Heads, int | None] | None:
    name = f"block_configs[{index}]"
    if not isinstance(block, dict):
        raise fields.bad(name, "must be an object")
    attention = Part.of(fields.where, block, f"{fields.prefix}{name}.", "").section("attention")
    if attention is None or attention.no_op or attention.replace_with_linear:
        return None
    group = attention.n_heads_in_group
    kv = heads.query // group if group else attention.num_key_value_heads or heads.kv
    if group and heads.query % group:
        raise attention.bad("n_heads_in_group", f"is {group}, which doesn't divide {heads.query} query heads")
    if heads.query % kv:
        raise attention.bad("num_key_value_heads", f"is {kv}, which doesn't divide {heads.query} query heads")
    window = attention.window_length
    longest = fields.max_position_embeddings
    if window is not None and longest is not None and window >= longest:
        window = None
    return Heads(heads.query, kv, heads.dim), window
