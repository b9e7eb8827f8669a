"""Which family a kernel belongs to: rules are data (``rules/``), the first that fits decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.profiling.errors import BadRules
from autotune_cli.profiling.families import FamilyName
from autotune_cli.profiling.kernel_name import KernelName, parse, pattern_of
from autotune_cli.profiling.patterns import Patience, TooSlow, quoted
from autotune_cli.profiling.rules import (
    MOST_BYTES,
    Role,
    Rule,
    in_tiers,
    parse_rules,
    project_rules,
)
from autotune_cli.reading import Unreadable, decode, read_bytes

# Words that attention kernels are called by. What has one of them is never taken for an everyday kernel.
_ATTENTION_LIKE = re.compile(
    r"attn|attent|flash(?!infer)|fmha|mmha|sdpa|paged|pagedkv| "
    r"(?:mla|mha|mqa|gqa|xqa|nsa|dsa|swa|sage|pa|ragged|prefill|decode|splitkv) "
)
# Words that attention kernels are called by among others: reason enough not to propose that they are none.
_MAYBE_ATTENTION = re.compile(r" (?:decode|extend|verify|kv|kvcache|qk|qkv|softmax|lse|splitkv|splitk|split) ")
_MERGING = re.compile(r" (?:merge|combine|reduce|reduction|stage 2) ")


@dataclass(frozen=True, slots=True)
class KernelKind:
    """What a kernel is."""

    family: FamilyName
    library: str = ""
    reason: str = ""
    role: Role = ""


UNKNOWN = KernelKind("unknown", reason="no rule matches")


class Classifier:
    """Families of kernels by name: a user's rules first, then those of a preset, then those of the project."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = in_tiers(tuple(rules))
        self._seen: dict[str, KernelKind] = {}
        self._patience = Patience()
        self._tried: Rule | None = None

    def __call__(self, name: str) -> KernelKind:
        """The kind of a kernel; mangled names are demangled first.

        Raises:
            BadRules: a rule takes too long on the name.
        """
        kind = self._seen.get(name)
        if kind is None:
            kind = self._seen[name] = self._find(parse(name))
        return kind

    def _find(self, name: KernelName) -> KernelKind:
        try:
            return self._patience.run(lambda: self._first(name))
        except (TooSlow, MemoryError):
            rule = self._tried
            assert rule is not None
            detail = f"rule {rule.shown}: takes too long on the kernel name {quoted(name.whole)}"
            raise BadRules(path=rule.path, detail=detail) from None

    def _first(self, name: KernelName) -> KernelKind:
        for rule in self.rules:
            self._tried = rule
            if rule.fits(name):
                word = attention_word(name) if rule.tier == "everyday" else ""
                if word:
                    return KernelKind(
                        "unknown", reason=f"{word!r} in the name speaks of attention, and no rule names it"
                    )
                return KernelKind(rule.family, rule.library, rule.reason, rule.role)
        return UNKNOWN


def load_classifier(extra: Sequence[Path] = (), preset: Sequence[Rule] = ()) -> Classifier:
    """The project's rules after those of ``extra``, in the order given, and those of a preset.

    Raises:
        BadRules: a file that can't be read, an unknown family, a pattern that is no regular expression, nested
            or sized beyond reason.
    """
    rules: list[Rule] = []
    for path in extra:
        try:
            text = decode(read_bytes(path, MOST_BYTES, "rules file"))
        except Unreadable as error:
            raise BadRules(path=path, detail=f"can't be read: {error}") from None
        rules += parse_rules(text, str(path))
    return Classifier((*rules, *preset, *project_rules()))


def attention_word(name: KernelName) -> str:
    """The word of a name that speaks of attention, or the empty string."""
    match = _ATTENTION_LIKE.search(name.all_words)
    return match.group().strip() if match else ""


def line_to_paste(name: str, open: bool = False) -> str:
    """The line for a rules file that says what this kernel is, for the user to check and to reason.

    The family is the one that the words in the name speak of. Where they speak of attention and not of how keys are
    laid out, it is left open: a ``?`` is refused until the user has chosen one.

    Args:
        open: leave the family open whatever the words are.
    """
    family = "?" if open else _proposal(parse(name))
    return f'\'{pattern_of(name)}\' = {{ family = "{family}", library = "?", reason = "?" }}'


def _proposal(name: KernelName) -> str:
    words = name.all_words
    if not (_ATTENTION_LIKE.search(words) or _MAYBE_ATTENTION.search(words)):
        return "topk" if " topk " in words else "benign"
    if _MERGING.search(words):
        return "split_merge"
    if " paged " in words:
        return "paged"
    return "ragged" if re.search(r" (?:ragged|varlen) ", words) else "?"
