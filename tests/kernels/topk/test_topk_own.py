"""Our own top-k kernel as far as a machine without a GPU can hold it: what is tried, what is refused, what is built."""

from __future__ import annotations

import ctypes
import os
import re
import stat
from pathlib import Path

import pytest

from autotune_cli.kernels.registry import REGISTRY, Device, source_hash
from autotune_cli.kernels.topk.backends import _autotune_build, autotune_topk
from autotune_cli.kernels.topk.family import FAMILY
from autotune_cli.kernels.topk.workload import TopkWorkload

H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
A100 = Device("cuda", "NVIDIA A100", (8, 0), 108)
T4 = Device("cuda", "Tesla T4", (7, 5), 40)
SOURCE = autotune_topk.SOURCE


def workload(rows: int = 16, width: int = 65536, k: int = 2048, **fields: object) -> TopkWorkload:
    given = {"operation": "topk.select", "rows": rows, "width": width, "k": k, "mode": "eager"}
    return TopkWorkload.model_validate(given | fields)


def tried(load: TopkWorkload, device: Device = H200) -> list[dict[str, object]]:
    return [dict(candidate.knobs) for candidate in REGISTRY.get("autotune.topk").candidates(load, device)]


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose only compiler is this one, which does as nvcc does: it writes what -o names."""
    path = tmp_path / "cuda/bin/nvcc"
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho compiled >"$2"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("AUTOTUNE_BUILD_DIR", str(tmp_path / "built"))
    return path


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_autotune_build, "nvcc", lambda environ=None: None)
    monkeypatch.setenv("AUTOTUNE_BUILD_DIR", str(tmp_path / "built"))


@pytest.mark.parametrize("operation", ["topk.select", "topk.paged", "topk.ragged"])
def test_it_takes_part_in_every_selection(operation: str) -> None:
    assert "autotune.topk" in [backend.name for backend in REGISTRY.of(operation)]
    assert all(tried(load) for load in FAMILY.checks(operation, "cuda"))


@pytest.mark.parametrize("width", [1, 1000, 4096, 4097, 16384, 65536, 262144, 524288, 524289, 1 << 20])
@pytest.mark.parametrize("device", [H200, A100], ids=lambda device: device.name)
def test_every_width_has_candidates_for_both_tie_breaks(width: int, device: Device) -> None:
    found = tried(workload(width=width), device)
    assert {knobs["tie_break"] for knobs in found} == {"small", "large"}
    assert len({tuple(knobs.values()) for knobs in found}) == len(found)
    for knobs in found:
        cluster, threads = knobs["cluster"], knobs["threads"]
        assert isinstance(cluster, int)
        assert isinstance(threads, int)
        assert cluster == 1 or device is H200
        values = autotune_topk.values_of(width, cluster, threads)
        assert values is not None or knobs["algorithm"] == "stream"


def test_what_it_does_not_take_is_said(compiler: Path) -> None:
    def why(load: TopkWorkload, device: Device = H200) -> str | None:
        backend = REGISTRY.get("autotune.topk")
        return backend.why_unsupported(load, device, next(iter(backend.candidates(load, device))))

    assert why(workload()) is None
    assert why(workload(k=4096)) is None
    assert why(workload(dtype="bfloat16"), A100) is None
    assert why(workload(k=4097)) == "takes k up to 4096, this is k = 4097"
    assert why(workload(dtype="float16")) == "takes float32 or bfloat16 scores, not float16"
    assert why(workload(), T4) == "is for compute capability 8.0 and above, this is 7.5"
    assert why(workload(), Device("cpu", "a CPU")) == "needs cuda, this is cpu"


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_reason_is_the_command_that_mends_it() -> None:
    backend, load = REGISTRY.get("autotune.topk"), workload()
    candidate = next(iter(backend.candidates(load, H200)))
    reason = backend.why_unsupported(load, H200, candidate)
    assert reason is not None
    assert "there is no nvcc" in reason
    assert "CUDA_HOME" in reason
    assert "pip install" in reason
    # What is compiled already needs none.
    path = _autotune_build.library_path(SOURCE, 90)
    path.parent.mkdir(parents=True)
    path.touch()
    assert backend.why_unsupported(load, H200, candidate) is None
    assert backend.why_unsupported(load, A100, candidate) is not None, "compiled for another GPU"


def test_the_library_is_named_by_all_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "kernel.cu"
    source.write_text("first")
    path = _autotune_build.library_path(source, 90)
    assert path == _autotune_build.library_path(source, 90)
    others = [_autotune_build.library_path(source, 80)]
    monkeypatch.setattr(_autotune_build, "_torch", lambda: "2.99.0+cu140")
    others.append(_autotune_build.library_path(source, 90))
    source.write_text("second")
    others.append(_autotune_build.library_path(source, 90))
    (tmp_path / "kernel_part.cuh").write_text("a header")
    others.append(_autotune_build.library_path(source, 90))
    assert len({path, *others}) == 5


def test_where_libraries_are_kept(tmp_path: Path) -> None:
    assert _autotune_build.folder({"AUTOTUNE_BUILD_DIR": "/built"}) == Path("/built")
    assert _autotune_build.folder({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/kernel-autotune")
    assert _autotune_build.folder({}) == Path.home() / ".cache/kernel-autotune"


def test_the_compiler_of_cuda_home_comes_first(compiler: Path) -> None:
    assert _autotune_build.nvcc(os.environ) == str(compiler)
    assert _autotune_build.nvcc({"PATH": str(compiler.parent)}) == str(compiler)


def test_what_compiles_is_there_once_and_whole(compiler: Path) -> None:
    path = _autotune_build.library_path(SOURCE, 90)
    _autotune_build.compile_to(path, SOURCE, 90)
    assert path.read_text() == "compiled\n"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_the_compiler_complains_of_is_told_and_nothing_is_kept(compiler: Path) -> None:
    compiler.write_text("#!/bin/sh\necho 'topk.cu(3): error: expected a \";\"' >&2\nexit 2\n")
    path = _autotune_build.library_path(SOURCE, 90)
    with pytest.raises(RuntimeError, match=re.escape('topk.cu(3): error: expected a ";"')):
        _autotune_build.compile_to(path, SOURCE, 90)
    assert list(path.parent.iterdir()) == []


def test_the_process_that_builds_knows_the_module_without_a_gpu(
    compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told the architecture by the variables that the module names."""
    monkeypatch.setattr(_autotune_build, "architecture", lambda: 90)
    (worker,) = autotune_topk.modules(workload())
    monkeypatch.undo()
    monkeypatch.setenv("AUTOTUNE_BUILD_DIR", os.fspath(compiler.parent))
    for name, value in worker.variables.items():
        monkeypatch.setenv(name, value)
    (builder,) = autotune_topk.modules(workload())
    assert builder.name == worker.name
    assert not builder.is_compiled()


