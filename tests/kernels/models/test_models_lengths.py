"""--lengths: what distributions and files of lengths make of a suite, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune_cli.errors import BadField
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.lengths import quantile_points
from autotune_cli.kernels.models import build_suite
from autotune_cli.kernels.workload import AnyWorkload


def decodes(lengths: str | Path, device: str = "cuda", **options: object) -> list[AttentionWorkload]:
    suite = build_suite("llama-3.1-8b", device, operations="decode", lengths=lengths, **options)  # type: ignore[arg-type]
    return [each for each in suite.workloads if isinstance(each, AttentionWorkload)]


def points(workload: AttentionWorkload) -> list[tuple[int, int]]:
    return [(point.context, point.weight) for point in workload.points]


def test_the_suites_own_lengths_are_one_workload_a_batch_size() -> None:
    found = decodes("suite")
    assert {each.batch: [context for context, _ in points(each)] for each in found} == {
        1: [1024, 8192, 32768, 131072],
        8: [1024, 8192, 32768],
        64: [1024, 8192],
        128: [4096],
    }
    assert {each.mode for each in found} == {"graph"}
    # Captured for the longest context served, whatever is measured.
    assert {each.served_context for each in found} == {131072}
    alone = build_suite("llama-3.1-8b", "cuda", operations="decode").workloads
    assert {each.batch for each in found} == {each.batch for each in alone if isinstance(each, AttentionWorkload)}


def test_uniform_lengths_are_measured_in_the_middles_of_fifths() -> None:
    (found,) = decodes("uniform", batches=(8,), contexts=(100, 1000))
    assert points(found) == [(100, 1), (300, 1), (500, 1), (700, 1), (900, 1)]
    assert (found.context, found.served_context) == (900, 131072)
    (short,) = decodes("uniform", batches=(1,), contexts=(2,))
    assert points(short) == [(1, 3), (2, 2)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("512\n\n4096\n 512 \n", [(512, 2), (4096, 1)]),
        ("[512, 4096, 512, 4096]", [(512, 1), (4096, 1)]),
        ("\ufeff7", [(7, 1)]),
        (json.dumps(list(range(1, 1001))), [(101, 1), (301, 1), (501, 1), (701, 1), (901, 1)]),
    ],
)
def test_a_file_of_lengths(tmp_path: Path, text: str, wanted: list[tuple[int, int]]) -> None:
    path = tmp_path / "served.txt"
    path.write_text(text, encoding="utf-8")
    found = decodes(path, batches=(1, 8))
    assert [each.batch for each in found] == [1, 8]
    assert all(points(each) == wanted for each in found)


def test_a_server_captures_for_the_longest_request_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "served"
    path.write_text("\n".join(["200000", *(["1000"] * 99)]))
    (found,) = decodes(path, batches=(4,))
    assert (points(found), found.served_context) == ([(1000, 99), (200000, 1)], 200000)
    (eager,) = decodes(path, batches=(4,), modes="eager")
    assert eager.served_context is None


@pytest.mark.parametrize(("longest", "told"), [(131072, False), (131073, True)])
def test_a_length_that_the_model_has_no_positions_for_is_told(tmp_path: Path, longest: int, told: bool) -> None:
    """A server refuses such a request, unless its context was set longer: the file may be another model's."""
    path = tmp_path / "served"
    path.write_text(f"1000\n{longest}\n")
    notes = build_suite("llama-3.1-8b", "cuda", operations="decode", lengths=path).notes
    said = f"the longest of these lengths, {longest}, is beyond the model's 131072 positions"
    assert (said in notes) == told


def test_many_lengths_are_a_few_of_equal_shares() -> None:
    """Equal middles are one point with more weight."""
    assert [(p.context, p.weight) for p in quantile_points([9] * 6 + [1, 2, 3, 4, 5])] == [(2, 1), (4, 1), (9, 3)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file or directory (give suite, uniform or a file)"),
        ("", "has no lengths"),
        ("[]", "has no lengths"),
        ("12\nmany\n", "line 2: 'many' is no whole number"),
        ("12\n1.5\n", "line 2: '1.5' is no whole number"),
        ("0", "line 1: 0 is below 1"),
        ("[8, -3]", "item 2: -3 is below 1"),
        ("[8, true]", "item 2: True is no whole number"),
        ("[8, 1.5]", "item 2: 1.5 is no whole number"),
        ("[8, null]", "item 2: None is no whole number"),
        ("12345678901234", "line 1: 12345678901234 is above 10000000"),
        ('{"lengths": [1]}', "the JSON is no list of numbers (give suite, uniform or a file)"),
        ("[1, 2", "not JSON: line 1, column 6: Expecting ',' delimiter (give suite, uniform or a file)"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "served.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadField) as error:
        decodes(path)
    assert str(error.value) == f"lengths: {path}: {said}"


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "served.txt"
    path.write_text("100")
    with pytest.raises(BadField, match="a file has the contexts; leave context out"):
        decodes(path, contexts=(100,))
    with pytest.raises(BadField, match=r"is for decode steps, of which no workload is left"):
        build_suite("llama-3.1-8b", "cuda", operations="prefill", lengths="suite")
    with pytest.raises(BadField, match="lengths: is empty"):
        decodes(" ")


def test_other_operations_stay_what_they_are() -> None:
    suite = build_suite("llama-3.1-8b", "cuda", lengths="suite")
    plain = build_suite("llama-3.1-8b", "cuda")

    def others(workloads: tuple[AnyWorkload, ...]) -> list[AnyWorkload]:
        return [each for each in workloads if each.operation != "attention.decode"]

    assert others(suite.workloads) == others(plain.workloads)
    assert not any(each.length_points for each in plain.workloads)
    assert "only attention.decode is measured over several lengths, the rest at lengths of its own" in suite.notes
