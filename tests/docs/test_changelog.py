"""CHANGELOG.md has the form that it names, and the version is one everywhere."""

from __future__ import annotations

import re
import tomllib

from pages import ROOT

import autotune_cli

# https://keepachangelog.com/en/1.1.0/
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_form_of_the_changelog() -> None:
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    for released in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", released)
    assert set(re.findall(r"^### (.*)$", page, re.MULTILINE)) <= KINDS


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == autotune_cli.__version__
