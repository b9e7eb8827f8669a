from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diff_builders import FAST, FLASHINFER, SLOW, candidate, env, failed, noisy, report, result, run, session, write

from autotune_cli.commands.diff_sides import several, split_sides
from autotune_cli.commands.kinds import Share
from autotune_cli.comparing.exit_status import exit_status, fail_on
from autotune_cli.errors import AutotuneError, BadField
from autotune_cli.render.diff_markdown import MOST_CHARACTERS, markdown
from autotune_cli.render.diff_table import MOST_ROWS
from autotune_cli.results.naming import newest_of_each

Usage = Callable[..., Any]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A few runs: base, an A/A twin, one with a slow-down and other libraries, one whose choice changes."""
    write(tmp_path / "base.json", session(1))
    write(tmp_path / "twin.json", session(2))
    newer = env(driver="580.2", libraries={"torch": "2.11.0", "flashinfer": "0.7.2"})
    write(tmp_path / "slow.json", session(3, {SLOW: 1.067}, environment=newer))
    worse = (candidate(FAST, noisy(60, 7)), failed(SLOW, default=True), candidate("lib.new", noisy(33, 8)))
    better = (candidate(SLOW, noisy(41 * 1.2, 8), default=True), candidate(FAST, noisy(36, 9)))
    write(tmp_path / "mixed.json", run(result(worse, 64, winner="lib.new"), result(better, 1, winner=FAST)))
    return tmp_path


def compare_golden(text: str, name: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("same.txt", ("base.json", "twin.json"), 0),
        ("slow.txt", ("base.json", "slow.json"), 1),
        ("mixed.txt", ("base.json", "mixed.json", "--all"), 1),
        ("mixed.md", ("base.json", "mixed.json", "--format", "markdown"), 1),
        ("mixed.csv", ("base.json", "mixed.json", "--format", "csv"), 1),
        ("slow.json", ("base.json", "slow.json", "--format", "json"), 1),
        ("repeated.txt", ("--base", "base.json", "twin.json", "--new", "slow.json", "mixed.json"), 1),
    ],
)
def test_golden_output(usage: Usage, files: Path, name: str, arguments: tuple[str, ...], code: int) -> None:
    """UPDATE_GOLDEN=1 writes them anew."""
    done = usage("diff", *arguments)
    assert done.code == code, done.err
    compare_golden(done.out, name)


def test_diff_a_a(usage: Usage, files: Path) -> None:
    done = usage("diff", "base.json", "base.json", "--format", "json", "--fail-on", "slower,choice,status,ambiguous")
    document = json.loads(done.out)
    assert done.code == document["exit_code"] == 0
    assert document["counts"]["verdicts"] == {"same": 6}
    assert {c["ratio"] for c in document["candidates"]} == {1.0}
    assert document["ground"] == []


@pytest.mark.parametrize(
    ("b", "what", "code"),
    [
        ("slow.json", "slower", 1),
        ("slow.json", "none", 0),
        ("slow.json", "choice", 0),
        ("slow.json", "status", 0),
        ("mixed.json", "choice", 1),
        ("mixed.json", "status", 1),
        ("mixed.json", "ambiguous", 0),
        ("base.json", "ambiguous", 0),
        ("twin.json", "slower,choice,status", 0),
    ],
)
def test_fail_on(usage: Usage, files: Path, b: str, what: str, code: int) -> None:
    assert usage("diff", "base.json", b, "--fail-on", what).code == code


def test_ambiguous_fails_only_when_asked(usage: Usage, tmp_path: Path) -> None:
    for name, us in (("a", 50.0), ("b", 50.6)):
        times = candidate(FAST, [us, us * 1.04, us * 0.97])
        write(tmp_path / f"{name}.json", run(result((times,), when=f"2026-11-21T0{name == 'b':d}:00:00Z")))
    assert usage("diff", "a.json", "b.json").code == 0
    done = usage("diff", "a.json", "b.json", "--fail-on", "ambiguous")
    assert done.code == 1
    assert "exit 1: 1 ambiguous" in done.out


def test_sides_by_word_folder_name_and_glob(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "runs" / "llama.20261121_090000.json", session(1))
    write(tmp_path / "runs" / "llama.20261121_100000.json", session(2))
    write(tmp_path / "runs" / "other.20261120_100000.json", session(3))
    write(tmp_path / "cache" / "main.json", session(4, kind="cache"))
    write(tmp_path / "artifact" / "runs" / "llama.20261120_100000.json", session(5))
    for sides, expected in (
        (("previous", "latest"), ("llama.20261121_090000", "llama.20261121_100000")),
        (("main", "latest"), ("main", "llama.20261121_100000")),
        (("latest", "--base", "artifact"), ("llama.20261120_100000", "llama.20261121_100000")),
        (("main", "latest", "--name", "other"), ("main", "other.20261120_100000")),
    ):
        document = json.loads(usage("diff", *sides, "--format", "json").out)
        assert [Path(document[side]["files"][0]["path"]).stem for side in "ab"] == list(expected)
    document = json.loads(usage("diff", "main", "--new", "runs/llama.*.json", "--format", "json").out)
    assert document["sessions"] == [1, 2]
    document = json.loads(usage("diff", "main", "runs", "--format", "json").out)
    assert len(document["b"]["files"]) == 2  # the newest of each name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no side is named"),
        (("base.json",), "only one side is named"),
        (("base.json", "twin.json", "slow.json"), "3 sides"),
        (("base.json", "--base", "a", "--new", "b"), "a third side"),
        (("--base", "base.json", "twin.json"), "the other side is missing"),
        (("latest", "base.json"), "A: latest: no run in runs; 'autotune tune --no-cache' makes one"),
        (("previous", "base.json"), "A: previous: no run"),
        (("nothing.json", "base.json"), "A: nothing.json: no such file, folder or result (none in cache and runs)"),
        (("base.json", "nothing*.json"), "B: nothing*.json: no file matches"),
        (("base.json", "empty"), "B: empty: no result file in the folder"),
        (("base.json", "twin.json", "--threshold", "x"), "--threshold: 'x' is no share"),
        (("base.json", "twin.json", "--threshold", "nan"), "--threshold"),
        (("base.json", "twin.json", "--threshold", "-1%"), "--threshold"),
        (("base.json", "twin.json", "--format", "xml"), "unknown format 'xml'"),
        (("base.json", "twin.json", "--fail-on", "slow"), "did you mean 'slower'"),
        (("base.json", "twin.json", "--fail-on", "none,slower"), "'none' goes with nothing else"),
        (("base.json", "twin.json", "--allow-different", "gpus"), "did you mean 'gpu'"),
        (("base.json", "twin.json", "--plot", "x.pdf"), "must end in .png or .svg"),
    ],
)
def test_bad_usage_is_one_line(usage: Usage, files: Path, arguments: tuple[str, ...], message: str) -> None:
    (files / "empty").mkdir()
    done = usage("diff", *arguments)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_options_with_several_values() -> None:
    assert several(["--base", "a", "b", "--new", "c"]) == ["--base", "a", "--base", "b", "--new", "c"]
    assert several(["x", "--base", "a", "--all", "y"]) == ["x", "--base", "a", "--all", "y"]
    assert several(["--base"]) == ["--base"]
    assert several(["--base", "--new", "a"]) == ["--base", "--new", "a"]
    assert several(["--base=a", "b"]) == ["--base=a", "b"]
    assert several(["--base", "a", "--", "b"]) == ["--base", "a", "--", "b"]
    assert split_sides(["b"], ["a"], []) == (["a"], ["b"])
    assert split_sides(["a"], [], ["b", "c"]) == (["a"], ["b", "c"])


@pytest.mark.parametrize(("text", "value"), [("1%", 0.01), ("1 %", 0.01), ("0.5%", 0.005), ("0.02", 0.02), ("0", 0.0)])
def test_thresholds(text: str, value: float) -> None:
    assert Share().value("threshold", text) == pytest.approx(value)


def test_output_goes_to_a_file_whole(usage: Usage, files: Path) -> None:
    done = usage("diff", "base.json", "slow.json", "--format", "markdown", "--output", "out/report.md")
    assert done.code == 1
    assert done.out == ""
    assert "wrote out/report.md; exit 1: 3 slower" in done.err
    assert "slower" in (files / "out" / "report.md").read_text()
    table = usage("diff", "base.json", "slow.json", "--output", "report.txt")
    assert table.code == 1
    assert (files / "report.txt").read_text() == usage("diff", "base.json", "slow.json").out
    assert usage("diff", "base.json", "slow.json", "--output", "out").code == 4  # a folder


def test_csv_is_read_back(usage: Usage, files: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(usage("diff", "base.json", "slow.json", "--format", "csv").out)))
    assert len(rows) == 6
    assert [row["verdict"] for row in rows[:3]] == ["slower"] * 3
    assert float(rows[0]["low"]) < float(rows[0]["ratio"]) < float(rows[0]["high"])


def test_a_plot_without_matplotlib_says_how_to_get_it(
    usage: Usage, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = usage("diff", "base.json", "slow.json", "--plot", "x.svg")
    assert done.code == 2
    assert "pip install 'kernel-autotune[plot]'" in done.err
    assert done.out == ""


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_plot(usage: Usage, files: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    assert usage("diff", "base.json", "slow.json", "--plot", f"plots/x.{suffix}").code == 1
    data = (files / "plots" / f"x.{suffix}").read_bytes()
    assert data.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in data and b"attention.decode" in data
    assert usage("diff", "base.json", "slow.json", "--plot", f"base.json/x.{suffix}").code == 4


def large(number: int, factor: float = 1.0, label: str = "lib.with_a_rather_long_name") -> Any:
    keys = [f"lib.c(n={i})" for i in range(20)]
    results = [
        result([candidate(key, (base := 50.0 * factor, base * 1.001, base), label=f"{label} {key}") for key in keys], b)
        for b in range(1, number + 1)
    ]
    return run(*results)


def test_markdown_fits_in_a_comment_whatever_the_size() -> None:
    many = report(large(100), large(100, 1.2))
    text = markdown(many, exit_status(many, ["slower"]))
    assert 0.9 * MOST_CHARACTERS < len(text) <= MOST_CHARACTERS
    assert "more rows; `--format json` has them all" in text
    long = report(large(20, label="x" * 5000), large(20, 1.2, label="|*_`<b>" * 3000))
    assert len(markdown(long, exit_status(long, ["slower"]), every=True)) <= MOST_CHARACTERS
    few = report(session(1), session(2))
    assert "more rows" not in markdown(few, exit_status(few, ()))
    variables = {f"SGLANG_{i}": "y" * 10000 for i in range(3000)}
    many_variables = report(session(1), session(2, environment=env(variables=variables)))
    assert len(markdown(many_variables, exit_status(many_variables, ()))) <= MOST_CHARACTERS


def test_the_table_folds_what_is_too_much(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", large(10))
    write(tmp_path / "b.json", large(10, 1.2))
    text = usage("diff", "a.json", "b.json").out
    assert f"... {200 - MOST_ROWS} more rows; --all shows them" in text
    assert "more rows" not in usage("diff", "a.json", "b.json", "--all").out


def test_markup_in_names_is_shown_as_it_is(usage: Usage, tmp_path: Path) -> None:
    for name, us in (("a", 50.0), ("b", 60.0)):
        times = candidate(FAST, noisy(us, name), label="lib [bold red]x[/] | y")
        write(tmp_path / f"{name}.json", run(result((times,))))
    assert "lib [bold red]x[/] | y" in usage("diff", "a.json", "b.json").out
    assert r"lib \[bold red\]x\[/\] \| y" in usage("diff", "a.json", "b.json", "--format", "markdown").out


def test_flashinfer_caches(usage: Usage, tmp_path: Path) -> None:
    keys = [key for key in FLASHINFER if key.startswith("(")]
    metadata = {"flashinfer_version": "0.7.2", "cuda_version": "13.0", "cudnn_version": "9", "gpu": "NVIDIA H200"}
    write(tmp_path / "a.json", FLASHINFER)
    write(tmp_path / "b.json", {"_metadata": metadata, keys[0]: ["CutlassRunner", 5], "('new', 'R')": ["R", -1]})
    done = usage("diff", "a.json", "b.json")
    assert done.code == 0
    assert "environment: flashinfer_version 0.6.18 -> 0.7.2" in done.out
    assert "cudnn" not in done.out  # "*" agrees with everything
    assert "there are no times to compare" in done.out
    assert "CutlassRunner 3 -> CutlassRunner 5" in done.out
    assert "0 choices unchanged, 1 changed, 1 only in A, 1 only in B" in done.out
    assert usage("diff", "a.json", "b.json", "--fail-on", "choice").code == 1
    assert usage("diff", "a.json", "a.json", "--fail-on", "choice").code == 0
    document = json.loads(usage("diff", "a.json", "b.json", "--format", "json").out)
    assert document["kind"] == "choices only"
    assert document["choices"][0]["verdict"] == "changed"
    assert "only in B" in usage("diff", "a.json", "b.json", "--format", "csv").out
    assert "CutlassRunner 3" in usage("diff", "a.json", "b.json", "--format", "markdown").out
    write(tmp_path / "c.json", {**FLASHINFER, "_metadata": {**metadata, "gpu": "NVIDIA B200"}})
    other = usage("diff", "a.json", "c.json")
    assert other.code == 3
    assert "--allow-different gpu" in other.out
    assert usage("diff", "a.json", "c.json", "--allow-different", "gpu").code == 0
    write(tmp_path / "run.json", session(1))
    assert usage("diff", "a.json", "run.json").code == 3
    mixed = usage("diff", "a.json", "--new", "run.json", "b.json")
    assert mixed.code == 2
    assert "b.json: a FlashInfer cache among result files" in mixed.err
    write(tmp_path / "bad.json", {**FLASHINFER, "('x',)": "R"})
    assert "bad.json: [\"('x',)\"]: must be [runner, tactic]" in usage("diff", "a.json", "bad.json").err
    write(tmp_path / "empty.json", {"_metadata": {}})
    assert usage("diff", "a.json", "empty.json").code == 3


def test_it_starts_without_torch_pandas_or_scipy(files: Path) -> None:
    program = (
        "import sys; sys.argv = ['autotune', 'diff', 'base.json', 'twin.json']\n"
        "for name in ('torch', 'pandas', 'scipy', 'matplotlib', 'flashinfer', 'sgl_kernel', 'triton'):\n"
        "    sys.modules[name] = None\n"
        "from autotune_cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=files, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "exit 0" in done.stdout


def test_help_loads_nothing_of_it(files: Path) -> None:
    program = (
        "import sys; sys.argv = ['autotune', 'diff', '--help']\n"
        "from autotune_cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('numpy', 'pandas', 'rich')"
        " or name.startswith('autotune_cli.comparing')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=files, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_the_newest_of_each_name() -> None:
    names = ["a.20261121_090000.json", "a.20261121_100000.json", "a.20261121_100000.2.json", "b.20251121_090000.json"]
    paths = [Path(name) for name in (*names, "c.json", ".a.20271121_090000.json")]
    expected = [Path(names[2]), Path(names[3])]
    assert newest_of_each(paths) == newest_of_each(reversed(paths)) == expected


def test_fail_on_names() -> None:
    assert fail_on("slower, Choice") == {"slower", "choice"}
    assert fail_on("none") == frozenset()
    with pytest.raises(AutotuneError):
        fail_on("")
    with pytest.raises(BadField):
        fail_on("none,choice")
