"""What may be required of a kernel beside being right: found out by its outputs' bits, on this CPU."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from test_tuning_lengths import Clock

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.properties import PROPERTIES, Property, parse_properties
from autotune_cli.kernels.registry import REGISTRY, Candidate
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import CandidateResult, Environment, PropertyVerdict
from autotune_cli.tuning.bench import Bench
from autotune_cli.tuning.bits import kept, rows_apart
from autotune_cli.tuning.duplicates import mark_duplicates

LOOSE = Path(__file__).with_name("loose_kernels.py")
SELECT = TopkWorkload(
    operation="topk.select", rows=5, width=64, k=8, mode="eager", distributions=("tie_free", "relu", "equal")
)
DECODE = AttentionWorkload(
    operation="attention.decode",
    geometry=Geometry(num_qo_heads=2, num_kv_heads=1, head_dim=16, dtype="float32"),
    batch=3,
    context=40,
    mode="eager",
)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    REGISTRY.discover()
    before = set(REGISTRY._backends)
    runpy.run_path(str(LOOSE))
    yield
    for name in set(REGISTRY._backends) - before:
        REGISTRY._backends.pop(name)


def vetted(
    name: str, workload: AnyWorkload = SELECT, required: Sequence[Property] = PROPERTIES
) -> dict[str, PropertyVerdict]:
    environment = Environment(device_kind="cpu", device="a CPU", python="3", libraries={})
    bench = Bench(environment, None, Clock(), 0, lambda phase, subject: None)
    found = bench.vet(workload, Candidate(f"loose.{name}"), 1, required)
    assert found.status == "ok", found.reason
    assert [verdict.name for verdict in found.properties] == list(required)
    return {verdict.name: verdict for verdict in found.properties}


def broken(verdicts: dict[str, PropertyVerdict]) -> dict[str, str]:
    return {name: verdict.message for name, verdict in verdicts.items() if not verdict.ok}


def test_a_kernel_that_keeps_them() -> None:
    verdicts = vetted("keeps_all")
    assert list(broken(verdicts)) == ["tie-break=large"]
    assert verdicts["deterministic"].compared == 3 * 7
    assert verdicts["batch-invariant"].compared == 3 * 4


@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        (
            "takes_the_last",
            {"tie-break=small": r"other than the smallest positions of equal scores in \d of 5 rows, .* \(on relu\)"},
        ),
        (
            "turns_every_third",
            {
                "deterministic": r"^[2-5] of 7 runs differed in 1 of 5 rows \(on tie_free\)$",
                "batch-invariant": r"two runs of the same batch differed in 1 of 5 rows|in a batch of 5 differed",
                "tie-break=large": "",
            },
        ),
        (
            "turns_by_batch",
            {
                "batch-invariant": r"^request 0 alone and in a batch of 5 differed in 1 of 1 rows \(on tie_free\)$",
                "tie-break=large": "",
            },
        ),
        (
            "refuses_other_batches",
            {
                "batch-invariant": r"^can't be shown: ValueError: a batch of one.* \(on tie_free\)$",
                "tie-break=large": "",
            },
        ),
        (
            "turns_when_prepared_anew",
            {"deterministic": "^2 of 7 runs differed in 5 of 5 rows", "batch-invariant": "", "tie-break=large": ""},
        ),
    ],
)
def test_what_a_selection_breaks(name: str, breaks: dict[str, str]) -> None:
    found = broken(vetted(name))
    assert found.keys() == breaks.keys()
    for property_, pattern in breaks.items():
        assert re.search(pattern, found[property_]), found[property_]


def test_attention() -> None:
    required: tuple[Property, ...] = ("deterministic", "batch-invariant")
    by_batch = broken(vetted("rounds_by_batch", DECODE, required))
    assert by_batch == {"batch-invariant": "request 0 alone and in a batch of 3 differed in 1 of 1 rows (on workload)"}
    at_random = broken(vetted("rounds_at_random", DECODE, required))
    assert set(at_random) == set(required)
    assert "of 3 rows (on workload)" in at_random["deterministic"]
    alone = broken(vetted("rounds_by_batch", DECODE.model_copy(update={"batch": 1}), required))
    assert "request 0 alone and in a batch of 4 differed in 4 of 4 rows" in alone["batch-invariant"]


def test_nothing_is_compared_unasked() -> None:
    assert not vetted("keeps_all", required=())


def test_outputs_are_compared_bit_by_bit() -> None:
    one = torch.zeros(3, 2), torch.zeros(3)
    assert rows_apart(kept(one), kept((torch.zeros(3, 2), torch.zeros(3)))) == 0
    # -0.0 equals 0.0 and has other bits; NaN has its own bits, and equals nothing.
    other = torch.zeros(3, 2), torch.tensor([0.0, -0.0, float("nan")])
    assert rows_apart(kept(one), kept(other)) == 2
    assert rows_apart(kept(other), kept(other)) == 0
    assert rows_apart(kept(one), kept((torch.zeros(3, 2, dtype=torch.float16), torch.zeros(3)))) == 3
    assert rows_apart(kept(one), kept(torch.zeros(4, 2))) == 4


def test_words() -> None:
    assert parse_properties(["tie-break=large, Deterministic", "deterministic"]) == ("deterministic", "tie-break=large")
    with pytest.raises(UnknownName, match="did you mean 'deterministic'"):
        parse_properties(["determinism"])
    with pytest.raises(BadField, match="not both"):
        parse_properties(["tie-break=small", "tie-break=large"])


def test_one_that_breaks_something_is_no_duplicate_of_one_that_does_not() -> None:
    def result(key: str, ok: bool) -> CandidateResult:
        verdict = PropertyVerdict(name="deterministic", ok=ok, message="" if ok else "2 runs differed")
        kernels = ({"name": "kernel", "grid": (1, 1, 1), "block": (1, 1, 1)},)
        return CandidateResult.model_validate(
            {"key": key, "backend": "b", "label": key, "status": "ok", "rough_us": 1.0, "kernels": kernels}
            | {"properties": (verdict,)}
        )

    marked = mark_duplicates(
        {key: result(key, ok) for key, ok in (("a", True), ("b", False), ("c", True))}, "eager", {}
    )
    assert [each.status for each in marked.values()] == ["ok", "ok", "duplicate"]
