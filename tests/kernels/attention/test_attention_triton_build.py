"""What the build stage compiles of our Triton kernels, in a process that has no GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from autotune_cli.kernels.attention.backends import _triton_build
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import REGISTRY, Device

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132)
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install triton"
)
BUILD = """
import json, os, sys
from autotune_cli.kernels.attention.backends import _triton_build as build, triton_decode
from autotune_cli.kernels.attention.workload import AttentionWorkload
workload = build.small(AttentionWorkload.model_validate_json(sys.argv[1]))
settings = json.loads(sys.argv[2])
(module,) = build.modules(triton_decode.prepare, workload, settings, title="triton decode")
before = module.is_compiled()
module.build()
print(json.dumps([before, module.is_compiled(), build.is_compiling()]))
"""


def layer(operation: str, batch: int, new: int, context: int, **extra: object) -> AttentionWorkload:
    geometry = Geometry.model_validate({"num_qo_heads": 8, "num_kv_heads": 2, "head_dim": 64} | extra)
    return AttentionWorkload.model_validate(
        {"operation": operation, "geometry": geometry, "batch": batch, "new": new, "context": context, "mode": "graph"}
    )


def stand_in_driver(folder: Path) -> dict[str, str]:
    """Variables that name a driver's library without a function, which C code can be linked with; none where nothing
    can be compiled.
    """
    compiler = shutil.which("gcc")
    if compiler is None or not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return {}
    folder.mkdir()
    subprocess.run([compiler, "-shared", "-x", "c", os.devnull, "-o", folder / "libcuda.so.1"], check=True, timeout=60)
    return {"TRITON_LIBCUDA_PATH": str(folder), "CC": compiler}


def modules_of(workload: AttentionWorkload) -> dict[str, Module]:
    """Of all its candidates of ours in Triton, by name."""
    return {
        module.name: module
        for backend in REGISTRY.of(workload.operation)
        if backend.name.startswith("triton.") and backend.modules is not None
        for candidate in backend.candidates(workload, H100)
        for module in backend.modules(workload, **dict(candidate.knobs))
    }


@needs_triton
def test_a_module_holds_what_candidates_of_all_batches_launch(tmp_path: Path) -> None:
    workload = layer("attention.decode", 64, 1, 8192)
    setting = {"page_size": 16, "block": 32, "warps": 4, "stages": 2, "splits": 2}
    # One that can't be compiled, which is no matter of the others.
    settings = json.dumps([setting | {"block": 33}, setting, setting | {"splits": 1}])
    driver = stand_in_driver(tmp_path / "driver")
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), _triton_build.TARGET: "90", "MAX_JOBS": "2"} | driver
    done = subprocess.run(
        [sys.executable, "-c", BUILD, workload.model_dump_json(), settings],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    # Nothing is changed in the process itself, which goes on.
    assert json.loads(done.stdout) == [False, True, False]
    kept = sorted(path.name.removesuffix("_kernel.cubin") for path in tmp_path.rglob("*.cubin"))
    decode = ["paged_decode", "paged_decode", "decode_split_merge"]
    filled = ["kv_lens", "kv_indices", *["equal_parts"] * 2]
    assert kept == sorted([*decode, *filled])
    # What launches them, in C, is compiled as well where there is a driver to link it with.
    assert bool(list(tmp_path.rglob("cuda_utils*.so"))) == bool(driver)


@needs_triton
def test_batches_and_settings_of_a_layer_share_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_triton_build.TARGET, "90")
    decode = modules_of(layer("attention.decode", 1, 1, 1024)) | modules_of(layer("attention.decode", 64, 1, 8192))
    extend = modules_of(layer("attention.prefill", 4, 100, 100)) | modules_of(layer("attention.extend", 2, 9, 500))
    assert [module.label for module in decode.values()] == ["triton decode bfloat16 d64"]
    assert [module.label for module in extend.values()] == ["triton extend bfloat16 d64"]
    others = [
        modules_of(layer("attention.decode", 1, 1, 1024, **extra))
        for extra in ({"window_left": 127}, {"kv_dtype": "float8_e4m3fn"}, {"num_kv_heads": 8})
    ]
    monkeypatch.setenv(_triton_build.TARGET, "80")
    others.append(modules_of(layer("attention.decode", 1, 1, 1024)))
    assert len(set(decode).union(*others)) == 1 + len(others)


@needs_triton
@pytest.mark.parametrize("variable", ["TRITON_INTERPRET", "TRITON_ALWAYS_COMPILE"])
def test_nothing_is_built_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    workload = layer("attention.decode", 1, 1, 1024)
    # No GPU and nobody who names one.
    monkeypatch.delenv(_triton_build.TARGET, raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert not modules_of(workload)
    monkeypatch.setenv(_triton_build.TARGET, "90")
    assert modules_of(workload)
    monkeypatch.setenv(variable, "1")
    assert not modules_of(workload)


@needs_triton
def test_a_process_that_measures_compiles_nothing_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv(_triton_build.TARGET, "90")
    found = modules_of(layer("attention.decode", 1, 1, 1024))
    monkeypatch.delenv(_triton_build.TARGET)
    assert found
    for module in found.values():
        module.build()
    assert list(tmp_path.iterdir()) == []
