"""A CPU's results never get into a cache of a GPU's by default."""

from __future__ import annotations

from pathlib import Path

import pytest
from result_builders import environment, result, run_file

from autotune_cli.results.cache import CacheStore
from autotune_cli.results.default_name import default_name
from autotune_cli.results.schema import Environment

GPU = environment()
CPU = environment("AMD EPYC", device_kind="cpu", threads=2, driver=None, cuda=None)


def saved(root: Path, *environments: Environment) -> Path:
    store = CacheStore(root, "llama")
    for each in environments:
        store.save(run_file(result(env=each), envs=(each,)))
    return store.path


@pytest.mark.parametrize("cached", [(), (CPU,), (CPU, GPU), (GPU, CPU)])
def test_a_cache_that_holds_results_of_a_processor_or_none_is_used(tmp_path: Path, cached: tuple[Environment]) -> None:
    if cached:
        saved(tmp_path, *cached)
    assert default_name(tmp_path, "llama", "cpu") == ("llama", None)


def test_beside_a_cache_of_a_gpu_there_is_another(tmp_path: Path) -> None:
    path = saved(tmp_path, GPU)
    name, note = default_name(tmp_path, "llama", "cpu")
    assert name == "llama-cpu"
    assert note is not None
    assert str(path) in note
    assert "name=llama" in note


def test_a_gpu_adds_to_any_cache(tmp_path: Path) -> None:
    for cached in (GPU, CPU):
        saved(tmp_path, cached)
        assert default_name(tmp_path, "llama", "cuda") == ("llama", None)


def test_what_can_t_be_read_is_the_cache_s_matter(tmp_path: Path) -> None:
    path = saved(tmp_path, GPU)
    path.write_text("{")
    assert default_name(tmp_path, "llama", "cpu") == ("llama", None)
    path.unlink()
    path.mkdir()
    assert default_name(tmp_path, "llama", "cpu") == ("llama", None)
