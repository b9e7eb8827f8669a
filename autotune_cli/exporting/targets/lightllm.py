"""LightLLM: the files from which it takes how many parts FlashAttention-3 splits a decode step's keys into.

Read in LightLLM's ``lightllm/utils/sgl_utils.py`` and ``common/triton_utils/autotuner.py`` of 2026-09: a folder a
version of Triton and device, in it one a tuned call, in it a file a static key, whose name is that key. The call is
``sgl_fa3_kvcache_ns:v3``; each file maps a batch, as one number, to ``{"num_splits": N}``, and the nearest is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from autotune_cli.exporting.target import Exported, Material, NothingToExport, Target
from autotune_cli.kernels.attention.family import FAMILY
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import parse_key
from autotune_cli.planning.times import Time, Weighed, ratio_of, time_of
from autotune_cli.render import plan_words as words
from autotune_cli.results.schema import Environment, WorkloadResult

_CALL = "sgl_fa3_kvcache_ns:v3"
# Below lightllm/ of an installation.
_FOLDER = "common/triton_utils/autotune_kernel_configs"
_BACKEND = "sgl_kernel.fa3"
# LightLLM's pages hold one token.
_PAGE = 1
# sgl_utils.py: _flash_attn_kvcache_run_key.
_OF_BATCH, _OF_QUERIES = 10**13, 10**7


def _make(material: Material) -> Exported:
    environment = material.run.device
    triton, kernel = (environment.libraries.get(name, "not installed") for name in ("triton", "sgl_kernel"))
    if "not installed" in (triton, kernel):
        raise NothingToExport(target="lightllm", detail="the result was measured without triton or sgl_kernel")
    device = environment.device.replace(" ", "_")
    for part in (device, triton, kernel):
        # They are names of folders and files; a result is data of others, and its device may be "../..".
        if not part.isprintable() or "/" in part:
            raise NothingToExport(target="lightllm", detail=f"{part[:80]!r} can't be a part of a file's name")
    files: dict[str, dict[str, dict[str, int]]] = {}
    notes = [f"copy the folder over that of the same name in lightllm/; it is for triton {triton}, sgl_kernel {kernel}"]
    for result in material.run.workloads:
        workload = result.workload
        if not isinstance(workload, AttentionWorkload) or workload.operation != FAMILY.served["decode"]:
            continue
        splits = dict(_splits(result, environment))
        if not splits:
            continue
        best = min(sorted(splits), key=lambda number: splits[number].us)
        # The kernel's own choice stays where nothing beats it beyond the intervals.
        chosen = best
        if 0 in splits:
            gain = ratio_of(Weighed(1.0, "0", splits[0]), Weighed(1.0, str(best), splits[best]))
            chosen = best if gain.low > 1.0 else 0
            if chosen:
                notes.append(f"{workload.shape}: num_splits {chosen}, {words.ratio(gain)} over the kernel's own choice")
        name = f"{_FOLDER}/triton_{triton}/{device}/{_CALL}/{{{_static_key(workload, kernel)}}}_{device}.json"
        batch = workload.batch * _OF_BATCH + workload.new * _OF_QUERIES + workload.context
        files.setdefault(name, {})[str(batch)] = {"num_splits": chosen}
    if not files:
        detail = f"no decode step with {_BACKEND} over pages of one token"
        raise NothingToExport(target="lightllm", detail=detail)
    return Exported(
        {name: json.dumps(entries, indent=2, sort_keys=True) + "\n" for name, entries in files.items()}, tuple(notes)
    )


def _splits(result: WorkloadResult, environment: Environment) -> Iterator[tuple[int, Time]]:
    """Times by the number of splits, with the metadata that SGLang's and LightLLM's graphs have computed beforehand, or
    without where that is not measured.
    """
    for metadata in (False, True):
        for candidate in result.candidates:
            backend, knobs = parse_key(candidate.key)
            values = dict(knobs)
            if backend != _BACKEND or values.get("page_size") != _PAGE or values.get("tree") is not None:
                continue
            time = time_of(result, candidate, environment.device_kind)
            number = values.get("num_splits")
            if (
                time is not None
                and result.keeps(candidate)
                and isinstance(number, int)
                and values.get("scheduler_metadata") is metadata
            ):
                yield number, time


def _static_key(workload: AttentionWorkload, kernel: str) -> str:
    """``_flash_attn_kvcache_static_key`` in the order in which LightLLM writes it: by name."""
    geometry = workload.geometry
    cache = geometry.kv_dtype or geometry.dtype
    scaled = cache.startswith("float8")
    window = -1 if geometry.window_left is None else geometry.window_left
    fields: dict[str, object] = {
        "qd": f"torch.{geometry.q_dtype or geometry.dtype}",
        "kd": f"torch.{cache}",
        "vd": f"torch.{cache}",
        "qh": geometry.num_qo_heads,
        "kh": geometry.num_kv_heads,
        "hd": geometry.head_dim,
        "vh": geometry.head_dim,
        "pb": _PAGE,
        "c": 1,
        "wl": window,
        "wr": -1 if window < 0 else 0,
        "sc": int(geometry.softcap is not None),
        "sk": int(geometry.sinks),
        "has_k_descale": str(scaled).lower(),
        "has_v_descale": str(scaled).lower(),
        "sgl": kernel,
    }
    return ",".join(f"{name}={fields[name]}" for name in sorted(fields))


ABOUT = Target("FlashAttention-3's num_splits of decode steps, as LightLLM's files", _make, name="lightllm")
