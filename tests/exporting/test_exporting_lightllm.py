"""LightLLM's num_splits files: names, keys and values as its own code makes and reads them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_runs import candidate, real, requiring, result, run, workload

from autotune_cli.exporting.target import Exported, Material, NothingToExport, find_target
from autotune_cli.planning.plan import Request
from autotune_cli.results.schema import RunFile

# Of LightLLM's repository, for other heads: each part of the name must be there, in that order.
REAL_NAME = (
    "triton_3.6.0/NVIDIA_H100_80GB_HBM3/sgl_fa3_kvcache_ns:v3/{c=1,has_k_descale=false,has_v_descale=false,hd=256,"
    "kd=torch.bfloat16,kh=2,pb=1,qd=torch.bfloat16,qh=12,sc=0,sgl=0.4.2.post1,sk=0,vd=torch.bfloat16,vh=256,wl=-1,wr=-1}"
    "_NVIDIA_H100_80GB_HBM3.json"
)


def exported(of: RunFile) -> Exported:
    return find_target("lightllm").make(Material(of, Request()))


def fa3_splits(number: int, us: float, half: float = 0.1) -> object:
    return candidate(f"sgl_kernel.fa3(page_size=1,num_splits={number},scheduler_metadata=true)", us, half)


def test_a_files_name_is_lightllms_own() -> None:
    layer = {"num_qo_heads": 12, "num_kv_heads": 2, "head_dim": 256}
    of = run(result(workload("decode", **layer), fa3_splits(0, 10.0), fa3_splits(4, 8.0)))  # type: ignore[arg-type]
    (name,) = exported(of).files
    assert name == f"common/triton_utils/autotune_kernel_configs/{REAL_NAME}".replace("0.4.2.post1", "0.4.5")


def test_keys_and_values() -> None:
    """Batch, queries and keys in one number, as ``10000020032768`` is 1 x 2 queries x 32768 keys in its repository."""
    of = run(
        result(workload("decode", 1), fa3_splits(0, 10.0), fa3_splits(4, 8.0)),  # type: ignore[arg-type]
        result(workload("decode", 64), fa3_splits(0, 10.0), fa3_splits(4, 9.95)),  # type: ignore[arg-type]
        result(workload("extend"), candidate("sgl_kernel.fa3(page_size=1,num_splits=8,pack_gqa=none)", 1.0)),
    )
    done = exported(of)
    (text,) = done.files.values()
    # Where nothing beats the kernel's own choice beyond the intervals, that stays.
    assert json.loads(text) == {"10000010004096": {"num_splits": 4}, "640000010004096": {"num_splits": 0}}
    assert [note for note in done.notes if "num_splits" in note] == [
        "1 x 4096: num_splits 4, 1.250x (1.230 .. 1.270) over the kernel's own choice"
    ]


def test_splits_that_don_t_keep_what_is_required_are_not_told() -> None:
    metadata = "sgl_kernel.fa3(page_size=1,num_splits={},scheduler_metadata=true)"
    of = result(workload("decode", 1), fa3_splits(0, 10.0), fa3_splits(4, 8.0))  # type: ignore[arg-type]
    (text,) = exported(run(requiring(of, metadata.format(0)))).files.values()
    assert json.loads(text) == {"10000010004096": {"num_splits": 0}}


def test_a_real_result() -> None:
    done = exported(real("llama-3.1-8b"))
    ((name, text),) = done.files.items()
    assert re.search(r"/triton_3\.6\.0/NVIDIA_H100_80GB_HBM3/sgl_fa3_kvcache_ns:v3/\{c=1,.*,kh=8,.*,qh=32,.*\}_", name)
    entries = json.loads(text)
    assert len(entries) == 10
    assert {tuple(entry) for entry in entries.values()} == {("num_splits",)}
    windowed = exported(real("gpt-oss-120b"))
    assert sorted(re.findall(r"sk=1.*,wl=(-?\d+),wr=(-?\d+)", "\n".join(windowed.files))) == [
        ("-1", "-1"),
        ("127", "0"),
    ]


def test_nothing_of_it_was_measured() -> None:
    with pytest.raises(NothingToExport, match="no decode step with sgl_kernel"):
        exported(real("llama-3.1-8b", "h200"))


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "../../../x"},
        {"device": "a\0b"},
        {"libraries": {"triton": "/../../x", "sgl_kernel": "0.4.5"}},
        {"libraries": {"triton": "3.6.0", "sgl_kernel": "x/y"}},
    ],
)
def test_no_result_writes_outside_the_folder(changes: dict[str, object]) -> None:
    of = run(result(workload("decode"), fa3_splits(0, 10.0)))  # type: ignore[arg-type]
    here = of.device.model_copy(update=changes)
    with pytest.raises(NothingToExport, match="can't be a part of a file's name"):
        exported(of.model_copy(update={"environments": {"e": here}}))
