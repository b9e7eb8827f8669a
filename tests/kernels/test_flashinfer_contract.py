"""What the attention backends rely on in FlashInfer: module generators, names, rules. No GPU, nothing is compiled.

That every call binds to the wrappers' real signatures is shown in attention/test_attention_flashinfer.py.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))
flashinfer = pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")

import torch  # noqa: E402
from flashinfer.decode import BatchDecodeWithPagedKVCacheWrapper, xqa_batch_decode_with_kv_cache  # noqa: E402
from flashinfer.prefill import (  # noqa: E402
    BatchPrefillWithPagedKVCacheWrapper,
    BatchPrefillWithRaggedKVCacheWrapper,
)

from autotune_cli.kernels.attention.backends import _flashinfer as common  # noqa: E402
from autotune_cli.kernels.attention.backends import flashinfer_sink  # noqa: E402
from autotune_cli.kernels.attention.workload import AttentionWorkload  # noqa: E402
from autotune_cli.kernels.geometry import Geometry  # noqa: E402
from autotune_cli.kernels.mla.workload import MlaWorkload  # noqa: E402
from autotune_cli.kernels.models import build_suite  # noqa: E402
from autotune_cli.kernels.registry import REGISTRY, Backend, Device  # noqa: E402
from autotune_cli.tuning.listing import to_build  # noqa: E402
from autotune_cli.tuning.plan import plan  # noqa: E402

H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)


def workload(operation: str, **geometry: Any) -> AttentionWorkload:
    layer = Geometry(**({"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128} | geometry))
    new = {"attention.decode": 1, "attention.prefill": 64, "attention.extend": 16}[operation]
    return AttentionWorkload(operation=operation, geometry=layer, batch=2, new=new, context=64, mode="eager")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modules that would be compiled."""
    import flashinfer.cascade
    from flashinfer.jit.core import JitSpec

    names: list[str] = []
    monkeypatch.setenv("FLASHINFER_CUDA_ARCH_LIST", "9.0a")
    monkeypatch.setattr("flashinfer.jit.core.current_compilation_context.TARGET_CUDA_ARCHS", {(9, "0a")})
    monkeypatch.setattr(JitSpec, "build_and_load", lambda self, *args: names.append(self.name))
    flashinfer.cascade.get_cascade_module.cache_clear()
    yield names
    flashinfer.cascade.get_cascade_module.cache_clear()


FP8_QUERIES = {"kv_dtype": "float8_e4m3fn", "q_dtype": "float8_e4m3fn"}
FP8_MODULE = "dtype_q_e4m3_dtype_kv_e4m3_dtype_o_bf16"
SINK = "batch_prefill_with_attention_sink_kv_cache_dtype_q_bf16_dtype_kv_bf16"
SMALL = "head_dim_qk_128_head_dim_vo_128_posenc_0_use_swa_{}_use_logits_cap_{}"


@pytest.mark.parametrize(
    ("operation", "extra", "backend", "knobs", "wanted"),
    [
        ("decode", {}, "decode", {"path": "cuda_cores"}, ["batch_decode_with_kv_cache"]),
        ("decode", {}, "decode", {"path": "tensor_cores"}, ["batch_prefill_with_kv_cache"]),
        ("decode", {}, "decode", {"path": "fa3"}, ["batch_prefill_with_kv_cache", "_sm90"]),
        ("decode", {"window_left": 9}, "decode", {"path": "tensor_cores"}, [SMALL.format(False, False)]),
        ("decode", {"window_left": 9}, "decode", {"path": "cuda_cores", "page_size": 16}, [SMALL.format(True, False)]),
        ("decode", {"softcap": 30.0}, "decode", {"path": "cuda_cores"}, [SMALL.format(False, True)]),
        ("decode", {}, "xqa", {"page_size": 64}, ["page_size_64_head_dim_128_head_group_ratio_4"]),
        ("decode", {"kv_dtype": "float8_e4m3fn"}, "xqa", {"page_size": 16}, ["kv_cache_e4m3"]),
        ("extend", {}, "batch_attention", {"page_size": 16}, ["batch_attention_with_kv_cache"]),
        ("prefill", {"window_left": 9}, "ragged", {"path": "fa3"}, [SMALL.format(True, False), "_sm90"]),
        ("prefill", {"kv_dtype": "float8_e4m3fn"}, "ragged", {"path": "fa3"}, ["dtype_kv_bf16"]),
        ("extend", {"kv_dtype": "float8_e4m3fn"}, "paged", {"path": "fa2", "page_size": 1}, ["dtype_kv_e4m3"]),
        ("extend", {"softcap": 30.0}, "paged", {"path": "fa3", "page_size": 1}, [SMALL.format(False, True)]),
        ("extend", FP8_QUERIES, "paged", {"path": "fa3", "page_size": 1}, [FP8_MODULE]),
        ("decode", FP8_QUERIES, "decode", {"path": "fa3"}, [FP8_MODULE]),
        ("decode", FP8_QUERIES, "decode", {"path": "tensor_cores"}, ["dtype_q_bf16_dtype_kv_e4m3_dtype_o_bf16"]),
        ("prefill", FP8_QUERIES, "ragged", {"path": "fa3"}, ["dtype_q_bf16_dtype_kv_bf16"]),
        ("decode", {"sinks": True}, "sink", {"path": "fa2", "page_size": 1}, [SINK, "use_swa_False"]),
        ("extend", {"sinks": True, "window_left": 9}, "sink", {"path": "fa3", "page_size": 1}, [SINK, "use_swa_True"]),
    ],
)
def test_builds_what_it_runs(
    built: list[str], operation: str, extra: dict[str, Any], backend: str, knobs: dict[str, Any], wanted: list[str]
) -> None:
    found = REGISTRY.get(f"flashinfer.{backend}")
    if backend == "decode":
        knobs = {"page_size": 1, "split": None, "pdl": None} | knobs
    assert found.build is not None
    found.build(workload(f"attention.{operation}", **extra), **knobs)
    assert len(built) == 1
    for part in wanted:
        assert part in built[0]
    assert ("_sm90" in built[0]) == (knobs.get("path") == "fa3")


