"""Captured scores: read from each format, named by what they are, and refused where they are no scores."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from autotune_cli.errors import BadFile
from autotune_cli.kernels.base import DISTRIBUTIONS, CapturedScores
from autotune_cli.kernels.topk.captured import describe, load
from autotune_cli.kernels.topk.problem import cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload

SCORES = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([50, 7, 0])
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int32: "I32", torch.int64: "I64", torch.float16: "F16"}


def safetensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        body = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(body)]
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += body
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def array(path: Path, value: np.ndarray) -> Path:
    np.save(path, value)
    return path


def workload(file: CapturedScores, k: int = 4) -> TopkWorkload:
    return TopkWorkload.of_captured(file, "topk.select", k, "eager", ("normal",))


def test_formats_are_read_alike(tmp_path: Path) -> None:
    both = {"scores": SCORES, "lengths": LENGTHS}
    files = [
        array(tmp_path / "a.npy", SCORES.numpy()),
        array(tmp_path / "fortran.npy", np.asfortranarray(SCORES.numpy())),
        array(tmp_path / "big_endian.npy", SCORES.numpy().astype(">f4")),
        saved(tmp_path / "a.pt", SCORES),
        saved(tmp_path / "odd_name.pt", {"x": SCORES}),
        saved(tmp_path / "view.pt", {"logits": torch.stack((SCORES, SCORES), 2)[:, :, 0]}),
        safetensors(tmp_path / "a.safetensors", {"kwarg_logits": SCORES, "arg_1": LENGTHS}),
    ]
    for file in files:
        scores, lengths = load(str(file))
        assert torch.equal(scores, SCORES), file
        assert scores.is_contiguous()
        assert lengths.tolist() == [50] * 3
    assert len({describe(str(file)).digest for file in files}) == 1
    for file in (saved(tmp_path / "l.pt", both), safetensors(tmp_path / "l.safetensors", both)):
        found = describe(str(file))
        assert (found.rows, found.width, found.dtype, found.lengths) == (3, 50, "float32", (50, 7, 0))
        assert found.digest != describe(str(files[0])).digest


def test_a_bfloat16_stays_one(tmp_path: Path) -> None:
    rounded = SCORES.bfloat16()
    for file in (saved(tmp_path / "a.pt", rounded), safetensors(tmp_path / "a.safetensors", {"arg_0": rounded})):
        found = describe(str(file))
        assert found.dtype == "bfloat16"
        problem = make_problem(workload(found), "captured", "cpu", 0)
        assert torch.equal(problem.scores, rounded)


def test_a_workload_is_timed_on_them_first_and_named_by_their_digest(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.pt", {"scores": SCORES, "lengths": LENGTHS})
    found = workload(describe(str(file)))
    assert cases(found) == ("captured", "normal", "lengths")
    assert found.lengths == (50, 7, 0)
    assert (
        found.key == f"topk.select 3 x 50 uneven k4 eager float32 captured {describe(str(file)).digest} scores normal"
    )
    moved = saved(tmp_path / "b.pt", {"scores": SCORES, "lengths": LENGTHS})
    assert workload(describe(str(moved))).key == found.key
    other = saved(tmp_path / "c.pt", {"scores": SCORES + 1, "lengths": LENGTHS})
    assert workload(describe(str(other))).key != found.key
    assert "captured" not in TopkWorkload.select(rows=3, width=50, k=4).key
    problem = make_problem(found, "captured", "cpu", 5)
    right = SCORES.masked_fill(torch.arange(50) >= LENGTHS[:, None], -torch.inf).topk(4).indices.int()
    right[2] = -1
    assert problem.check(right).ok
    assert problem.full is False
    right[1, 0] = 7  # behind the row's length
    assert not problem.check(right).ok


def test_a_file_that_changes_is_no_longer_the_workloads(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.pt", SCORES)
    found = workload(describe(str(file)))
    saved(file, SCORES * 2)
    with pytest.raises(BadFile, match="is not what it was when the run began"):
        make_problem(found, "captured", "cpu", 0)
    file.unlink()
    with pytest.raises(BadFile, match="no such file"):
        make_problem(found, "captured", "cpu", 0)


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("run",)


def _pickle(path: Path) -> Path:
    path.write_bytes(pickle.dumps({"scores": _Runs()}, protocol=2))
    return path


def _archive(path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, scores=SCORES.numpy())
    return path


def _claims(path: Path) -> Path:
    """A file of 4 PB, as it says."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))
    return path


