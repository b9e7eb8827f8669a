"""A live profile as a user asks for it: the first step. Nothing is looked up or planned here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.kernels.candidate import Candidate, Knob
from autotune_cli.kernels.family import step_modes
from autotune_cli.sglang.padding import PadMode
from autotune_cli.sglang.resolve import MODES, parse_mode

PhaseName = Literal["eager", "capture", "replay", "piecewise", "breakable"]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)
IN_PIECES: tuple[PhaseName, ...] = ("piecewise", "breakable")
"""Attention runs between the replays of a graph's pieces, over a padded batch."""

Kernels = Literal["auto", "fa2", "fa3"]
"""Which of FlashInfer's kernels: as SGLang chooses (paged and decode fa2, ragged what FlashInfer's ``auto`` says)."""
KERNELS: tuple[Kernels, ...] = get_args(Kernels)

Injected = Literal["ragged", "dense"]
"""A kernel that a broken selection would let through, run on purpose."""
INJECTED: tuple[Injected, ...] = get_args(Injected)

SGLANG = "flashinfer"
"""The backend that stands for SGLang's path over FlashInfer."""
FA3 = "fa3"
"""The one that stands for its path over FlashAttention-3."""


@dataclass(frozen=True)
class PathRequest:
    """What is asked for; None: not given."""

    mode: str
    """One of SGLang's forward modes, or a word of a family's own (``step_modes``)."""
    prefix: bool = True
    forced_paged: bool = False
    deterministic: bool = False
    multimodal: bool = False
    multi_item_scoring: bool = False
    backend: str = SGLANG
    kernels: Kernels = "auto"
    phases: tuple[PhaseName, ...] | None = None
    batch: int | None = None
    new: int | None = None
    context: int | None = None
    calls: int | None = None
    pad_mode: PadMode | None = None
    bitwise: bool = False
    injected: tuple[Injected, ...] = ()
    """Each asks for one more recording, with that kernel in every phase."""
    seed: int = 0
    eagle_topk: int | None = None
    """Verify: most drafts of a level of the tree, 1: a chain. None: a chain that is no tree to the server."""

    @property
    def is_tree(self) -> bool:
        """Do drafts have siblings?"""
        return self.eagle_topk is not None and self.eagle_topk > 1


@dataclass(frozen=True)
class CandidateSpec:
    """A candidate by its backend and some of its knobs; the rest is the default's, or the first supported one's."""

    backend: str = ""
    """Empty: any."""
    knobs: tuple[tuple[str, str], ...] = ()
    """Names and values as they stand in a candidate's key."""
    unlisted: tuple[tuple[str, Knob], ...] = ()
    """Knobs that the backend lists for no workload, beside those of the candidate."""
    baseline: str = ""
    """An engine with its options, such as ``sglang --attention-backend fa3``: what it runs, and nothing else."""

    def __str__(self) -> str:
        if self.baseline:
            return self.baseline
        return Candidate(self.backend, (*self.knobs, *self.unlisted)).key


def parse_step_mode(text: str) -> str:
    """A mode to run, as people write it: a forward mode of SGLang's, or what a family calls its own.

    Raises:
        UnknownName: none of them.
    """
    own = tuple(mode for mode in step_modes() if mode not in MODES)
    return text.lower() if text.lower() in own else parse_mode(text, own)


def parse_phases(text: str | None) -> tuple[PhaseName, ...] | None:
    """Phases with commas between, in the order in which they are run.

    Raises:
        UnknownName: none of them.
        BadField: no name at all.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in PHASES:
            raise UnknownName("phase", word, PHASES)
    if not words:
        raise BadField(field="phases", detail=f"names no phase (known: {', '.join(PHASES)})")
    return tuple(phase for phase in PHASES if phase in words)


def parse_backend(text: str) -> CandidateSpec:
    """``flashinfer.decode`` or ``flashinfer.decode(path=fa3,page_size=16)``, as result files name candidates.

    Raises:
        BadField: not of that form.
    """
    match = re.fullmatch(r"\s*([\w.\-]+)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise BadField(field="backend", detail=f"{text!r} is neither NAME nor NAME(knob=value,...)")
    knobs = []
    for part in filter(None, (word.strip() for word in (match[2] or "").split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise BadField(field="backend", detail=f"{part!r} is not of the form knob=value")
        knobs.append((name.strip(), value.strip()))
    return CandidateSpec(match[1], tuple(knobs))
