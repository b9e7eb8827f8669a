"""Rules, patterns and the names that they are held against have limits: of size, depth, digits and time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limit_traces import chrome
from trace_builders import FA2_PAGED as PAGED

from autotune_cli.profiling.classify import load_classifier, parse_rules
from autotune_cli.profiling.errors import BadRules
from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.patterns import BadPattern, Patience, TooSlow, compile_pattern

Usage = Callable[..., Any]
ENDLESS = ("(a+)+$", r"(\w+\s?)*$x", "(?:a|a)*b$", "(a*)*(a*)*c$", "(a|aa)+$", "a*a*a*a*a*a*a*a*b")
NAME = "a" * 400 + "!"


def test_rules_come_through_a_pipe(usage: Usage) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"'flashinfer' = { family = 'ragged', library = 'piped' }\n")
    os.close(write_end)
    done = usage("profile", "--paged", "--from-trace", "example", "--rules", f"/dev/fd/{read_end}")
    os.close(read_end)
    assert done.code == 1
    assert "piped" in done.out


@pytest.mark.parametrize("pattern", ENDLESS)
def test_expressions_without_end_are_given_up(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    start = time.process_time()
    with pytest.raises(TooSlow):
        Patience(one_s=0.05).run(lambda: compiled.search(NAME))
    assert time.process_time() - start < 5.0


def test_searches_have_a_time_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience(one_s=0.02, all_s=0.05)
    compiled = compile_pattern(ENDLESS[0])
    for _ in range(10):
        with pytest.raises(TooSlow):
            patience.run(lambda: compiled.search(NAME))
    with pytest.raises(TooSlow):
        patience.run(lambda: None)
    assert Patience().run(lambda: 5) == 5


@pytest.mark.parametrize("pattern", ENDLESS[1:2])
def test_a_rule_without_end_is_named(tmp_path: Path, usage: Usage, pattern: str) -> None:
    (tmp_path / "r.toml").write_text(f"'{pattern}' = {{ family = 'benign' }}")
    chrome(tmp_path / "t.json", NAME)
    done = usage("profile", "--paged", "--from-trace", "t.json", "--rules", "r.toml")
    assert done.code == 2
    assert f"rules file r.toml: rule {pattern!r}: takes too long on the kernel name 'aaa" in done.err


@pytest.mark.parametrize("option", ["--expect", "--forbid"])
def test_a_pattern_without_end_is_named(tmp_path: Path, usage: Usage, option: str) -> None:
    chrome(tmp_path / "t.json", NAME, PAGED)
    done = usage("profile", "--from-trace", "t.json", option, ENDLESS[0])
    assert done.code == 2
    assert done.err.startswith(f"error: {option}: '(a+)+$' takes too long on the kernel name 'aaa")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "is no regular expression: missing )"),
        ("a{99999999999}", "is no regular expression: the repetition number is too large"),
        ("(?u)(?a)", "is no regular expression: ASCII and UNICODE flags are incompatible"),
        ("(?L)a", "is no regular expression: bad inline flags"),
        ("a(?i)", "is no regular expression: global flags not at the start"),
        ("(" * 999 + "a" + ")" * 999, "is no regular expression: nested too deeply"),
        ("x" * 5000, "has 5,000 characters, at most 2,000 are read"),
    ],
)
def test_what_does_not_compile_is_one_line(tmp_path: Path, usage: Usage, pattern: str, said: str) -> None:
    with pytest.raises(BadPattern) as caught:
        compile_pattern(pattern)
    assert said in str(caught.value)
    for option in ("--expect", "--forbid"):
        done = usage("profile", "--from-trace", "example", option, pattern)
        assert (done.code, said in done.err, len(done.err) < 300) == (2, True, True)
    with pytest.raises(BadRules, match=r"rules\.toml: rule '"):
        parse_rules(f"'{pattern}' = {{ family = 'benign' }}", "rules.toml")


def test_a_pattern_that_may_change_its_meaning_says_nothing(usage: Usage) -> None:
    assert usage("profile", "--from-trace", "example", "--expect", "[[P]aged").err == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "9" * 5000, "not TOML: a number with thousands of digits"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("\n".join(f"'a{n}' = {{ family = 'benign' }}" for n in range(1001)), "1,001 rules, at most 1,000 are read"),
        ("#" * (1 << 21), "over 1 MiB: not a rules file"),
        ("'" + "k" * 3000 + "' = 1", "not of the form"),
        ("'a' = { family = '" + "k" * 3000 + "' }", "is none of"),
    ],
)
def test_rules_without_end(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(BadRules) as caught:
        load_classifier([path])
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["at::native::" * 60_000, "f<" * 60_000, "std::enable_if<" * 60_000, "topk_" * 60_000])
def test_long_names_do_not_stop_our_own_rules(tmp_path: Path, usage: Usage, name: str) -> None:
    """Of a name only so much is read as real ones have."""
    chrome(tmp_path / "t.json", PAGED, name)
    done = usage("profile", "--paged", "--from-trace", "t.json")
    assert (done.code, done.err) in [(0, ""), (1, "")]


def bomb(levels: int) -> str:
    """A mangled name of 10 characters a level that doubles with each."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    name, last = "_Z1f1PIiiE", "S0_"
    for level in range(levels):
        name += f"S_I{last}{last}E"
        last = f"S{digits[level + 1]}_"
    return name


def test_of_a_mangled_name_that_stands_for_gigabytes_only_identifiers_are_read() -> None:
    assert len(demangle(bomb(5))) > 500
    # In a process of its own, and short enough.
    assert demangle(bomb(10)).startswith("f(P<int, int>, P<P<int, int>, P<int, int> >")
    assert demangle(bomb(24)) == "f"


def test_the_process_that_demangles_needs_no_package() -> None:
    code = f"import autotune_cli.profiling.names as n; print(len(n._demangle_apart({bomb(10)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 10_000
