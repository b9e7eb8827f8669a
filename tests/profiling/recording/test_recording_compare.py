"""Comparisons of what phases put out: right, the same bits, padded rows as unpadded ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recording_cases import CPU

from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.models import load_model
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.recording import compare
from autotune_cli.profiling.recording.compare import Outputs, compare_phases
from autotune_cli.profiling.recording.recorded import Check, PhaseRun
from autotune_cli.profiling.request import CandidateSpec, PathRequest

WHAT = "eager and replay"
TWO_REQUESTS = Lengths((1, 1), (2, 3))


def same_bits(*pairs: tuple[torch.Tensor, torch.Tensor], **more: Any) -> Check:
    first, second = more.pop("policies", ([""] * len(pairs), [""] * len(pairs)))
    names = [[f"row {row}" for row in range(len(one))] for one, _ in pairs]
    return compare._same_bits("replay", pairs, "eager and replay", first, second, names, **more)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int32, torch.float8_e4m3fn])
def test_equal_bits(dtype: torch.dtype) -> None:
    one = torch.arange(24).view(4, 6).to(dtype)
    assert same_bits((one, one.clone()), (one[:0], one[:0])) == Check(
        "replay", "bits_differ", True, "eager and replay: bit-equal"
    )
    # Also of a view that is not contiguous.
    assert same_bits((one, one.t().contiguous().t())).ok


def test_a_difference_says_how_many_rows_by_how_much_and_which_is_the_first() -> None:
    one = torch.zeros(4, 2, 3)
    other = one.clone()
    other[1, 0, 0], other[3] = 0.25, -0.5
    check = same_bits((one, one), (one, other))
    assert check == Check(
        "replay", "bits_differ", False, f"{WHAT}: 2 of 8 rows differ, by up to 0.5, first row 1 in layer 1"
    )
    assert same_bits((one, other)).text.endswith("2 of 4 rows differ, by up to 0.5, first row 1")


def test_bits_not_values() -> None:
    zero, nan = torch.zeros(1, 2), torch.full((1, 2), float("nan"))
    assert not same_bits((zero, -zero)).ok
    assert same_bits((nan, nan.clone())).ok
    assert "1 of 1 rows differ, by up to 0" in same_bits((zero, -zero)).text
    assert not same_bits((nan, zero)).ok


def test_where_the_work_was_split_otherwise_it_is_said() -> None:
    one, other = torch.zeros(1, 2), torch.ones(1, 2)
    policies = (["same", "KV split"], ["same", "KV not split"])
    check = same_bits((one, one), (one, other), policies=policies, code="padding_changes_rows", must=False)
    assert check == Check(
        "replay",
        "padding_changes_rows",
        True,
        "eager and replay: 1 of 2 rows differ, by up to 1, first row 0 in layer 1 (KV split; KV not split)",
    )
    assert not same_bits((one, one), (one, other), policies=policies).ok


def test_outputs_are_copies() -> None:
    """The next phase writes into the same tensors."""
    out, lse = torch.zeros(3, 2), torch.zeros(3)
    outputs = Outputs.of([(out, lse), out, [out, lse]])
    out.fill_(7.0)
    lse.fill_(7.0)
    (pair, alone, listed) = outputs.values
    assert not pair[0].any()
    assert not pair[1].any()
    assert not alone.any()
    assert not listed[0].any()


def test_the_rows_of_the_padding_are_cut_off() -> None:
    out = torch.arange(6.0).view(6, 1)
    outputs = Outputs(((out, torch.zeros(6)), out))
    assert [value.flatten().tolist() for value in outputs.first_rows([4, 2]).values] == [[0, 1, 2, 3], [0, 1]]


@dataclass
class Judged:
    """A problem that knows its right output."""

    right: torch.Tensor
    lengths: Any = TWO_REQUESTS

    @property
    def q(self) -> torch.Tensor:
        return self.right

    def check(self, output: Any) -> Verdict:
        out = output[0] if isinstance(output, tuple) else output
        assert out.shape == self.right.shape
        error = float((out.float() - self.right.float()).abs().max())
        return Verdict(error <= 0.5, error, 0.5, "error norm", "row 0 is off")


LLAMA = load_model("llama-3.1-8b")


def spec(bitwise: bool = False, mode: Any = "extend", **values: Any) -> PathSpec:
    return plan_path(PathRequest(mode, batch=2, bitwise=bitwise, **values), LLAMA, LLAMA.geometries())[0]


def compared(path: PathSpec, policy: str = "", **outputs: torch.Tensor) -> list[Check]:
    problems = [Judged(torch.zeros(2, 3))]
    runs = {plan.name: PhaseRun(plan) for plan in path.phases}
    policies = {name: [policy] for name in runs}
    found = {name: Outputs((output,)) for name, output in outputs.items()}
    return compare_phases(path, problems, found, runs, policies, CPU)


def test_each_phases_output_must_be_right() -> None:
    zero = torch.zeros(2, 3)
    checks = compared(spec(), eager=zero + 0.25, replay=zero)
    assert checks == [
        Check("eager", "wrong_output", True, "output right: error norm 0.25 (limit 0.5)"),
        Check("replay", "wrong_output", True, "output right: error norm 0 (limit 0.5)"),
    ]
    wrong = compared(spec(), eager=zero, replay=zero + 1)
    assert [check.ok for check in wrong] == [True, False]
    assert wrong[1] == Check("replay", "wrong_output", False, "the output is wrong: row 0 is off")


def test_bit_for_bit_only_where_it_is_asked_for() -> None:
    zero, near = torch.zeros(2, 3), torch.full((2, 3), 1e-3)
    assert {check.code for check in compared(spec(), eager=zero, replay=near)} == {"wrong_output"}
    (found,) = [one for one in compared(spec(bitwise=True), eager=zero, replay=near) if one.code == "bits_differ"]
    assert (found.phase, found.ok) == ("replay", False)
    assert found.text == (
        "eager and replay: 2 of 2 rows differ, by up to 0.001, first token 0 of request 0 (1 new of 2 keys)"
    )
    (same,) = [one for one in compared(spec(bitwise=True), eager=zero, replay=zero) if one.code == "bits_differ"]
    assert same.ok
    # With only one of the phases there is nothing to compare.
    assert {check.code for check in compared(spec(bitwise=True), replay=zero)} == {"wrong_output"}


def test_another_kernel_is_named_before_another_split() -> None:
    """An extend is ragged when eager, and paged in a graph."""
    path, out = spec(bitwise=True), torch.zeros(2, 3)
    ran = {"eager": ("flashinfer.ragged",), "replay": ("flashinfer.paged",)}
    runs = {plan.name: replace(PhaseRun(plan), candidates=ran.get(plan.name, ())) for plan in path.phases}
    found = {"eager": Outputs((out,)), "replay": Outputs((out + 1e-3,))}
    policies = {name: ["KV split" if name == "eager" else "KV not split"] for name in runs}
    checks = compare_phases(path, [Judged(out)], found, runs, policies, CPU)
    assert checks[-1].text.endswith(" (flashinfer.ragged; flashinfer.paged)")
    same = {name: replace(run, candidates=("flashinfer.paged",)) for name, run in runs.items()}
    checks = compare_phases(path, [Judged(out)], found, same, policies, CPU)
    assert checks[-1].text.endswith(" (KV split; KV not split)")


def test_whose_row_it_is() -> None:
    batch = Judged(torch.zeros(0), Lengths((2, 1, 1), (2, 9, 40)))
    assert compare.row_names(batch) == [
        "token 0 of request 0 (2 new of 2 keys)",
        "token 1 of request 0 (2 new of 2 keys)",
        "token 0 of request 1 (1 new of 9 keys)",
        "token 0 of request 2 (1 new of 40 keys)",
    ]
    assert [name.split()[4] for name in compare.row_names(batch, [0, 2])] == ["0", "0", "2"]
    selection = SimpleNamespace(lengths=torch.tensor([5, 7]), workload=SimpleNamespace(rows=2))
    assert compare.row_names(selection) == ["row 0", "row 1"]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run without padding, or of a part of the batch, gives."""
    found: dict[str, Any] = {"out": torch.zeros(2, 3), "policy": "", "wanted": []}

    def prepared(candidate: CandidateSpec, problem: Any) -> Any:
        found["wanted"].append(candidate)
        return SimpleNamespace(run=lambda: found["out"])

    monkeypatch.setattr(compare, "choose", lambda wanted, workload, device: wanted)
    monkeypatch.setattr(compare, "prepared", prepared)
    monkeypatch.setattr(compare, "split_policy", lambda ready: found["policy"])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return found


