"""What others wrote (names of kernels, devices, files, ranges; their messages) as text that does nothing but be read.

A terminal obeys escape sequences, a spreadsheet computes cells that begin with ``=``, and a pull request shows pictures
and tells people that they were mentioned. Whatever is printed goes through one of the functions below.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

# Separators of Unicode's class Zs (such as the no-break space) are no more than blanks.
_BLANK = "Zs"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# What a terminal or a file without Unicode gets for the program's own characters.
_ASCII = {
    "±": "+-", "≤": "<=", "≥": ">=", "≈": "~", "×": "x", "…": "...", "–": "-", "—": "-", "µ": "u", "·": ".",
    "→": "->", "‘": "'", "’": "'", "“": '"', "”": '"', "━": "-", "─": "-", "│": "|", "╸": "-", "╺": "-",
    "🔴": "[!]", "🟢": "[+]", "🟣": "[*]", "🟡": "[?]", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
# JSON escapes what is below U+0020 by itself. Of the rest only what is no readable character is escaped.
_ODD_IN_JSON = re.compile(r"[^\x00-\x7e]")
# https://owasp.org/www-community/attacks/CSV_Injection, with the full-width forms that spreadsheets take for the same;
# blanks in front don't keep a spreadsheet from reading a formula.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
# CommonMark 0.31, 2.4: any ASCII punctuation may be escaped. Those that mean nothing within a line are left out.
_MARKUP = re.compile(r"[\\`*_\[\]|!~$#]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Within these GitHub finds a mention, an issue, an emoji's name, an address. An entity between the characters stops it,
# where a backslash doesn't: it searches in the text of the finished page.
_BREAK = "&ZeroWidthSpace;"
_CALLS = (
    (re.compile(r"@(?=\w)"), f"@{_BREAK}"),
    (re.compile(r"(?<=#)(?=\d)"), _BREAK),
    (re.compile(r"(?i)\b(GH-)(?=\d)"), rf"\1{_BREAK}"),
    (re.compile(r":(?=[a-zA-Z0-9_+\\-]+:)"), f":{_BREAK}"),
    (re.compile(r"(?i)\b(https?:|ftp:|mailto:|xmpp:)(?=\S)"), rf"\1{_BREAK}"),
    (re.compile(r"(?i)\b(www\.)(?=\w)"), rf"\1{_BREAK}"),
)
_AT_THE_START = re.compile(r"[-+=:]|\d+(?=[.)])")


def shown(text: str) -> str:
    r"""One line in which nothing is obeyed and nothing invisible: ``\x1b[31m``, ``\n``, ``\u202e``, ``\udc80``.

    Escaped are control and format characters (the bidirectional and zero-width ones too), separators of lines and
    paragraphs, lone surrogates and what is no character.
    """
    if text.isprintable():
        return text
    return "".join(map(_readable, text))


def shown_lines(text: str) -> str:
    """Several lines, each as :func:`shown`; tabs are blanks."""
    return "\n".join(shown(line) for line in text.expandtabs(4).split("\n"))


def markdown(text: str, most: int | None = None, begins: bool = False) -> str:
    """One line of GitHub's markdown that shows the text and nothing else: no markup, link, picture, mention, emoji.

    Args:
        most: characters of the text that are kept; the rest is ``...``.
        begins: it stands at the beginning of a line or of a list's item, where ``1.`` and ``-`` are markup too.
    """
    line = shown(text).strip()
    if most is not None and len(line) > most:
        line = line[: most - 3] + "..."
    start = _AT_THE_START.match(line) if begins else None
    escaped = re.sub("[&<>]", lambda match: _ENTITIES[match[0]], line)
    escaped = _MARKUP.sub(lambda match: f"\\{match[0]}", escaped)
    for pattern, replacement in _CALLS:
        escaped = pattern.sub(replacement, escaped)
    if start is None:
        return escaped
    # `1\.`, `\-`.
    digits = len(start[0]) if start[0].isdigit() else 0
    return f"{escaped[:digits]}\\{escaped[digits:]}"


def markdown_code(text: str, in_table: bool = False) -> str:
    """The text as a code span of GitHub's markdown, in which nothing is markup; empty for no text."""
    line = shown(text)
    if not line.strip():
        return ""
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    if longest:
        line = f" {line} "
    # A table is cut at bars before code is looked for, and only there a backslash before one goes away.
    return f"{fence}{line.replace('|', chr(92) + '|') if in_table else line}{fence}"


def markdown_block(lines: list[str], language: str = "") -> list[str]:
    """The lines as a code block of GitHub's markdown that none of them can end."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *map(shown, lines), fence]


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    line = shown(value)
    return f"'{line}" if _FORMULA.match(line) else line


def json_text(document: object, ascii_only: bool = False) -> str:
    """JSON, one space of indentation. A terminal obeys nothing in it, and whoever parses it has the same strings.

    Numbers that JSON doesn't have (NaN, infinities) are ``null``.

    Args:
        ascii_only: for streams that take no more.
    """
    try:
        text = json.dumps(document, indent=1, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), indent=1, ensure_ascii=ascii_only, allow_nan=False)
    # Everything beyond ASCII, and DEL, can only stand within a string.
    return _ODD_IN_JSON.sub(lambda match: _json_escape(match[0]), text)


def without_unicode(text: str, encoding: str) -> str:
    """The text for a stream without Unicode: ``+-``, ``<=``, and ``\\u4e2d`` for what the encoding doesn't have."""
    if text.isascii():
        return text
    plain = "".join(_ASCII.get(character, character) for character in text)
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def _readable(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == _BLANK:
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_escape(character: str) -> str:
    if _readable(character) == character:
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + ((code - 0x10000) >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
