"""Which attention path SGLang takes: one pure function from the mode and its flags to what is planned and what runs.

Rules read in SGLang 0.5.10, 0.5.16 and 0.5.23 (``flashinfer_backend.py``; reference/sglang.md 1.1). They are kept as
they are, faults included: a path whose plan and execution differ is what the profile is there to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from autotune_cli.errors import UnknownName
from autotune_cli.results.toggles import Toggle, parse_bool

FORCE_PAGED = "SGLANG_FLASHINFER_USE_PAGED"

ForwardMode = Literal[
    "decode", "idle", "extend", "mixed", "target_verify", "draft_extend", "draft_extend_v2", "dllm_extend"
]
Route = Literal["decode", "paged", "ragged"]
"""``decode``: the paged decode wrapper. ``paged``: one paged call over all keys. ``ragged``: a ragged call over the new
tokens, and over a prefix a paged call and a merge."""

MODES: tuple[ForwardMode, ...] = get_args(ForwardMode)
# Short names for the command line.
_ALIASES: dict[str, ForwardMode] = {"verify": "target_verify", "prefill": "extend", "dllm": "dllm_extend"}


@dataclass(frozen=True, slots=True)
class Resolution:
    """The path of one forward pass."""

    planned: Route
    executed: Route
    reason: str


def resolve(
    mode: ForwardMode,
    *,
    prefix: bool = True,
    graph: bool = False,
    piecewise: bool = False,
    deterministic: bool = False,
    multimodal: bool = False,
    multi_item_scoring: bool = False,
    forced_paged: bool = False,
) -> Resolution:
    """What SGLang's FlashInfer backend plans and runs.

    Args:
        mode: the forward mode.
        prefix: any request of the batch has cached keys (``extend_no_prefix`` is decided by batch).
        graph: captured or replayed as a whole CUDA graph.
        piecewise: inside a piecewise CUDA graph. Breakable graphs don't count: they may take the ragged path.
        deterministic: deterministic inference.
        multimodal: the batch holds images or the like.
        multi_item_scoring: ``--enable-mis``; up to 0.5.10 a delimiter.
        forced_paged: ``SGLANG_FLASHINFER_USE_PAGED``.
    """
    if mode in ("decode", "idle"):
        return Resolution("decode", "decode", f"{mode}: the decode wrapper, always paged")
    if mode == "target_verify":
        return _paged(mode, "a draft is verified over pages")
    if mode in ("draft_extend", "draft_extend_v2"):
        return _paged(mode, "draft tokens are in the cache already")
    if mode == "dllm_extend" and graph:
        # The plan follows the flag, the metadata says ragged whatever it is (0.5.12 to 0.5.23).
        planned: Route = "paged" if forced_paged else "ragged"
        why = "the plan follows forced paged, the metadata always says ragged" if forced_paged else "not forced paged"
        return Resolution(planned, "ragged", f"dllm_extend in a graph: {why}")
    if graph and not piecewise:
        return _paged(mode, "a prefill in one whole CUDA graph")
    forcing = [
        word
        for word, holds in (
            ("multimodal input", multimodal),
            ("multi-item scoring", multi_item_scoring),
            ("deterministic inference", deterministic),
            ("piecewise CUDA graph", piecewise),
            ("forced paged", forced_paged),
        )
        if holds
    ]
    if forcing:
        return _paged(mode, " and ".join(forcing))
    over = "over a prefix with a paged call and a merge" if prefix else "without a prefix alone"
    return Resolution("ragged", "ragged", f"{mode}: ragged, {over}")


def _paged(mode: ForwardMode, why: str) -> Resolution:
    return Resolution("paged", "paged", f"{mode}: {why}")


def parse_mode(text: str, others: Sequence[str] = ()) -> ForwardMode:
    """A forward mode as people write it.

    Args:
        others: what else may be meant; named in the error.

    Raises:
        UnknownName: none of them.
    """
    name = text.lower().replace("-", "_")
    for mode in MODES:
        if _ALIASES.get(name, name) == mode:
            return mode
    raise UnknownName("mode", text, (*MODES, *_ALIASES, *others))


def forced_paged(option: bool | None, environ: Mapping[str, str]) -> Toggle:
    """Whether paged attention is forced: the option, else SGLang's variable, else no.

    Read it once, when a path is built: SGLang does so too, and a change in between would part plan and execution.

    Args:
        option: what was asked for; None: nothing was.
        environ: such as ``os.environ``.
    """
    if option is not None:
        return Toggle(option, "option")
    value = environ.get(FORCE_PAGED)
    if value is None:
        return Toggle(False, "default")
    parsed = parse_bool(value)
    if parsed is None:
        detail = "is neither yes (true, 1, yes, y) nor no (false, 0, no, n): not forced, as in SGLang"
        return Toggle(False, "default", f"{FORCE_PAGED}={value!r} {detail}")
    return Toggle(parsed, FORCE_PAGED)
