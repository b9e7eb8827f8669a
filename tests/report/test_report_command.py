"""``autotune report``: which files, where to, and what it says when it can't."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import recorded
from report_builders import data_of, small_run, tree_of
from running import Finished

from autotune_cli.results.files import dump_run
from autotune_cli.results.schema import Environment

Usage = Callable[..., Finished]
PROCESSOR = Environment(device_kind="cpu", device="AMD EPYC", threads=2, python="3.12.3")

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")
pytest.importorskip("vl_convert", reason="not installed: pip install vl-convert-python")


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs; and no second spent on the plotting library's script."""
    from autotune_cli.report import plotting

    monkeypatch.setattr(plotting, "plotting_script", lambda: "/* nothing */")
    (tmp_path / "runs").mkdir()
    for number, faster in enumerate((1.0, 0.8)):
        (tmp_path / f"runs/mine.20261121_09301{number}.json").write_text(dump_run(small_run(faster)))
    (tmp_path / "cpu.json").write_text(dump_run(small_run(environment=PROCESSOR)))


def test_the_latest_run_goes_to_report_html(usage: Usage, tmp_path: Path) -> None:
    done = usage("report")
    assert (done.code, done.out, done.err) == (0, "", "wrote report.html\n")
    tree = tree_of((tmp_path / "report.html").read_text())
    assert "runs/mine.20261121_093011.json" in tree.text
    assert tree.find("h1")[0].text == "llama: tuning results"


def test_a_file_in_a_new_folder(usage: Usage, tmp_path: Path) -> None:
    assert usage("report", "previous", "-o", "pages/first.html").err == "wrote pages/first.html\n"
    assert "093010.json" in (tmp_path / "pages/first.html").read_text()


def test_two_files_and_what_changed(usage: Usage, tmp_path: Path) -> None:
    done = usage("report", "previous", "latest", "--output", "x.html")
    assert (done.code, done.err) == (0, "wrote x.html\n")
    tree = tree_of((tmp_path / "x.html").read_text())
    assert "changes-figure" in data_of(tree)["figures"]
    assert "slower" in {row.attributes["data-change"] for row in tree.find("tr", class_="change")}


def test_what_is_not_comparable_is_said_and_both_are_shown(usage: Usage, tmp_path: Path) -> None:
    done = usage("report", "latest", "cpu.json")
    assert done.code == 3
    assert done.err.startswith("wrote report.html; not comparable: ")
    tree = tree_of((tmp_path / "report.html").read_text())
    assert "Not comparable:" in tree.find("section", id="changes")[0].text
    assert tree.find("section", id="a0")
    assert tree.find("section", id="b0")
    assert not tree.find("tr", class_="change")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("latest", "--baseline", "sglan"), "unknown baseline of this file 'sglan'; did you mean 'sglang'?"),
        (("latest", "--device", "h100"), "unknown device of this file 'h100'"),
        (("no-such",), "no-such"),
        (("latest", "-o", "runs"), "can't write runs: is a folder"),
        (("latest", "x.json"), "x.json"),
        (("cpu.json", "-o", "cpu.json"), "--output: cpu.json is the result itself, and would be replaced"),
    ],
)
def test_mistakes(usage: Usage, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "x.json").write_text("{}")
    done = usage("report", *words)
    assert done.code == (4 if "folder" in said else 2)
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_a_baseline_by_its_name(usage: Usage, tmp_path: Path) -> None:
    llama = recorded("llama-3.1-8b")
    words = ("--device", "h100", "--baseline", "sglang  --attention-backend  flashinfer")
    assert usage("report", llama, *words).code == 0
    figures = data_of(tree_of((tmp_path / "report.html").read_text()))["figures"]
    title = figures["r0-gain0"]["description"]
    assert title == "Speed-up of each workload over sglang --attention-backend flashinfer"
    assert not any(name.startswith("r1") for name in figures)


@pytest.mark.parametrize("missing", ["jinja2", "vl_convert"])
def test_a_missing_package_is_named_with_the_command(
    usage: Usage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = importlib.util.find_spec

    def find(name: str, *more: Any) -> Any:
        return None if name == missing else real(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    done = usage("report")
    package = {"jinja2": "jinja2", "vl_convert": "vl-convert-python"}[missing]
    assert done.err == (
        f"error: a report needs {package}, which is not installed; get it: pip install 'kernel-autotune[report]'\n"
    )
    assert done.code == 2
    assert not (tmp_path / "report.html").exists()


def test_the_extra_brings_what_is_asked_for() -> None:
    import tomllib

    from autotune_cli.report.plotting import _PACKAGES

    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {text.partition(">")[0] for text in extras["report"]} == set(_PACKAGES.values())


def test_an_older_page_stays_when_the_new_one_can_t_be_made(
    usage: Usage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")
    assert usage("report", "no-such").code == 2
    assert (tmp_path / "report.html").read_text() == "old"


def test_equal_input_gives_an_equal_page(usage: Usage, tmp_path: Path) -> None:
    usage("report", "-o", "one.html")
    usage("report", "-o", "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
