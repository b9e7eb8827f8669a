"""``--scores-file``: from the file to the result, and what is refused before anything is measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from running import Autotune, Finished


def test_captured_scores_are_tuned_on_and_found_in_the_cache_wherever_they_lie(autotune: Autotune) -> None:
    scores = np.random.default_rng(0).standard_normal((2, 4096), dtype=np.float32)
    for name in ("first.npy", "second.npy"):
        np.save(autotune.root / name, scores)
    options = ("--model", "cpu", "--scores", "normal", "--rounds", "3", "--keep-noisy", "--cache")
    made = autotune.tune("--scores-file", "first.npy", *options)
    (result,) = made.run.workloads
    key = result.workload.key
    assert re.fullmatch(r"topk\.select 2 x 4096 k2048 eager float32 captured [0-9a-f]{16} scores normal", key)
    right = [candidate for candidate in result.candidates if candidate.evidence]
    assert right
    assert all([case.case for case in candidate.evidence] == ["captured", "refilled", "normal"] for candidate in right)
    assert result.choice is not None
    again = autotune.tune("--scores-file", "second.npy", *options)
    assert "(cache)" in again.err
    shown = autotune("show", made.path, code=0)
    assert "topk.select captured" in shown.out


def test_refusals(usage: Callable[..., Finished], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8), dtype=np.int32))
    for words, said in (
        (("--batch", "3"), "--batch: --scores-file has the shape"),
        (("--context", "3"), "--context: --scores-file has the shape"),
        (("--spread", "even"), "--spread: --scores-file has the shape"),
        (("--op", "decode"), "--scores-file: attention.decode takes no scores; topk.select does"),
        ((), "error: a.npy: scores is int32 [2, 8]; scores are float32 or bfloat16"),
    ):
        done = usage("tune", "--device", "cpu", "--no-cache", "--scores-file", "a.npy", *words)
        assert (done.code, done.out) == (2, "")
        assert said in done.err, done.err