def piecewise(path: PathSpec, out: torch.Tensor, policy: str = "") -> Check:
    checks = compared(path, policy, piecewise=out)
    assert [check.code for check in checks] == ["padding_changes_rows", "wrong_output"]
    assert checks[1].ok, "the rows beyond are no part of the output"
    return checks[0]


def test_real_rows_must_be_those_of_the_batch_without_padding(plain: dict[str, Any]) -> None:
    path = spec(forced_paged=True)
    out = torch.cat([torch.zeros(2, 3), torch.full((6, 3), float("nan"))])
    assert piecewise(path, out).text == "real rows padded and not: bit-equal"
    assert plain["wanted"] == [path.phases[-1].wanted]
    out[1, 2] = 1e-3
    check = piecewise(path, out)
    assert (check.phase, check.ok) == ("piecewise", False)
    assert "1 of 2 rows differ" in check.text
    # The split policy differs: then it need not be the same bits.
    check = piecewise(path, out, policy="KV split")
    assert check.ok
    assert check.text.endswith("(KV split; )")


def test_every_second_request_alone(plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def part(problem: Any, requests: Any, page_size: int) -> Any:
        asked.append((list(requests), page_size))
        return problem, torch.tensor([0])

    monkeypatch.setattr(compare, "part", part)
    path = spec(bitwise=True, forced_paged=True, phases=("eager",))
    plain["out"] = torch.zeros(1, 3)
    checks = compared(path, eager=torch.zeros(2, 3))
    assert asked == [([0], 1)]
    assert checks[-1] == Check(
        "eager", "bits_differ", True, "the batch and every second request of it alone: bit-equal"
    )
    plain["out"] = torch.full((1, 3), 2e-3)
    plain["policy"] = "KV split"
    assert compared(path, eager=torch.zeros(2, 3))[-1].text == (
        "the batch and every second request of it alone: 1 of 1 rows differ, by up to 0.002, "
        "first token 0 of request 0 (1 new of 2 keys) (; KV split)"
    )
    # The ragged path isn't paged against paged, and another backend is no path of SGLang's.
    for other in (spec(bitwise=True, phases=("eager",)), spec(bitwise=True, backend="torch.sdpa", phases=("eager",))):
        assert [check.code for check in compared(other, eager=torch.zeros(2, 3))] == ["wrong_output"]
