"""Names of fields in logs, and requests out of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from autotune_cli.reading import Unreadable, shallow, short_number
from autotune_cli.traffic.log import tokens
from autotune_cli.traffic.source import Source
from autotune_cli.traffic.times import seconds

# In the order in which they are looked for, small letters and without anything but letters and digits. Azure's traces
# (ContextTokens), BurstGPT (Request tokens), SGLang's request log and OpenAI's usage (prompt_tokens), vLLM's and
# SGLang's datasets (prompt_len, input_len), Mooncake (input_length).
PROMPT = (
    "contexttokens", "prompttokens", "promptlen", "promptlength", "inputlen", "inputlength", "inputtokens",
    "requesttokens", "numprompttokens",
)  # fmt: skip
OUTPUT = (
    "generatedtokens", "completiontokens", "outputlen", "outputlength", "outputtokens", "responsetokens",
    "generationtokens", "numgenerationtokens", "generationlen",
)  # fmt: skip
TIME = ("timestamp", "arrivaltime", "arrival", "arrivals", "starttime", "requestreceivedts", "time", "arrivedat")
CACHED = ("cachedtokens", "numcachedtokens", "cachedlen", "prefixlen")

_SEPARATORS = re.compile(r"[^a-z0-9]")


def plain_name(name: str) -> str:
    """``Request tokens``, ``request_tokens`` and ``RequestTokens`` are one name."""
    return _SEPARATORS.sub("", name.lower())


def find(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The first of the names that means one of those, by their order."""
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain_name(name), name)
    return next((by_plain[each] for each in wanted if each in by_plain), None)


def parse_line(source: Source, number: int, text: str) -> Any:
    """The JSON document on a line. NaN and Infinity are numbers in it, as Python writes them: SGLang's benchmark has an
    infinite rate. Where they stand for a length or a time, that is refused.

    Raises:
        BadTraffic: it is none, or is cut off.
    """
    try:
        return shallow(json.loads(text))
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        said = "cut off in the middle of a JSON document" if cut else f"not JSON: column {error.colno}: {error.msg}"
        raise source.bad(said, number) from None
    except RecursionError:
        raise source.bad("nested too deeply", number) from None
    except Unreadable as error:
        raise source.bad(str(error), number) from None
    except ValueError as error:
        raise source.bad(f"not JSON: {short_number(error)}", number) from None


def count_of(source: Source, number: int | None, name: str, value: object) -> int:
    """A number of tokens, from 1 on.

    Raises:
        BadTraffic: anything else.
    """
    found = tokens(value)
    if isinstance(found, str):
        raise source.bad(f"{name} {value!r:.40} {found}", number)
    return found


def cached_of(source: Source, number: int | None, name: str, value: object, prompt: int) -> int:
    """Tokens of a prompt that lay in the cache: at least one has to be computed.

    Raises:
        BadTraffic: no number, or more than the prompt has.
    """
    if value is None or value == "" or value == 0 or value == "0":
        return 0
    cached = count_of(source, number, name, value)
    if cached > prompt:
        raise source.bad(f"{name} {cached} is more than the {prompt} tokens of the prompt", number)
    return min(cached, prompt - 1)


def time_of(source: Source, number: int | None, name: str, value: object) -> float:
    """A time of arrival.

    Raises:
        BadTraffic: it is none.
    """
    found = seconds(value)
    if found is None:
        raise source.bad(f"{name} {value!r:.40} is no time: give a date, or seconds", number)
    return found
