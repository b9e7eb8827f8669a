"""What FlashInfer loads: a folder that its own code reads, routes calls to and runs, and when there is none."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_runs import candidate, real, requiring, result, run, workload

from autotune_cli.exporting import trace_apply
from autotune_cli.exporting.target import Exported, Material, NothingToExport, find_target
from autotune_cli.exporting.targets import flashinfer as target
from autotune_cli.planning.plan import Request
from autotune_cli.results.schema import RunFile

FEW = "decode 1x1024=1,decode 1x8192=1,decode 8x1024=1"
THEIRS = "flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)"
API = "flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run"
needs_flashinfer = pytest.mark.skipif(
    importlib.util.find_spec("flashinfer") is None or importlib.util.find_spec("triton") is None,
    reason="flashinfer and triton are not both installed",
)


def exported(of: RunFile, weights: str | None = None) -> Exported:
    return find_target("flashinfer").make(Material(of, Request(weights=weights)))


def own(splits: int, us: float, half: float = 0.1) -> object:
    return candidate(f"triton.decode(page_size=1,block=64,warps=4,stages=5,splits={splits})", us, half)


def written(folder: Path, done: Exported) -> Path:
    for name, text in done.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(text, str)
        path.write_text(text)
    return folder


@needs_flashinfer
def test_flashinfer_decodes_with_it(tmp_path: Path) -> None:
    """Its import-time hook loads the folder, its wrapper's ``run`` is routed to our kernel, and the result is right."""
    layer = {"num_qo_heads": 4, "num_kv_heads": 2, "head_dim": 64, "dtype": "float16"}
    # Batches of 1 and 2 in parts, of 3 in one.
    of = run(
        result(workload("decode", 1, **layer), own(4, 8.0), candidate(THEIRS, 10.0)),  # type: ignore[arg-type]
        result(workload("decode", 4, **layer), own(1, 8.0), candidate(THEIRS, 10.0)),  # type: ignore[arg-type]
    )
    folder = written(tmp_path / "exported", exported(of))
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "FLASHINFER_WORKSPACE_BASE": str(tmp_path),
        "FLASHINFER_TRACE_APPLY": "1",
        "FLASHINFER_TRACE_APPLY_PATH": str(folder),
        "TRITON_INTERPRET": "1",
    }
    program = Path(__file__).with_name("applied.py")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:flashinfer", str(program)],
        env=environ, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    assert document["enabled"]
    assert document["stats"] == {API: {"hit": 3, "error": 1}}
    *norms, _, lse = document["errors"]
    assert max(document["errors"]) < 2e-3, document["errors"]
    assert len(norms) == 2
    assert lse < 1e-3
    assert "a cache in the queries' dtype, not torch.float32" in document["refused"]


def test_a_batch_has_the_sizes_of_its_longest_context() -> None:
    """A captured graph is replayed at every length; which one is not known when it is captured."""
    of = real("llama-3.1-8b")
    solution = json.loads(exported(of, FEW).files["solutions/gqa_paged/gqa_paged_decode_h32_kv8_d128_ps1.json"])
    sources = {each["path"]: each["content"] for each in solution["sources"]}
    table = json.loads(sources["table.json"])
    assert (table["heads"], table["kv_heads"], table["dim"], table["rows"]) == (32, 8, 128, 16)
    by_batch = {entry["batch"]: entry for entry in table["entries"]}
    assert list(by_batch) == [1, 8, 64, 128]
    longest = next(each for each in of.workloads if each.workload.shape == "1 x 131072")
    times = {
        each.key: each.median_us or each.rough_us
        for each in longest.candidates
        if each.key.startswith("triton.decode(page_size=1,") and "sglang" not in each.key and each.rough_us
    }
    assert by_batch[1]["candidate"] == min(times, key=lambda key: times[key] or 0.0)
    assert by_batch[1]["splits"] == 33
    assert solution["spec"]["target_hardware"] == ["sm90"]


