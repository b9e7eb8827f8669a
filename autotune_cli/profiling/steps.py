"""What servers call the steps of their scheduler: prefill and decode are judged apart, each by what it must show."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autotune_cli.sglang.resolve import MODES, resolve

# SGLang 0.5.10 to 0.5.23: step[DECODE bs=8], step[EXTEND bs=4 toks=2013], inside scheduler.run_batch.
_SGLANG = re.compile(r"step\[([A-Z]\w*)\b[^\]]*\]")
# vLLM: execute_context_2(8155)_generation_37(37); with more counts in an SGLang and a vLLM trace of an MI300:
# execute_8192_context_9(sq8155sk8430...)_generation_37(sq37sk34489...). Behind the words stand numbers of requests.
_VLLM = re.compile(r"execute_(?:\d+_)?context_(\d+)\b.*_generation_(\d+)\b.*")


def server_steps(names: Iterable[str]) -> dict[str, str]:
    """The mode of each range that is a step of a server: ``decode``, ``extend``, ``prefill``, ``mixed`` ...; others
    are left out. Where both servers' names are there, one within the other, SGLang's count."""
    names = list(names)
    found = {name: match.group(1).lower() for name in names if (match := _SGLANG.fullmatch(name))}
    return found or {name: _of_vllm(match) for name in names if (match := _VLLM.fullmatch(name))}


def paged_steps(modes: Iterable[str]) -> tuple[str, ...]:
    """Those of the modes that SGLang runs over pages whatever its flags: decode, and verification of drafts."""
    names = set(MODES) & set(modes)
    return tuple(name for name in MODES if name in names and resolve(name).executed in ("decode", "paged"))


def _of_vllm(match: re.Match[str]) -> str:
    prefills, decodes = (int(count) > 0 for count in match.groups())
    if prefills and decodes:
        return "mixed"
    return "prefill" if prefills else "decode"
