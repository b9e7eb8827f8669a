"""The KV cache's dtype that a quantised checkpoint asks for, as SGLang takes it with ``--kv-cache-dtype auto``.

Read in SGLang 0.5.23: model_executor's configure_kv_cache_dtype takes FP8 where the quantisation's class has
kv_cache_quant_algo FP8. ModelOpt's classes have (layers/quantization/modelopt_quant.py; 0.5.10 and later), from
kv_cache_scheme or kv_cache_quant_algo; compressed-tensors' for static, symmetric, per-tensor scales only (0.5.23; older
versions ignore the scheme); the fp8 method's from kv_cache_quant_algo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_cli.fields import Message
from autotune_cli.kernels.base import DType

_FP8: DType = "float8_e4m3fn"
_OFF = ("", "none", "auto")


def read_cache_dtype(quantization: object) -> tuple[DType | None, list[str]]:
    """Of a ``quantization_config`` or hf_quant_config.json; None: as the model's. With a line for people."""
    if not isinstance(quantization, Mapping):
        return None, []
    # ModelOpt's own file and some config.json nest it once more.
    inner = quantization.get("quantization")
    nested = isinstance(inner, Mapping)
    values: Mapping[str, Any] = inner if isinstance(inner, Mapping) else quantization
    scheme, algorithm = values.get("kv_cache_scheme"), values.get("kv_cache_quant_algo")
    told, what = ("kv_cache_scheme", scheme) if scheme is not None else ("kv_cache_quant_algo", algorithm)
    if what is None or (isinstance(what, str) and what.strip().lower() in _OFF) or what == {}:
        return None, []
    method = str(quantization.get("quant_method") or values.get("quant_method") or "").lower()
    producer = quantization.get("producer")
    by_modelopt = isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    modelopt = by_modelopt or nested or "modelopt" in method or (not method and "quant_algo" in values)
    taken = modelopt or (method == "fp8" and told == "kv_cache_quant_algo")
    if _is_fp8(what) and (taken or (method in ("compressed-tensors", "compressed_tensors") and _static(what))):
        said = "{told} asks for a {dtype} cache, which SGLang takes ({fields.kv_dtype} changes that)"
        return _FP8, [Message(said, told=told, dtype=_FP8)]
    said = method or "its quantisation"
    return None, [f"{told} asks for a quantised cache, which SGLang 0.5.23 doesn't take from {said[:40]}: left out"]


def _is_fp8(what: object) -> bool:
    if isinstance(what, Mapping):
        return what.get("type") == "float" and what.get("num_bits") == 8
    return isinstance(what, str) and what.strip().upper() in ("FP8", "FP8_E4M3", "FLOAT8_E4M3FN")


def _static(what: object) -> bool:
    """compressed-tensors: one static, symmetric scale a tensor."""
    if not isinstance(what, Mapping):
        return False
    return what.get("strategy") == "tensor" and what.get("symmetric", True) is True and not what.get("dynamic", False)
