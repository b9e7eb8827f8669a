"""What people call results, and what they are told where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune_cli.results.naming import NoSuchResult, find, find_all, find_one

OLD, NEW = "llama.20261121_093012", "llama.20261121_093012.2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = [
        f"runs/{OLD}",
        f"runs/{NEW}",
        "runs/qwen.20261120_080000",
        "cache/llama",
        "cache/deepseek",
        "cache/.hidden",
    ]
    for name in names:
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("latest", f"runs/{NEW}"),
        ("previous", f"runs/{OLD}"),
        ("llama", "cache/llama"),
        ("cache/llama", "cache/llama"),
        ("cache/llama.json", "cache/llama"),
        ("llama.json", "cache/llama"),
        ("runs/llama", f"runs/{NEW}"),
        (OLD, f"runs/{OLD}"),
        (f"runs/{OLD}", f"runs/{OLD}"),
        (f"{OLD}.json", f"runs/{OLD}"),
        ("qwen", "runs/qwen.20261120_080000"),
    ],
)
def test_every_way_to_name_a_result(root: Path, text: str, wanted: str) -> None:
    assert find_one(text, root) == root / f"{wanted}.json"


def test_a_path_comes_before_a_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "llama").write_text("{}")
    assert find("llama", Path()) == [Path("llama")]


def test_folders_and_globs_are_several(root: Path) -> None:
    newest = [root / f"runs/{NEW}.json", root / "runs/qwen.20261120_080000.json"]
    assert find(str(root), root) == find(str(root / "runs"), root) == newest
    assert find(str(root / "cache"), root) == [root / "cache/deepseek.json", root / "cache/llama.json"]
    assert len(find(str(root / "runs" / "*.json"), root)) == 3
    assert find_all([str(root / "runs"), "latest", "latest"], root) == newest
    with pytest.raises(NoSuchResult, match=r"2 results, name one: .*deepseek.json, .*llama.json"):
        find_one(str(root / "cache"), root)


def test_the_name_that_latest_means(root: Path) -> None:
    assert find_one("latest", root, "qwen") == root / "runs/qwen.20261120_080000.json"
    with pytest.raises(NoSuchResult, match="is the only run of its name"):
        find_one("previous", root, "qwen")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lama", r"did you mean 'llama'\? \(caches: deepseek, llama; runs: qwen\)"),
        ("runs/qwem.json", r"did you mean 'qwen'\?"),
        ("no/such/llama", "no such file, folder or result"),
        ("x*.json", "no file matches"),
        ("", "no name of a file"),
        ("a\0b", "no name of a file"),
        ("x" * 5000, "no such file, folder or result"),
    ],
)
def test_what_is_not_there_is_told(root: Path, text: str, words: str) -> None:
    with pytest.raises(NoSuchResult, match=words) as caught:
        find(text, root)
    assert caught.value.exit_code == 2


def test_without_runs_the_caches_are_named(root: Path, tmp_path: Path) -> None:
    for path in (root / "runs").iterdir():
        path.unlink()
    with pytest.raises(NoSuchResult, match=r"no run in .*runs; .*; caches: deepseek, llama"):
        find("latest", root)