@pytest.mark.parametrize("path", ["fa2", "fa3"])
@pytest.mark.parametrize("window", [None, 9])
def test_the_sink_wrapper_finds_what_was_built(
    built: list[str], path: str, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the arguments are FlashInfer's own but for the name; its wrapper differs in nothing else."""
    from flashinfer.attention import BatchAttentionWithAttentionSinkWrapper
    from flashinfer.jit.attention.modules import gen_customize_batch_prefill_module

    shape = workload("attention.decode", sinks=True, window_left=window)
    for module in flashinfer_sink.modules(shape, path=path, page_size=1):
        module.build()
    ours = flashinfer_sink.jit_arguments(shape, path)
    gen_customize_batch_prefill_module(path, *ours["jit_args"], **ours["jit_kwargs"]).build_and_load()
    assert built[0] == built[1] == ours["jit_args"][0]

    theirs: dict[str, Any] = {}
    monkeypatch.setattr(BatchPrefillWithPagedKVCacheWrapper, "__init__", lambda self, **given: theirs.update(given))
    BatchAttentionWithAttentionSinkWrapper(
        torch.zeros(1), backend=path, head_dim_qk=128, head_dim_vo=128, window_left=-1 if window is None else window
    )
    assert theirs["jit_args"][1:] == ours["jit_args"][1:]
    assert theirs["jit_kwargs"].items() <= ours["jit_kwargs"].items()
    defaults = inspect.signature(gen_customize_batch_prefill_module).parameters
    for name in ours["jit_kwargs"].keys() - theirs["jit_kwargs"].keys():
        assert ours["jit_kwargs"][name] == defaults[name].default


@pytest.mark.parametrize("path", ["fa2", "fa3"])
@pytest.mark.parametrize("kv_dtype", [None, "float8_e4m3fn"])
def test_latent_attention_builds_what_its_wrapper_loads(
    built: list[str], path: str, kv_dtype: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrapper makes the module's name from what it is planned with; the plan itself needs a GPU."""
    import flashinfer.mla
    from flashinfer.jit.attention.modules import get_batch_mla_uri

    from autotune_cli.kernels.mla.backends import flashinfer_mla
    from autotune_cli.kernels.mla.problem import make_problem

    layer = {"num_heads": 16, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
    shape = MlaWorkload.model_validate(
        {"operation": "attention.mla_decode", "batch": 2, "context": 64, "mode": "eager"}
        | {"latent": layer | {"kv_dtype": kv_dtype}}
    )
    (module,) = flashinfer_mla.modules(shape, path=path, page_size=1)
    module.build()

    def planned(*arguments: Any) -> None:
        raise LookupError(get_batch_mla_uri(*arguments))

    monkeypatch.setattr("flashinfer.mla._core.get_batch_mla_module", planned)
    monkeypatch.setattr("flashinfer.mla._core.get_compute_capability", lambda device: (9, 0))
    wrapper = object.__new__(flashinfer.mla.BatchMLAPagedAttentionWrapper)
    wrapper._backend, wrapper.device = path, torch.device("cpu")
    problem = make_problem(shape, "workload", "cpu", 1)
    with pytest.raises(LookupError, match=f"^'?{module.name}'?$"):
        wrapper.plan(**flashinfer_mla.plan_arguments(problem, problem.paged(1)))
    assert built == [module.name]
    assert ("_sm90" in built[0]) == (path == "fa3")
    assert len(module.title) <= 52


def test_merge_builds_three_modules(built: list[str]) -> None:
    build = REGISTRY.get("flashinfer.ragged_paged_merge").build
    assert build is not None
    build(workload("attention.extend"), ragged="fa3", paged="fa2", page_size=1)
    assert len(built) == 3
    assert "cascade" in built[2]


def supported(shape: AttentionWorkload) -> list[tuple[Backend, dict[str, Any]]]:
    return [
        (backend, dict(candidate.knobs))
        for backend in REGISTRY.of(shape.operation)
        if backend.modules is not None
        for candidate in backend.candidates(shape, H200)
        if backend.why_unsupported(shape, H200, candidate) is None
    ]


@pytest.mark.parametrize("operation", ["attention.decode", "attention.prefill", "attention.extend"])
@pytest.mark.parametrize("extra", [{}, {"window_left": 9}, {"softcap": 30.0}, {"kv_dtype": "float8_e4m3fn"}], ids=str)
def test_names_are_those_of_what_is_built(built: list[str], operation: str, extra: dict[str, Any]) -> None:
    """Each module alone, as a builder builds it, and all of a candidate one after another."""
    shape = workload(operation, **extra)
    found = supported(shape)
    assert {"flashinfer.decode", "flashinfer.paged"} & {backend.name for backend, _ in found}
    for backend, knobs in found:
        assert backend.modules is not None
        assert backend.build is not None
        for module in backend.modules(shape, **knobs):
            assert built == [], "naming modules compiles nothing"
            module.build()
            assert built == [module.name]
            built.clear()
            flashinfer.cascade.get_cascade_module.cache_clear()
        modules = list(backend.modules(shape, **knobs))
        backend.build(shape, **knobs)
        assert built == [module.name for module in modules]
        assert len(set(built)) == len(built)
        built.clear()
        flashinfer.cascade.get_cascade_module.cache_clear()


def test_every_backend_that_builds_names_its_modules() -> None:
    builds = {backend.name for backend in REGISTRY.all() if backend.requires == ("flashinfer",)}
    assert len(builds) >= 8
    assert all(REGISTRY.get(name).modules is not None for name in builds)


def test_titles_tell_modules_apart(built: list[str]) -> None:
    """They are all that people see of a module, in 52 columns."""
    titles: dict[str, str] = {}
    for operation in ("attention.decode", "attention.prefill", "attention.extend"):
        for extra in ({}, {"window_left": 9}, {"softcap": 30.0}, {"kv_dtype": "float8_e4m3fn"}, {"head_dim": 256}):
            shape = workload(operation, **extra)
            for backend, knobs in supported(shape):
                assert backend.modules is not None
                for module in backend.modules(shape, **knobs):
                    assert titles.setdefault(module.title, module.name) == module.name
                    assert len(module.title) <= 52
                    assert module.variables == {"FLASHINFER_CUDA_ARCH_LIST": "9.0a"}
                    assert module.jobs >= 1
                    assert module.seconds > 0
    assert len(titles) == len(set(titles.values()))


def test_a_suite_is_listed_from_a_few_specifications(built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes source files: milliseconds, which a thousand candidates would turn into seconds."""
    from autotune_cli.kernels import flashinfer_jit

    flashinfer_jit._spec.cache_clear()
    suite = build_suite("llama-3.1-8b", "cuda")
    wanted = []
    for shape in suite.workloads:
        keys = [entry.candidate for entry in plan(shape, H200).candidates if entry.status is None]
        wanted.append((shape, keys))
    found = to_build(wanted)
    assert {module.title for module in found.modules} >= {"fa2 prefill bf16 d128", "decode bf16 d128", "cascade"}
    assert flashinfer_jit._spec.cache_info().misses == len(found.modules)
    assert len(found.needs) > 200
    merging = next(names for (_, key), names in found.needs.items() if "merge(ragged=fa3,paged=fa2" in key)
    assert len(merging) == 3


def test_compiled_ahead_needs_no_builder(built: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flashinfer.jit import env
    from flashinfer.jit.cascade import gen_cascade_module

    from autotune_cli.kernels.flashinfer_jit import is_compiled

    spec = gen_cascade_module()
    monkeypatch.setattr(env, "FLASHINFER_JIT_DIR", tmp_path / "jit")
    monkeypatch.setattr(env, "FLASHINFER_AOT_DIR", tmp_path / "aot")
    assert not is_compiled(spec)
    (tmp_path / "aot" / "cascade").mkdir(parents=True)
    (tmp_path / "aot" / "cascade" / "cascade.so").touch()
    assert is_compiled(spec)


@pytest.mark.skipif(shutil.which("ninja") is None, reason="ninja is not installed")
def test_ninja_says_whether_a_cached_module_is_fresh(built: list[str], tmp_path: Path) -> None:
    """FlashInfer's own specification with another rule to compile by: a source or a flag that has changed counts."""
    from flashinfer.jit.core import JitSpecNvcc

    from autotune_cli.kernels.flashinfer_jit import is_compiled

    class Copied(JitSpecNvcc):
        flags = "-p"
        build_dir = property(lambda self: tmp_path)
        ninja_path = property(lambda self: tmp_path / "build.ninja")
        jit_library_path = property(lambda self: tmp_path / "copied.so")

        def write_ninja(self) -> None:
            rule = f"rule copy\n command = cp {self.flags} $in $out && touch $out\n"
            self.ninja_path.write_text(f"{rule}build {tmp_path}/copied.so: copy {source}\n")

    source = tmp_path / "source.cu"
    source.write_text("")
    spec = Copied("copied", [source], None, None, None, None)
    assert not is_compiled(spec)
    spec.build(verbose=False)
    assert is_compiled(spec)
    later = (tmp_path / "copied.so").stat().st_mtime + 10.0
    os.utime(source, (later, later))
    assert not is_compiled(spec)
    os.utime(source, (1.0, 1.0))
    assert is_compiled(spec)
    Copied.flags = "-f"
    assert not is_compiled(spec)


@pytest.mark.parametrize("capability", [(8, 0), (9, 0), (10, 0)])
@pytest.mark.parametrize("head_dim", [64, 96, 128, 192, 256])
@pytest.mark.parametrize("kv_dtype", [None, "float8_e4m3fn"])
def test_fa3_applies_where_flashinfer_takes_it_by_itself(
    capability: tuple[int, int], head_dim: int, kv_dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashinfer.utils.is_sm90a_supported", lambda device: capability[0] == 9)
    shape = workload("attention.prefill", head_dim=head_dim, kv_dtype=kv_dtype)
    theirs = flashinfer.utils.determine_attention_backend(
        torch.device("cuda"),
        0,
        False,
        False,
        torch.bfloat16,
        getattr(torch, shape.geometry.cache_dtype),
        head_dim_qk=head_dim,
        head_dim_vo=head_dim,
    )
    refused = common.why_not(shape, Device("cuda", "a GPU", capability), "fa3")
    assert (refused is None) == (theirs == "fa3"), refused


def test_decode_plans_by_keyword() -> None:
    plan = inspect.signature(BatchDecodeWithPagedKVCacheWrapper._plan_impl)
    assert {"fixed_split_size", "disable_split_kv", "window_left", "logits_soft_cap"} <= set(plan.parameters)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (BatchPrefillWithPagedKVCacheWrapper.plan, {"max_token_per_sequence", "causal", "window_left"}),
        (BatchPrefillWithPagedKVCacheWrapper.plan, {"q_data_type", "kv_data_type", "o_data_type"}),
        (BatchPrefillWithPagedKVCacheWrapper.run, {"out", "lse", "return_lse", "k_scale", "v_scale", "args"}),
        (BatchPrefillWithRaggedKVCacheWrapper.plan, {"causal", "window_left", "logits_soft_cap"}),
        (BatchPrefillWithRaggedKVCacheWrapper.run, {"out", "lse", "return_lse"}),
        (BatchDecodeWithPagedKVCacheWrapper._plan_impl, {"o_data_type"}),
        (BatchDecodeWithPagedKVCacheWrapper.run, {"out", "enable_pdl", "k_scale", "v_scale", "args"}),
        (xqa_batch_decode_with_kv_cache, {"sinks", "bmm1_scale", "bmm2_scale"}),
        (xqa_batch_decode_with_kv_cache, {"block_tables", "seq_lens", "window_left", "out", "kv_layout"}),
    ],
)
def test_keywords_exist(function: Any, names: set[str]) -> None:
    assert names <= set(inspect.signature(function).parameters)


def test_install_hint_names_the_extra() -> None:
    for backend in REGISTRY.all():
        if backend.requires == ("flashinfer",):
            assert backend.install == "pip install 'kernel-autotune[cuda]'"
            assert backend.why_unsupported is not None
