"""Results in Python: the same files, and the same messages, as on the command line."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
from render_builders import candidate, decode, result, run_file

from autotune_cli import AutotuneError, BadFile, BadName, NewerSchema, NoSuchResult, load_cache, read_run
from autotune_cli.results.files import dump_run

Usage = Callable[..., Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, us in (("runs/mine.20261121_093012", 10.0), ("runs/mine.20261121_093013", 20.0), ("cache/llama", 30.0)):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dump_run(run_file(result(decode(), candidate("fast", us)), name=name.split("/")[1][:5])))
    return tmp_path


def time_of(run: Any) -> float | None:
    (workload,) = run.workloads
    us: float | None = workload.candidate(workload.choice.winner).median_us
    return us


def test_a_result_is_called_as_on_the_command_line(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert time_of(read_run(root=results)) == 20.0
    assert time_of(read_run("previous", root=results, name="mine")) == 10.0
    assert time_of(read_run("llama", root=str(results))) == 30.0
    assert time_of(read_run(results / "runs" / "mine.20261121_093012.json")) == 10.0
    monkeypatch.setenv("AUTOTUNE_ROOT", str(results))
    assert time_of(read_run("latest")) == 20.0
    monkeypatch.delenv("AUTOTUNE_ROOT")
    monkeypatch.chdir(results)
    assert time_of(read_run()) == 20.0


def test_a_cache_is_called_by_its_name(results: Path) -> None:
    cache = load_cache("llama", root=results)
    assert time_of(cache) == 30.0
    assert cache.path == results / "cache" / "llama.json"
    assert cache.name == "llama"
    assert cache.file.workloads == cache.workloads
    with pytest.raises(NoSuchResult, match="no such file"):
        # A run of that name is no cache.
        load_cache("mine", root=results)
    with pytest.raises(NoSuchResult, match=r"3\.json: no such file"):
        load_cache(3, root=results)  # type: ignore[arg-type]
    with pytest.raises(BadName, match="a name, not a path"):
        load_cache("../llama", root=results)


def test_a_run_at_the_prompt_is_a_line(results: Path) -> None:
    assert repr(load_cache("llama", root=results)).startswith("Run(path=")
    assert "workloads" not in repr(load_cache("llama", root=results))


def test_doubts_are_told(results: Path) -> None:
    assert any("doesn't fit its hash" in line for line in load_cache("llama", root=results).doubts)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("missing.json", None, NoSuchResult),
        ("lama", None, NoSuchResult),
        ("empty.json", "", BadFile),
        ("newer.json", '{"schema_version": 99}', NewerSchema),
        ("other.json", '{"schema_version": 2, "kind": "run"}', BadFile),
        ("broken.json", '{"schema_version": 2,', BadFile),
    ],
)
def test_errors_are_those_of_the_command_line(
    usage: Usage,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | None,
    kind: type[AutotuneError],
) -> None:
    if content is not None:
        (results / name).write_text(content)
    told = usage("show", name).err
    monkeypatch.chdir(results)
    with pytest.raises(kind) as error:
        read_run(name)
    assert told == f"error: {error.value}\n"
    assert error.value.exit_code == 2
    # As a pool of processes brings it back.
    again = pickle.loads(pickle.dumps(error.value))
    assert (type(again), str(again), again.values) == (kind, str(error.value), error.value.values)
