"""What tells an undecided kernel's layout beside its name: the call above its launch, if the recording has it.

torch's profiler records operators, with their shapes on request (``record_shapes``), and Python functions
(``with_stack``). A kernel of a CUDA graph's replay has no such call. Grid and shared memory don't tell: a kernel of
FlashAttention 3 is launched alike over pages and over contiguous keys.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from autotune_cli.profiling.families import FamilyName

# Operators of FlashAttention 2 and 3, whose first arguments are queries and keys. Queries of [tokens, heads, dim] with
# keys of [pages, page, heads, dim] are paged; keys of [tokens, heads, dim] are contiguous. Names and shapes as recorded
# in published traces of SGLang (sgl_kernel::fwd), vLLM (the _vllm ones) and FlashAttention 2.
_OPERATORS = frozenset(
    {
        "sgl_kernel::fwd",
        "flash_attn_3::fwd",
        "_vllm_fa3_C::fwd",
        "_vllm_fa2_C::varlen_fwd",
        "flash_attn::_flash_attn_varlen_forward",
        "FlashAttnVarlenFunc",
    }
)
_TOKENS, _PAGES = 3, 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a call says of the kernels below it."""

    family: FamilyName
    reason: str


# Python functions, as torch's profiler names them: path(line): function.
_FUNCTIONS: tuple[tuple[re.Pattern[str], Evidence], ...] = (
    # SGLang 0.5.10 to 0.5.23: its FA3 backend gives a page table in every mode.
    (
        re.compile(r"(?:sglang|sgl_kernel)[/\\]\S*\.py\(\d+\): flash_attn_with_kvcache"),
        Evidence("paged", "SGLang calls flash_attn_with_kvcache with a page table"),
    ),
    # The same versions: flash_attn_varlen_func passes no page table on.
    (
        re.compile(r"(?:sglang|sgl_kernel)[/\\]\S*\.py\(\d+\): flash_attn_varlen_func"),
        Evidence("ragged", "SGLang's flash_attn_varlen_func takes contiguous keys"),
    ),
    (
        re.compile(r"\S*triton_ops[/\\]extend_attention\.py\(\d+\): extend_attention_fwd$"),
        Evidence("ragged", "SGLang's extend reads the new keys contiguous"),
    ),
    (
        re.compile(r"\S*triton_ops[/\\]prefill_attention\.py\(\d+\): context_attention_fwd$"),
        Evidence("ragged", "SGLang's prefill without a cache"),
    ),
    (
        re.compile(r"\S*ops[/\\]prefix_prefill\.py\(\d+\): context_attention_fwd$"),
        Evidence("paged", "vLLM's chunked prefill reads keys by a block table"),
    ),
)


def evidence_of(name: str, arguments: Any) -> Evidence | None:
    """What an operator or a Python function says, by its name and the ``args`` of its event."""
    return _of_operator(name, arguments) if name in _OPERATORS else _of_function(name)


def _of_operator(name: str, arguments: Any) -> Evidence | None:
    dims = arguments.get("Input Dims") if isinstance(arguments, dict) else None
    if not isinstance(dims, Sequence) or isinstance(dims, str) or len(dims) < 2:
        return None
    shapes = [len(shape) if isinstance(shape, list) else 0 for shape in dims[:2]]
    if shapes == [_TOKENS, _PAGES]:
        return Evidence("paged", f"{name} was given keys by the page")
    if shapes == [_TOKENS, _TOKENS]:
        return Evidence("ragged", f"{name} was given contiguous keys")
    return None


@lru_cache(maxsize=1 << 16)
def _of_function(name: str) -> Evidence | None:
    if ".py(" not in name:
        return None
    return next((evidence for pattern, evidence in _FUNCTIONS if pattern.search(name)), None)
