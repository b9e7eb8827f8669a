from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_cli.errors import BadVariable
from autotune_cli.results.toggles import CACHE_VARIABLES, cache_toggle, parse_bool

OURS, SGLANG = CACHE_VARIABLES


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "1", "yes", "Yes", "y", "Y"])
def test_yes(text: str) -> None:
    assert parse_bool(text) is True
    assert cache_toggle(None, {SGLANG: text}) == (True, SGLANG, None)


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "no", "No", "n", "N"])
def test_no(text: str) -> None:
    assert parse_bool(text) is False
    assert cache_toggle(None, {SGLANG: text}) == (False, SGLANG, None)


@pytest.mark.parametrize("text", [" ", "on", "off", "2", "-1", " 1", " 0 ", "true ", "t", "f", "nope", "nein", "１"])
@pytest.mark.parametrize("name", CACHE_VARIABLES)
def test_anything_else_is_refused_with_the_words_that_are_known(name: str, text: str) -> None:
    with pytest.raises(BadVariable) as raised:
        cache_toggle(None, {name: text})
    assert str(raised.value).startswith(f"{name}={text!r} ")
    for words in ("true, 1, yes, y", "false, 0, no, n"):
        assert words in str(raised.value)
    assert raised.value.exit_code == 2


def test_an_unreadable_variable_does_not_fall_through() -> None:
    with pytest.raises(BadVariable, match=OURS):
        cache_toggle(None, {OURS: "maybe", SGLANG: "0"})


def test_default_is_on() -> None:
    assert cache_toggle(None, {}) == (True, "default", None)


def test_an_empty_variable_is_none() -> None:
    assert cache_toggle(None, {OURS: "", SGLANG: "0"}) == (False, SGLANG, None)
    assert cache_toggle(None, {OURS: "", SGLANG: ""}) == (True, "default", None)


@given(
    option=st.none() | st.booleans(), ours=st.none() | st.sampled_from("10"), theirs=st.none() | st.sampled_from("10")
)
def test_precedence(option: bool | None, ours: str | None, theirs: str | None) -> None:
    environ = {name: value for name, value in ((OURS, ours), (SGLANG, theirs)) if value is not None}
    expected = next(
        (v for v in (option, *(None if x is None else x == "1" for x in (ours, theirs))) if v is not None), True
    )
    assert cache_toggle(option, environ).on is expected


def test_an_option_hides_a_bad_variable() -> None:
    assert cache_toggle(False, {OURS: "maybe"}) == (False, "option", None)
