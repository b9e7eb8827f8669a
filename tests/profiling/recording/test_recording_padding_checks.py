"""What is checked of a padded batch: its metadata, and what is left behind the real rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recording_cases import problem

from autotune_cli.profiling.path import PhasePlan
from autotune_cli.profiling.recording.compare import padding_checks
from autotune_cli.profiling.recording.padded import Padded
from autotune_cli.profiling.recording.recorded import Check
from autotune_cli.profiling.request import CandidateSpec


def piece(padding: int, mode: str, rest: float = 0.0, is_masked: bool = False) -> Any:
    """What is left of :class:`autotune_cli.profiling.recording.step.Pieces` after a run."""
    made = problem()
    real = made.q.shape[0]
    padded = None
    if mode == "fake-request":
        padded = Padded(made, torch.zeros(real + padding, 4, 64), 1, pool=len(made.lengths.qo))
    output = torch.full((real + padding, 4, 64), rest)
    output[:real] = 1.0
    return SimpleNamespace(padded=padded, output=output, real=real, is_masked=is_masked)


def padding(padding: int, mode: Any, rest: float = 0.0, break_it: Any = None) -> list[Check]:
    one = piece(padding, mode, rest)
    if break_it is not None:
        break_it(one)
    plan = PhasePlan("piecewise", CandidateSpec(), "paged", pad_mode=mode, static_tokens=one.real + padding)
    return padding_checks(plan, [one])


@pytest.mark.parametrize(
    ("count", "mode", "text"),
    [
        (5, "fake-request", "39 tokens and 5 tokens of a fake request on scratch slot 0; metadata of the real rows"),
        (0, "fake-request", "39 tokens fit exactly: no fake request"),
        (5, "narrow", "narrowed to 39 of 44 tokens, the other rows are zero"),
        (0, "narrow", "narrowed to 39 of 39 tokens"),
    ],
)
def test_padding_that_is_right(count: int, mode: str, text: str) -> None:
    checks = padding(count, mode)
    assert [(check.phase, check.code, check.ok) for check in checks] == [
        ("piecewise", "bad_padding", True),
        ("piecewise", "plan_waits", True),
    ]
    assert checks[0].text.startswith(text)


def faulty(name: str, index: int, value: int) -> Any:
    def change(one: Any) -> None:
        getattr(one.padded._buffers, name)[index] = value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (faulty("qo_indptr", 1, 2), "qo_indptr of the real rows differs from the unpadded plan's"),
        (faulty("qo_indptr", 6, 43), "qo_indptr ends at 43, not at 44"),
        (faulty("kv_indices", 0, 99), "kv_indices of the real rows differs"),
        (faulty("last_page_len", 0, 5), "last_page_len of the real rows differs"),
        (faulty("kv_indptr", 6, 1), "the fake request has"),
    ],
)
def test_faults_of_the_metadata(change: Any, text: str) -> None:
    (check,) = padding(5, "fake-request", break_it=change)
    assert (check.code, check.ok) == ("bad_padding", False)
    assert check.text.startswith("padding: ")
    assert text in check.text


@pytest.mark.parametrize("rest", [1.0, float("nan"), 1e-7])
def test_what_is_left_behind_the_real_rows(rest: float) -> None:
    (check,) = padding(5, "narrow", rest)
    assert (check.ok, check.text) == (False, "padding: rows beyond the real tokens are not zero")
    # With a fake request they are its own rows.
    assert padding(5, "fake-request", rest)[0].ok


@pytest.mark.parametrize("is_masked", [False, True])
def test_a_mask_is_known_to_wait_for_the_device(is_masked: bool) -> None:
    one = piece(0, "narrow", is_masked=is_masked)
    plan = PhasePlan("piecewise", CandidateSpec(), "paged", pad_mode="narrow", static_tokens=one.real)
    *_, waits = padding_checks(plan, [one])
    assert waits.ok
    assert ("waits" in waits.text) == is_masked