def test_the_figure_is_of_what_runs() -> None:
    first, second = workload("decode", 1), workload("decode", 4)
    of = run(
        result(first, own(4, 8.0), candidate(THEIRS, 10.0)),  # type: ignore[arg-type]
        result(second, own(2, 21.0), candidate(THEIRS, 20.0)),  # type: ignore[arg-type]
    )
    notes = exported(of, "decode1x4096=10,decode4x4096=1").notes
    assert "decode steps: 1.188x (1.176 .. 1.200) over FlashInfer's own kernel, both over pages of 1" in notes
    assert "slower: 4 x 4096, 0.952x (0.947 .. 0.957)" in notes
    with pytest.raises(NothingToExport, match=r"gains nothing over FlashInfer's own: 0\.9"):
        exported(of, "decode4x4096=1")


def test_a_kernel_that_doesn_t_keep_what_is_required_is_not_loaded() -> None:
    of = result(workload("decode", 1), own(4, 8.0), candidate(THEIRS, 10.0))  # type: ignore[arg-type]
    assert exported(run(of)).files
    with pytest.raises(NothingToExport, match=r"no triton\.decode over pages of 1 was measured"):
        exported(run(requiring(of, THEIRS)))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (real("llama-3.1-8b"), "gains nothing over FlashInfer's own: 1.0"),
        (real("llama-3.1-8b", "h200"), "no triton.decode over pages of 1 was measured"),
        (real("gpt-oss-120b"), "windows, softcaps, sinks and FP8 caches"),
        (real("llama-3.1-8b-fp8"), "windows, softcaps, sinks and FP8 caches"),
        (real("deepseek-v3.2"), "the result has no decode step"),
    ],
)
def test_when_there_is_nothing_to_load(of: RunFile, said: str) -> None:
    with pytest.raises(NothingToExport) as error:
        exported(of)
    assert said in str(error.value)
    assert error.value.exit_code == 3


@needs_flashinfer
def test_names_and_files_are_flashinfers_own(tmp_path: Path) -> None:
    """Its own loader takes the folder; its own template makes the names, of caches with an axis of pages or without."""
    import torch
    from flashinfer.trace.templates.attention import gqa_paged_decode_trace as template
    from flashinfer.trace_apply.apply import build_extractor_maps, extract_axes
    from flashinfer.trace_apply.config import load_config

    done = exported(real("llama-3.1-8b"), FEW)
    config = load_config(written(tmp_path, done))
    names = []
    for cache in (torch.zeros(7, 1, 8, 128), torch.zeros(7, 8, 128)):
        space = {"q": torch.zeros(3, 32, 128), "paged_kv_cache": (cache, cache)}
        names.append(template.definition_name(extract_axes(build_extractor_maps([template]), space)))
    assert sorted(names) == sorted(config.definitions)
    assert {definition for definition, _ in config.solutions} == set(names)
    for definition in config.definitions.values():
        assert definition.fi_api() == API
        axes = definition.const_axes()
        assert definition.name == template.definition_name(axes)


def test_an_older_flashinfer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    of = real("llama-3.1-8b")
    monkeypatch.setattr(target.importlib.metadata, "version", lambda name: "0.6.10")
    monkeypatch.setattr(target.importlib.util, "find_spec", lambda name: None)
    assert (
        "the installed FlashInfer 0.6.10 can't load it: it has no trace_apply (from 0.6.18 on)"
        in exported(of, FEW).notes
    )

    def none(name: str) -> str:
        raise target.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(target.importlib.metadata, "version", none)
    assert "FlashInfer loads it from 0.6.18 on; none is installed here" in exported(of, FEW).notes
    for version in ("main (dirty)", "9" * 5000):
        here = of.device.model_copy(update={"libraries": of.device.libraries | {"flashinfer": version}})
        odd = of.model_copy(update={"environments": of.environments | {of.environment: here}})
        assert "FlashInfer loads it from 0.6.18 on; none is installed here" in exported(odd, FEW).notes


def test_the_exported_kernel_is_the_measured_one_but_for_where_lengths_are() -> None:
    ours = trace_apply._KERNELS.read_text().splitlines()
    theirs = trace_apply.kernel_source().splitlines()
    assert len(ours) == len(theirs)
    changed = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if mine != other]
    assert changed == [(f"    {trace_apply._FROM_BUFFER}", f"    {trace_apply._FROM_INDPTR}")]
