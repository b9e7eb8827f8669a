"""Prompts that no server has seen: a prefix cache must not answer for one of two servers."""

from __future__ import annotations

import random

# Common enough to be a token each in most vocabularies.
_TEXT = """
the of and to in is that for it as was with be by on not he his are or at from have an they which one you were all her
she there would their we him been has when who will no more if out so up said what its about than into them can only
other time new some could these two may then do first any my now such like our over man me even most made
"""
_WORDS = _TEXT.split()


def prompt(words: int, seed: int, *place: object) -> str:
    """So many words, drawn anew for each place (pair, side, request). They differ from the first word on, where a
    prefix cache would look.
    """
    drawn = random.Random(f"{seed} {place}")
    return " ".join(drawn.choices(_WORDS, k=words))
