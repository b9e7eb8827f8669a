"""What a backend is registered with: a slip is a line that names the backend."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest

from autotune_cli.kernels.registering import (
    checked_devices,
    checked_knobs,
    checked_reason,
    checked_texts,
    yielded_knobs,
)
from autotune_cli.kernels.registry import Backend, Device, register
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning import plan
from autotune_cli.tuning.plan import of_backend

W = TopkWorkload(operation="topk.select", rows=2, width=64, k=4, mode="eager")
CPU = Device("cpu", "a CPU")

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: checked_knobs("a.b", {"mode": "fast"}), r"knob mode='fast' is no list of values; one value is"),
    "bytes": (lambda: checked_knobs("a.b", {"mode": b"fast"}), "knob mode=b'fast' is no list"),
    "a number": (lambda: checked_knobs("a.b", {"warps": 4}), r"knob warps=4 is no list of values; one value is \(4,\)"),
    "None": (lambda: checked_knobs("a.b", {"warps": None}), "knob warps=None is no list"),
    "a mapping": (lambda: checked_knobs("a.b", {"warps": {4: 8}}), "knob warps={4: 8} is no list"),
    "nothing": (lambda: checked_knobs("a.b", {"warps": ()}), "knob warps has no values"),
    "no end": (lambda: checked_knobs("a.b", {"warps": itertools.count()}), "knob warps has more than 1,000,000 values"),
    "pairs": (lambda: checked_knobs("a.b", [("warps", (4,))]), "is neither a mapping nor a function"),
    "a text for all": (lambda: checked_knobs("a.b", "warps"), "knobs='warps' is neither a mapping nor a function"),
    "no name": (lambda: checked_knobs("a.b", {3: (1,)}), "knob 3 is no name of an argument"),
    "no identifier": (lambda: checked_knobs("a.b", {"a-b": (1,)}), "knob 'a-b' is no name of an argument"),
    "one module": (lambda: checked_texts("a.b", "requires", "triton"), r"requires='triton' is no list; one is"),
    "no text": (lambda: checked_texts("a.b", "requires", (3,)), r"requires=\(3,\) is no list of texts"),
    "not iterable": (lambda: checked_texts("a.b", "requires", 3), "requires=3 is no list of texts"),
    "one device": (lambda: checked_devices("a.b", "cpu"), r"devices='cpu' is no list; one is \('cpu',\)"),
    "unknown device": (lambda: checked_devices("a.b", ("gpu",)), r"devices=\('gpu',\); known: 'cuda', 'cpu'"),
    "no device": (lambda: checked_devices("a.b", ()), r"devices=\(\); known"),
    "True": (lambda: checked_reason("a.b", True), "unsupported returned True; it returns the reason as text, or None"),
    "False": (lambda: checked_reason("a.b", False), "unsupported returned False"),
    "an empty text": (lambda: checked_reason("a.b", " "), "unsupported returned ' '"),
    "a tuple": (lambda: checked_reason("a.b", (False, "no")), r"unsupported returned \(False, 'no'\)"),
    "no yield": (lambda: list(yielded_knobs("a.b", None)), "its knobs function returned None, not a list of mappings"),
    "one mapping": (lambda: list(yielded_knobs("a.b", {"x": 1})), "its knobs function returned {'x': 1}, not a list"),
    "tuples": (lambda: list(yielded_knobs("a.b", [(1, 2)])), r"its knobs function yielded \(1, 2\), not knobs by name"),
    "numbers": (lambda: list(yielded_knobs("a.b", [{1: 2}])), "its knobs function yielded {1: 2}, not knobs by name"),
    "one name for two": (lambda: planned(1, "1"), r"have the same name"),
    "one name for True": (lambda: planned("true", True), r"have the same name"),
}  # fmt: skip


def planned(*values: Any) -> list[str]:
    backend = Backend(
        "topk.select", name="a.b", knobs=lambda workload, device: ({"i": value} for value in values), devices=("cpu",)
    )
    return [each.candidate.key for each in of_backend(backend, W, CPU)]


@pytest.mark.parametrize("what", WRONG)
def test_a_slip_names_the_backend(what: str) -> None:
    call, message = WRONG[what]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert re.match("backend a.b: ", str(caught.value))
    assert "\n" not in str(caught.value)


def test_candidates_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_CANDIDATES", 1000)
    backend = Backend(
        "topk.select", name="a.b", knobs=lambda w, d: ({"i": i} for i in itertools.count()), devices=("cpu",)
    )
    with pytest.raises(ValueError, match=r"^backend a.b: more than 1,000 candidates for topk.select 2 x 64"):
        of_backend(backend, W, CPU)


def test_what_is_right_stays() -> None:
    function = lambda workload, device: [{"x": 1}]  # noqa: E731
    assert checked_knobs("a.b", None) == {}
    assert checked_knobs("a.b", function) is function
    assert checked_knobs("a.b", {"x": [1, 2], "y": range(2), "z": {"b", "a"}}) == {
        "x": (1, 2),
        "y": (0, 1),
        "z": ("a", "b"),
    }
    assert checked_texts("a.b", "requires", ["triton"]) == ("triton",)
    assert checked_reason("a.b", None) is None
    assert checked_reason("a.b", "needs SM90") == "needs SM90"
    assert planned(1, 2, 1) == ["a.b(i=1)", "a.b(i=2)"]


def test_an_operation_or_a_name_that_is_no_text() -> None:
    with pytest.raises(ValueError, match=r"unknown operation \['topk.select'\]"):
        register(["topk.select"], name="a.b")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the name of a backend is a text, not 3"):
        register("topk.select", name=3)  # type: ignore[arg-type]
