"""--focus: which candidates race beside the baselines, and which one is the competitor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, decode, failed, result, run_file

from autotune_cli.results.files import dump_run
from autotune_cli.results.schema import RunFile
from autotune_cli.tuning.focus import Focus, focus_on, is_own

KEY = decode().key


def save(root: Path, name: str, run: RunFile | str) -> None:
    path = root / f"{name}.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(run if isinstance(run, str) else dump_run(run))


def of(*names: tuple[str, float]) -> RunFile:
    wrong = failed("torch.sdpa", "incorrect", rough_us=1.0)
    return run_file(result(decode(), *(candidate(name, us) for name, us in names), wrong, winner=names[0][0]))


def test_own_is_what_this_program_does_not_bring() -> None:
    assert is_own("mine.sort")
    assert not is_own("torch.topk")


@pytest.mark.parametrize(
    ("name", "backend", "key", "wanted"),
    [
        ("mine", "yours.sort", "yours.sort", True),
        ("mine", "torch.topk", "torch.topk(sorted=true)", False),
        ("torch.top", "torch.topk", "torch.topk(sorted=true)", True),
        ("torch.topk(sorted=f", "torch.topk", "torch.topk(sorted=true)", False),
        ("sdpa", "torch.sdpa", "torch.sdpa", False),
    ],
)
def test_what_a_name_means(name: str, backend: str, key: str, wanted: bool) -> None:
    assert Focus(name).has(backend, key) is wanted


def test_the_competitor_is_the_fastest_other_of_the_newest_run_that_has_one(tmp_path: Path) -> None:
    save(tmp_path, "cache/x", of(("cached", 1.0)))
    assert focus_on("mine.", tmp_path, "x", [KEY]).rivals == {KEY: "cached"}
    save(tmp_path, "runs/x.20261121_093012", of(("mine.a", 10.0), ("slow", 30.0), ("fast", 20.0)))
    assert focus_on("mine.", tmp_path, "x", [KEY]).rivals == {KEY: "fast"}
    # One without any other, one that can't be read, one of another name.
    save(tmp_path, "runs/x.20261121_093013", of(("mine.a", 10.0)))
    save(tmp_path, "runs/x.20261121_093014", "{")
    save(tmp_path, "runs/y.20261121_093015", of(("other", 1.0)))
    assert focus_on("mine.", tmp_path, "x", [KEY]).rivals == {KEY: "fast"}


def test_no_competitor_is_known_at_first(tmp_path: Path) -> None:
    assert focus_on("mine", tmp_path, "x", [KEY]).rivals == {}
    save(tmp_path, "runs/x.20261121_093012", of(("fast", 20.0)))
    assert focus_on("mine", tmp_path, "x", ["another workload"]).rivals == {}
