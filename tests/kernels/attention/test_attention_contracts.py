"""The helper that reads signatures, its fetcher, and what the FlashAttention-3 candidates rely on in sglang-kernel."""

from __future__ import annotations

import ast
import inspect
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from contracts import Contract, Unevaluated, contract, signature_of

sys.path.insert(0, str(Path(__file__).parents[2]))
from fetch_contracts import PINS, fetch, keep, pins

VERSIONS = ("0.4.5", "0.4.10")
# What SGLang's FlashAttention backend passes or leaves alone, with the default it leaves it at.
CACHED: dict[str, Any] = {
    "cache_seqlens": None,
    "page_table": None,
    "cu_seqlens_q": None,
    "cu_seqlens_k_new": None,
    "max_seqlen_q": None,
    "q_descale": None,
    "k_descale": None,
    "v_descale": None,
    "softmax_scale": None,
    "causal": False,
    "window_size": (-1, -1),
    "softcap": 0.0,
    "scheduler_metadata": None,
    "num_splits": 0,
    "pack_gqa": None,
    "sm_margin": 0,
    "return_softmax_lse": False,
    "sinks": None,
    "out": None,
}
RAGGED: dict[str, Any] = {
    "seqused_k": None,
    "page_table": None,
    "softmax_scale": None,
    "causal": False,
    "window_size": (-1, -1),
    "softcap": 0.0,
    "num_splits": 1,
    "pack_gqa": None,
    "sinks": None,
    "out": None,
}
METADATA: dict[str, Any] = {
    "qkv_dtype": Unevaluated("torch.bfloat16"),
    "headdim_v": None,
    "cu_seqlens_q": None,
    "page_size": None,
    "causal": False,
    "window_size": (-1, -1),
    "has_softcap": False,
    "num_splits": 0,
    "pack_gqa": None,
    "sm_margin": 0,
}


def defaults(signature: inspect.Signature) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in signature.parameters.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("function", "needed", "wanted"),
    [
        ("flash_attn_with_kvcache", ["q", "k_cache", "v_cache"], CACHED),
        ("flash_attn_varlen_func", ["q", "k", "v", "cu_seqlens_q", "cu_seqlens_k"], RAGGED),
        (
            "get_scheduler_metadata",
            ["batch_size", "max_seqlen_q", "max_seqlen_k", "num_heads", "num_heads_k", "headdim", "cache_seqlens"],
            METADATA,
        ),
    ],
)
def test_what_we_rely_on_in_sgl_kernel(version: str, function: str, needed: list[str], wanted: dict[str, Any]) -> None:
    signature = contract("sglang-kernel", version).signature("sgl_kernel.flash_attn", function)
    found = defaults(signature)
    assert [name for name, default in found.items() if default is inspect.Parameter.empty] == needed
    assert {name: found.get(name, "missing") for name in wanted} == wanted
    signature.bind(**dict.fromkeys([*needed, *wanted]))
    with pytest.raises(TypeError, match="no_such"):
        signature.bind(**dict.fromkeys(needed), no_such=1)


@pytest.mark.parametrize("function", ["flash_attn_with_kvcache", "flash_attn_varlen_func", "get_scheduler_metadata"])
def test_both_versions_take_the_same(function: str) -> None:
    old, new = (contract("sglang-kernel", version).signature("sgl_kernel.flash_attn", function) for version in VERSIONS)
    assert old == new


@pytest.mark.parametrize(
    "text",
    [
        "a, b=1, *, c=None, d",
        "a, /, b, *rest, c=(-1, -1), **more",
        "*rest, c: int | None = -1.5",
        "a='x', b=[1, {'k': (True, None)}]",
        "",
    ],
)
def test_a_signature_is_python_s_own(text: str) -> None:
    definition = ast.parse(f"def made({text}): ...").body[0]
    assert isinstance(definition, ast.FunctionDef)
    scope: dict[str, Any] = {}
    exec(f"def made({text}): ...", scope)
    real = inspect.signature(scope["made"])
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in real.parameters.values()]
    assert signature_of(definition.args) == inspect.Signature(bare)


def test_modules_and_functions_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").write_text("def here(a, b=torch.int32): ...\n")
    made = Contract(tmp_path)
    assert defaults(made.signature("lib", "here"))["b"] == Unevaluated("torch.int32")
    with pytest.raises(LookupError, match=r"no module lib\.nested"):
        made.signature("lib.nested", "here")
    with pytest.raises(LookupError, match="no function there"):
        made.signature("lib", "there")


def test_a_package_that_is_not_there_skips_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contracts.ROOT", tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"run: python tests/fetch_contracts\.py"):
        contract("some-package", "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert "some-package" in str(fetch("some-package", "1.0", tmp_path))
    with pytest.raises(pytest.skip.Exception, match="No matching distribution found for some-package"):
        contract("some-package", "1.0")


def test_only_python_files_and_metadata_are_kept(tmp_path: Path) -> None:
    wheel = tmp_path / "made-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("made/__init__.py", "made/ops.so", "made-1.0.dist-info/METADATA", "made-1.0.dist-info/RECORD"):
            archive.writestr(name, "x")
    keep(wheel, tmp_path / "kept")
    files = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert files == {"made/__init__.py", "made-1.0.dist-info/METADATA"}


def test_the_pins_are_exact_and_nothing_is_on_the_path() -> None:
    wanted = pins(PINS.read_text())
    assert {("sglang-kernel", version) for version in VERSIONS} <= set(wanted)
    assert all(version[0].isdigit() for _, version in wanted)
    assert not any("contracts" in Path(entry).parts for entry in sys.path)
