"""What the CUPTI timer makes of recorded activities; recording needs a GPU, this doesn't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_cli.measure.timers.base import MeasurementError
from autotune_cli.measure.timers.cupti import MARKER, Activity, busy_us, iterations_of, sample

MARK = f"void at::native::vectorized_elementwise_kernel<4, {MARKER}_kernel_cuda>"


def kernel(start: int, duration: int, name: str = "k") -> Activity:
    return Activity(start, duration, name)


def mark(start: int) -> Activity:
    return Activity(start, 1000, MARK)


def test_an_iteration_is_what_lies_between_two_markers() -> None:
    flush, first, second = kernel(0, 5, "flush"), kernel(20, 5), kernel(30, 5)
    recorded = [flush, mark(10), first, second, mark(40), kernel(50, 5, "flush"), mark(60), kernel(70, 5), mark(80)]
    assert list(iterations_of(recorded)) == [[first, second], [kernel(70, 5)]]


def test_an_iteration_without_kernels_is_empty() -> None:
    assert list(iterations_of([mark(0), mark(10)])) == [[]]


@pytest.mark.parametrize("lost", range(6))
def test_a_lost_marker_shows_in_the_number_of_iterations(lost: int) -> None:
    recorded = []
    for i in range(3):
        recorded += [mark(100 * i), kernel(100 * i + 10, 5), mark(100 * i + 50)]
    markers = [index for index, activity in enumerate(recorded) if MARKER in activity.name]
    del recorded[markers[lost]]
    assert len(list(iterations_of(recorded))) != 3


def test_device_time_is_the_union_of_the_intervals() -> None:
    assert busy_us([kernel(0, 1000), kernel(2000, 1000)]) == 2.0  # a gap is not counted
    assert busy_us([kernel(0, 1000), kernel(500, 1000)]) == 1.5  # an overlap is counted once
    assert busy_us([kernel(0, 1000), kernel(200, 100)]) == 1.0  # one inside the other
    assert busy_us([kernel(500, 1000), kernel(0, 1000)]) == 1.5  # in any order
    assert busy_us([]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_union_equals_counting_every_nanosecond(intervals: list[tuple[int, int]]) -> None:
    covered = {moment for start, duration in intervals for moment in range(start, start + duration)}
    assert busy_us([kernel(*interval) for interval in intervals]) == pytest.approx(len(covered) / 1e3)


def test_sample_has_a_time_an_iteration_and_the_kernels_names() -> None:
    measured = sample(
        [[kernel(0, 1000, "a"), kernel(1000, 500, "b")], [kernel(9000, 2000, "a"), kernel(9500, 1, "b")]], 0
    )
    assert measured.us == (1.5, 2.0)
    assert measured.kernels == ("a", "b")


def test_kernels_on_two_streams_may_change_places() -> None:
    measured = sample([[kernel(0, 5, "a"), kernel(1, 5, "b")], [kernel(0, 5, "b"), kernel(1, 5, "a")]], 0)
    assert len(measured.us) == 2


@pytest.mark.parametrize(
    "other",
    [
        [kernel(0, 5, "a")],
        [kernel(0, 5, "a"), kernel(9, 5, "c")],
        [kernel(0, 5, "a"), kernel(9, 5, "b"), kernel(9, 5, "b")],
        [],
    ],
)
def test_other_kernels_in_another_iteration_are_an_error_of_that_launch(other: list[Activity]) -> None:
    with pytest.raises(MeasurementError, match="the same kernels each time") as error:
        sample([[kernel(0, 5, "a"), kernel(9, 5, "b")], other], 3)
    assert error.value.launch == 3


def test_no_kernel_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="no kernel was recorded"):
        sample([[], []], 1)


def test_a_kernel_without_duration_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="without duration"):
        sample([[kernel(5, 0)]], 1)
