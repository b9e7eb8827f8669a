"""Small rules of the engine that need no worker: budget, duplicates, slow builds, faults, input guard."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune_cli.errors import BadVariable, SlowBuild
from autotune_cli.results.schema import CandidateResult, Kernel
from autotune_cli.tuning.budget import VETTING_SHARE, Budget
from autotune_cli.tuning.duplicates import mark_duplicates
from autotune_cli.worker.faults import fault_of
from autotune_cli.worker.guard import most_compilers, refuse_slow_builds
from autotune_cli.worker.input_guard import InputGuard
from autotune_cli.worker.poison import poison

# --- budget ----------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_budget_is_shared_evenly_and_what_is_saved_goes_to_the_others() -> None:
    clock = Clock()
    budget = Budget(60.0, 3, now=clock)
    assert budget.share().end - clock.now == pytest.approx(20.0)
    clock.now += 4.0  # of 20
    assert budget.share().end - clock.now == pytest.approx(28.0)
    clock.now += 28.0
    assert budget.share().end - clock.now == pytest.approx(28.0)


def test_an_overrun_is_paid_by_all_that_follow() -> None:
    clock = Clock()
    budget = Budget(60.0, 3, now=clock)
    budget.share()
    clock.now += 40.0
    assert budget.share().end - clock.now == pytest.approx(10.0)


def test_a_share_has_time_for_vetting_and_for_racing() -> None:
    clock = Clock()
    share = Budget(10.0, 1, now=clock).share()
    clock.now += VETTING_SHARE * 10.0 - 0.1
    assert not share.vetting_is_over()
    clock.now += 0.2
    assert share.vetting_is_over()
    assert not share.is_over()
    clock.now += 5.0
    assert share.is_over()


def test_nothing_lasts_beyond_the_whole_budget() -> None:
    """What may run over its share (the first right candidate, the first round) is bounded by all that is left."""
    clock = Clock()
    budget = Budget(100.0, 4, now=clock, reserve=0.1)
    first = budget.share()
    assert first.end == pytest.approx(1000.0 + 90.0 / 4)
    assert first.vetting_end < first.first_end < first.end < first.grace_end < first.hard_end
    assert first.hard_end == pytest.approx(1100.0)
    clock.now = 1099.0
    last = budget.share()
    assert last.is_over()
    assert last.grace_end <= last.hard_end == pytest.approx(1100.0)
    clock.now = 1100.5
    assert budget.share().is_out_of_grace()


def test_workers_side_by_side_get_as_many_shares() -> None:
    assert Budget(60.0, 6, workers=2, now=Clock()).share().end - Clock().now == pytest.approx(20.0)
    assert Budget(60.0, 1, workers=4, now=Clock()).share().end - Clock().now == pytest.approx(60.0)


def test_without_a_budget_nothing_ends() -> None:
    share = Budget(None, 3, now=Clock()).share()
    assert not share.vetting_is_over()
    assert not share.is_over()
    assert share.end == float("inf")


# --- duplicates ------------------------------------------------------------------------------------------------------

GRID = Kernel(name="decode", grid=(4, 1, 1), block=(128, 1, 1))


def fired(key: str, us: float = 10.0, kernels: tuple[Kernel, ...] = (GRID,), **changes: Any) -> CandidateResult:
    fields: dict[str, Any] = {"backend": "x", "knobs": {"split": key, "page": 16}, "label": key, "status": "ok"}
    return CandidateResult(**(fields | {"key": key, "kernels": kernels, "rough_us": us} | changes))


def duplicates(*results: CandidateResult, mode: str = "eager", knobs: tuple[str, ...] = ("split",)) -> dict[str, str]:
    marked = mark_duplicates({result.key: result for result in results}, mode, {"x": knobs})
    return {key: result.same_as for key, result in marked.items() if result.status == "duplicate" and result.same_as}


def test_same_kernels_with_the_same_shape_are_one_candidate() -> None:
    assert duplicates(fired("a"), fired("b", 10.2), fired("c")) == {"b": "a", "c": "a"}


def test_what_may_differ_beyond_the_launch_is_no_duplicate() -> None:
    other_grid = (GRID.model_copy(update={"grid": (8, 1, 1)}),)
    assert duplicates(fired("a"), fired("b", kernels=other_grid)) == {}
    assert duplicates(fired("a"), fired("b", knobs={"split": "b", "page": 64})) == {}
    assert duplicates(fired("a"), fired("b"), knobs=()) == {}
    assert duplicates(fired("a"), fired("b", backend="y")) == {}
    assert duplicates(fired("a"), fired("b", us=11.0)) == {}  # the times disagree
    assert duplicates(fired("a"), fired("b"), mode="graph") == {}  # grids are padded there
    assert duplicates(fired("a", kernels=(Kernel(name="op"),)), fired("b", kernels=(Kernel(name="op"),))) == {}  # a CPU


def test_a_wrong_candidate_is_no_duplicate() -> None:
    assert duplicates(fired("a", status="incorrect", reason="wrong"), fired("b")) == {}


# --- slow builds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FLASHINFER_JIT_VERBOSE", "1"),
        ("FLASHINFER_JIT_DEBUG", "1"),
        ("FLASHINFER_EXTRA_CUDAFLAGS", "-lineinfo -O0"),
        ("NVCC_APPEND_FLAGS", "-G"),
        ("NVCC_PREPEND_FLAGS", "-Xptxas -O0"),
        ("NVCC_APPEND_FLAGS", "-Xptxas=-O0"),
        ("NVCC_APPEND_FLAGS", "--device-debug -lineinfo"),
    ],
)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_variables_that_build_slow_kernels_are_refused(variable: str, value: str, device: str) -> None:
    with pytest.raises(SlowBuild, match=f"{variable}={value}".replace("-", r"\-")):
        refuse_slow_builds({variable: value}, device)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"FLASHINFER_JIT_VERBOSE": "0"},
        {"FLASHINFER_JIT_DEBUG": "0", "FLASHINFER_JIT_VERBOSE": "1"},
        {"FLASHINFER_EXTRA_CUDAFLAGS": "-O3 -Gx"},
        {"NVCC_APPEND_FLAGS": "-Xptxas -O3 -lineinfo"},
        {"TRITON_INTERPRET": "0"},
    ],
)
def test_harmless_variables_pass(environ: dict[str, str]) -> None:
    refuse_slow_builds(environ, "cuda")


@pytest.mark.parametrize("variable", ["TRITON_INTERPRET", "DISABLE_PTXAS_OPT", "CUDA_LAUNCH_BLOCKING"])
def test_gpu_variables_count_on_a_gpu_only(variable: str) -> None:
    refuse_slow_builds({variable: "1"}, "cpu")
    with pytest.raises(SlowBuild, match=variable):
        refuse_slow_builds({variable: "1"}, "cuda")


def test_a_bound_on_compilers_is_a_number_or_an_error() -> None:
    assert most_compilers({}) is most_compilers({"MAX_JOBS": ""}) is None
    assert most_compilers({"MAX_JOBS": "3"}) == 3
    for value in ("abc", "0", "-1", " 2 ", "2.5", "²", "9" * 5000):
        with pytest.raises(BadVariable, match=r"^MAX_JOBS="):
            refuse_slow_builds({"MAX_JOBS": value}, "cuda")
    # Nothing is compiled there.
    refuse_slow_builds({"MAX_JOBS": "abc"}, "cpu")


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "fatal"),
    [
        (ValueError("x"), "error", False),
        (MemoryError(), "out_of_memory", False),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", False),
        (RuntimeError("std::bad_alloc"), "out_of_memory", False),
        (RuntimeError("CUDA error: an illegal memory access was encountered\nlong advice"), "crashed", True),
        (RuntimeError("CUDA error: misaligned address"), "crashed", True),
        (RuntimeError("device-side assert triggered"), "crashed", True),
        (SystemExit(2), "crashed", False),
    ],
)
def test_exception_becomes_a_status(error: BaseException, status: str, fatal: bool) -> None:
    fault = fault_of(error)
    assert (fault.status, fault.fatal) == (status, fatal)
    assert fault.reason
    assert "\n" not in fault.reason


def test_reasons_are_short() -> None:
    assert len(fault_of(ValueError("x" * 10_000)).reason) <= 300


# --- inputs and outputs ----------------------------------------------------------------------------------------------


class Inputs:
    """As much of a problem as the guard needs."""

    device, graph = "cpu", False

    def __init__(self, *tensors: torch.Tensor) -> None:
        self.tensors = list(tensors)

    def inputs(self) -> dict[str, torch.Tensor]:
        return {str(number): tensor for number, tensor in enumerate(self.tensors)}

    def view(self) -> Inputs:
        return self

    def check(self, output: Any) -> Any:
        raise NotImplementedError

    def moved(self) -> Inputs:
        return Inputs(*(tensor.clone() for tensor in self.tensors))


@pytest.mark.parametrize("count", [1, 2, 100, 4096, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32, torch.uint8, torch.int64])
def test_guard_sees_every_single_change(count: int, dtype: torch.dtype) -> None:
    tensor = torch.arange(count).to(dtype)
    guard = InputGuard(Inputs(tensor))
    assert guard.unchanged()
    for index in {0, count // 2, count - 1}:
        before = tensor[index].clone()
        tensor[index] = 77
        assert guard.unchanged() == bool(before == 77)
        tensor[index] = before
    assert guard.unchanged()


@pytest.mark.parametrize("shape", [(7,), (3, 5000), (4, 4096), (16384,)])
def test_guard_sees_elements_that_change_places(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    guard = InputGuard(Inputs(tensor))
    for change in (lambda: tensor.copy_(tensor.sort(-1).values), lambda: tensor.copy_(tensor.roll(4096))):
        kept = tensor.clone()
        change()
        assert guard.unchanged() == torch.equal(kept, tensor)
        tensor.copy_(kept)
    assert guard.unchanged()


def test_guard_learns_of_inputs_that_are_made_later() -> None:
    problem = Inputs(torch.ones(8))
    guard = InputGuard(problem)
    page = torch.ones(8)
    problem.tensors.append(page)
    assert guard.unchanged()
    guard.learn()
    page[3] = 0.0
    assert not guard.unchanged()


def test_guard_does_not_forgive_a_change_at_the_next_learning() -> None:
    tensor = torch.ones(8)
    guard = InputGuard(Inputs(tensor))
    tensor.zero_()
    guard.learn()
    assert not guard.unchanged()


def test_guard_knows_the_inputs_in_other_tensors() -> None:
    problem = Inputs(torch.ones(8), torch.arange(8))
    guard = InputGuard(problem)
    guard.follow(problem.moved())
    assert guard.is_complete
    assert guard.unchanged()
    problem.tensors[1][3] = 0
    assert guard.unchanged()
    guard.follow(problem.moved())
    assert not guard.unchanged()


def test_guard_takes_any_input() -> None:
    for tensor in (torch.empty(0), torch.tensor(1.5), torch.ones(4, 6).t(), torch.ones(5, dtype=torch.bool)):
        assert InputGuard(Inputs(tensor)).unchanged()


def test_poison_fills_what_must_be_written() -> None:
    out, index, flag = torch.zeros(4), torch.zeros(4, dtype=torch.int32), torch.ones(2, dtype=torch.bool)
    poison((out, [index], flag, None))
    assert out.isnan().all()
    assert (index == -7).all()
    assert flag.all()
