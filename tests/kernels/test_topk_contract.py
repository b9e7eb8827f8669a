"""What our top-k backends rely on, held against the FlashInfer that is installed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from autotune_cli.kernels.topk.backends import _flashinfer, _sgl_kernel


@pytest.fixture(scope="module")
def flashinfer(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        # Importing it makes folders and a log there, in the home directory otherwise.
        patch.setenv("FLASHINFER_WORKSPACE_BASE", str(tmp_path_factory.mktemp("flashinfer")))
        return pytest.importorskip("flashinfer", reason="FlashInfer is not installed")


def parameters(function: object) -> dict[str, object]:
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}  # type: ignore[arg-type]


def test_top_k_takes_what_we_pass(flashinfer: ModuleType) -> None:
    known = parameters(flashinfer.top_k)
    assert list(known)[:2] == ["input", "k"]
    # Our knobs' absence is FlashInfer's default; unsorted is ours to rely on.
    expected = {"sorted": False, "deterministic": False, "tie_break": 0, "dsa_graph_safe": False}
    assert expected.items() <= known.items()


def test_top_k_ragged_transform_takes_what_we_pass(flashinfer: ModuleType) -> None:
    known = parameters(flashinfer.top_k_ragged_transform)
    assert list(known)[:4] == ["input", "offsets", "lengths", "k"]
    assert {"deterministic": False, "tie_break": 0, "dsa_graph_safe": False}.items() <= known.items()


def test_the_fused_selections_take_what_we_pass(flashinfer: ModuleType) -> None:
    known = parameters(flashinfer.top_k_ragged_transform)
    assert known["row_starts"] is None
    known = parameters(flashinfer.top_k_page_table_transform)
    assert list(known)[:4] == ["input", "src_page_table", "lengths", "k"]
    ours = {"row_to_batch": None, "row_starts": None, "page_table_row_starts": None, "page_size": 1}
    assert (ours | {"deterministic": False, "tie_break": 0, "dsa_graph_safe": False}).items() <= known.items()


def test_tie_breaks_have_our_numbers(flashinfer: ModuleType) -> None:
    # By its full name: the package has a function of the name topk too.
    members = importlib.import_module("flashinfer.topk").TopKTieBreak
    assert {str(member): int(member) for member in members} == _flashinfer.TIE_BREAKS


def test_the_module_to_build_is_found_by_our_hook(flashinfer: ModuleType) -> None:
    from flashinfer.jit.topk import gen_topk_module

    assert not inspect.signature(gen_topk_module).parameters
    assert callable(inspect.getattr_static(inspect.signature(gen_topk_module).return_annotation, "build_and_load"))


def test_the_kernels_read_the_algorithm_on_every_call(flashinfer: ModuleType) -> None:
    folder = Path(flashinfer.__file__ or "").parent
    source = (folder / "data/include/flashinfer/topk.cuh").read_text(encoding="utf-8")
    override = source.partition("TopKAlgoOverride GetTopKAlgoOverride()")[2].partition("\n}")[0]
    assert f'std::getenv("{_flashinfer.VARIABLE}")' in override
    assert "static" not in override, "it would be read once"
    for algorithm in _flashinfer.ALGORITHMS[1:]:
        assert f'"{algorithm}"' in override
    assert f"FILTERED_TOPK_MAX_K = {_flashinfer.FILTERED_MAX_K};" in source
    assert f'os.environ.get("{_flashinfer.VARIABLE}")' in (folder / "topk.py").read_text(encoding="utf-8")


def test_sgl_kernel_takes_what_we_pass() -> None:
    if importlib.util.find_spec("sgl_kernel") is None:
        pytest.skip("sgl_kernel is not installed")
    try:
        from sgl_kernel import fast_topk_v2
    except (ImportError, OSError) as error:
        pytest.skip(f"sgl_kernel can't be loaded here: {error}")
    assert list(parameters(fast_topk_v2))[:3] == ["score", "lengths", "topk"]


FUSED = {
    "fast_topk_v2": ["score", "lengths", "topk", "row_starts"],
    "fast_topk_transform_fused": ["score", "lengths", "page_table_size_1", "cu_seqlens_q", "topk", "row_starts"],
    "fast_topk_transform_ragged_fused": ["score", "lengths", "topk_indices_offset", "topk", "row_starts"],
}


@pytest.mark.parametrize("name", FUSED)
def test_each_known_sgl_kernel_takes_what_we_pass(name: str) -> None:
    """Its Python sources, as tests/fetch_contracts.py has brought them; that k must be 2048 is asserted there."""
    found = sorted((Path(__file__).parents[2] / ".venv/contracts").glob("sglang-kernel-*/sgl_kernel/top_k.py"))
    if not found:
        pytest.skip("the sources of sgl_kernel are not there: make test fetches them")
    for path in found:
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        (function,) = (each for each in functions if each.name == name)
        assert [argument.arg for argument in function.args.args] == FUSED[name]
        asserted = next(node for node in ast.walk(function) if isinstance(node, ast.Assert))
        assert ast.unparse(asserted.test) == f"topk == {_sgl_kernel.ONLY_K}"


def test_what_flashinfer_keeps_from_call_to_call_can_be_dropped(flashinfer: ModuleType) -> None:
    """Without this table the radix kernel's state would keep its address all the time, unnoticed."""
    import torch

    utils = importlib.import_module("flashinfer.utils")
    kept = getattr(utils, "_cache_buf", None)
    assert isinstance(kept, dict), "kernels/topk/backends/_flashinfer.py: forget_buffers"
    before = dict(kept)
    try:
        kept.clear()
        first = utils._get_cache_buf("radix_topk_row_states_tests", 64, torch.device("cpu"))
        assert list(kept.values()) == [first]
        _flashinfer.forget_buffers()
        assert not kept
        assert utils._get_cache_buf("radix_topk_row_states_tests", 64, torch.device("cpu")) is not first
    finally:
        kept.clear()
        kept.update(before)


def test_the_radix_kernels_state_is_kept_there(flashinfer: ModuleType) -> None:
    source = Path(importlib.import_module("flashinfer.topk").__file__ or "").read_text(encoding="utf-8")
    assert "_get_cache_buf(" in source


def test_every_top_k_backend_of_flashinfer_forgets() -> None:
    from autotune_cli.kernels.registry import REGISTRY

    ours = [backend for backend in REGISTRY.all() if backend.operations[0].startswith("topk.")]
    forgetting = {backend.name for backend in ours if backend.forget is not None}
    assert forgetting == {backend.name for backend in ours if "flashinfer" in backend.name}
    assert len(forgetting) == 5


def test_another_flashinfer_without_the_table_is_left_alone(
    flashinfer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(importlib.import_module("flashinfer.utils"), "_cache_buf")
    _flashinfer.forget_buffers()