def test_a_results_identity_knows_the_cuda_source() -> None:
    backend = REGISTRY.get("autotune.topk")
    helpers = sorted(path for path in SOURCE.parent.glob("_*.py") if path.name != "__init__.py")
    sources = sorted(SOURCE.parent.glob("autotune_topk*.cu*"))
    assert SOURCE in sources
    assert len(sources) > 1
    assert backend.source_hash == source_hash([SOURCE.with_suffix(".py"), *sources, *helpers])


def test_python_and_cuda_agree_on_the_arguments() -> None:
    """Names, order and types of the structure that both declare."""
    body = SOURCE.read_text().partition("struct Arguments {")[2].partition("};")[0]
    declared = re.findall(r"^\s*(.+?)\s*(\w+);", body, re.MULTILINE)
    kinds = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}
    expected = [(name, ctypes.c_void_p if kind.endswith("*") else kinds[kind]) for kind, name in declared]
    assert list(autotune_topk.Arguments._fields_) == expected


def test_python_and_cuda_agree_on_the_instances() -> None:
    text = SOURCE.read_text()
    assert set(re.findall(r"case (\d+): return instance<", text)) == {str(values) for values in autotune_topk.VALUES}
    assert set(re.findall(r"case (\d+): return kernel_of<", text)) == {str(count) for count in autotune_topk.THREADS}
    assert f"values == {autotune_topk.STREAM_VALUES} ? instance" in text


@pytest.mark.skipif(_autotune_build.nvcc() is None, reason="needs nvcc")
def test_the_source_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Unoptimised: a third of the time, and the same source.
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-Xcicc -O0 -Xptxas -O0")
    path = tmp_path / "library.so"
    _autotune_build.compile_to(path, SOURCE, 90)
    assert path.stat().st_size > 100_000
    loaded = ctypes.CDLL(str(path))
    assert all(hasattr(loaded, f"autotune_topk_{name}") for name in ("prepare", "launch", "error"))
