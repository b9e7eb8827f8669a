"""How FlashInfer writes a choice and the way in which it was measured: the same in its flat files and in its stores."""

from __future__ import annotations

from autotune_cli.comparing.foreign.choices import value_text
from autotune_cli.reading import printable

PROGRAM = "FlashInfer"


def choice_text(runner: str, tactic: object) -> str:
    """``CutlassRunner 3``."""
    return f"{printable(runner)} {value_text(tactic)}"


def policy_fields(policy: list[object]) -> dict[str, str]:
    """``{"l2_cache_policy": "hot"}`` of names and values in turn."""
    words = [value_text(value) for value in policy]
    return dict(zip(words[::2], words[1::2], strict=False))