def _header(path: Path, header: object) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "shape": (lambda f: saved(f / "x.pt", SCORES[0]), r"scores is float32 \[50\]; scores are \[rows, width\]"),
    "empty": (lambda f: saved(f / "x.pt", SCORES[:0]), r"scores is float32 \[0, 50\]"),
    "dtype": (lambda f: array(f / "x.npy", SCORES.double().numpy()), "is float64 .*scores are float32 or bfloat16"),
    "half": (lambda f: saved(f / "x.pt", SCORES.half()), "is float16 .*scores are float32 or bfloat16"),
    "integers": (lambda f: saved(f / "x.pt", LENGTHS[:, None]), "is int64"),
    "texts": (lambda f: array(f / "x.npy", np.array([["a"]])), "is no type of scores"),
    "objects": (lambda f: array(f / "x.npy", np.array([_Runs()])), r"Python objects in it are not loaded"),
    "nan": (lambda f: saved(f / "x.pt", SCORES.clone().fill_(torch.nan)), r"has scores that are NaN \(150\)"),
    "no scores": (lambda f: saved(f / "x.pt", {"a": SCORES, "b": SCORES}), "has no tensor named scores or .*but: a, b"),
    "lengths": (lambda f: saved(f / "x.pt", {"scores": SCORES, "lengths": LENGTHS[:2]}), r"lengths are int64 \[2\]"),
    "floats": (lambda f: saved(f / "x.pt", {"scores": SCORES, "lengths": LENGTHS.float()}), "lengths are float32"),
    "long": (
        lambda f: saved(f / "x.pt", {"scores": SCORES, "lengths": LENGTHS + 1}),
        "lengths that are not from 0 to 50",
    ),
    "text": (lambda f: saved(f / "x.pt", {"scores": SCORES, "note": "x"}), "neither a tensor nor tensors by name"),
    "list": (lambda f: saved(f / "x.pt", [SCORES]), "neither a tensor nor tensors by name"),
    "code": (
        lambda f: saved(f / "x.pt", {"scores": _Runs()}),
        "holds something else than tensors, so it is not loaded",
    ),
    "pickle": (lambda f: _pickle(f / "x.pt"), "holds something else than tensors|is no file of torch.save"),
    "archive": (lambda f: _archive(f / "x.npy"), r"is no whole \.npy file"),
    "too large": (lambda f: _claims(f / "x.npy"), "more than there is memory for, or says so"),
    "meta": (lambda f: saved(f / "x.pt", SCORES.to("meta")), "a tensor without its numbers"),
    "eight bits": (
        lambda f: _header(f / "x.safetensors", {"scores": {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [0, 0]}}),
        "scores is F8_E4M3; scores are float32 or bfloat16",
    ),
    "negative shape": (
        lambda f: _header(f / "x.safetensors", {"a": {"dtype": "F32", "shape": [-1, 3], "data_offsets": [0, 24]}}),
        "a tensor has no shape",
    ),
    "endless shape": (
        lambda f: _header(f / "x.safetensors", {"a": {"dtype": "F32", "shape": [0, 9**99], "data_offsets": [0, 0]}}),
        "a tensor has no shape$",
    ),
    "sparse": (lambda f: saved(f / "x.pt", SCORES.to_sparse()), "sparse or quantised"),
    "format": (lambda f: f / "x.bin", r"in a file \.npy, \.pt or \.safetensors"),
    "absent": (lambda f: f / "x.npy", "no such file or directory"),
    "folder": (lambda f: f.joinpath("x.pt").mkdir() or f / "x.pt", "is a directory"),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, said = BAD[name]
    with pytest.raises(BadFile, match=said):
        describe(str(make(tmp_path)))
    assert not (tmp_path / "run").exists()


def test_nan_behind_a_length_is_nothing(tmp_path: Path) -> None:
    scores = SCORES.masked_fill(torch.arange(50) >= LENGTHS[:, None], torch.nan)
    assert describe(str(saved(tmp_path / "a.pt", {"scores": scores, "lengths": LENGTHS}))).rows == 3


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = {
        "x.npy": array(tmp_path / "a.npy", SCORES.numpy()).read_bytes(),
        "x.pt": saved(tmp_path / "a.pt", SCORES).read_bytes(),
        "x.safetensors": safetensors(tmp_path / "a.safetensors", {"scores": SCORES}).read_bytes(),
    }
    for name, data in whole.items():
        for cut in (0, 4, 9, 40, len(data) // 2, len(data) - 1):
            (tmp_path / name).write_bytes(data[:cut])
            with pytest.raises(BadFile):
                load(str(tmp_path / name))
    header = b'{"scores": {"dtype": "F32", "shape": [2, 3], "data_offsets": [-8, 16]}}'
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    with pytest.raises(BadFile, match="beyond its end"):
        load(str(tmp_path / "x.safetensors"))
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**63) + bytes(24))
    with pytest.raises(BadFile, match="header is longer"):
        load(str(tmp_path / "x.safetensors"))


def test_suites_without_a_file_are_what_they_were() -> None:
    assert cases(TopkWorkload.select(rows=1, width=9, k=2)) == DISTRIBUTIONS


@pytest.mark.parametrize("ending", [".npy", ".pt", ".safetensors"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores{ending}"
    os.mkfifo(path)
    with pytest.raises(BadFile, match="not a regular file but a pipe"):
        load(str(path))
