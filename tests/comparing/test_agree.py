"""``autotune agree``: which rank is off, and in which workloads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diff_builders import FAST, FLASHINFER, SLOW, candidate, env, failed, noisy, rank, result, run, workload, write
from running import Finished

from autotune_cli.comparing.agreement import agree
from autotune_cli.comparing.agreement_records import Agreement, AgreeVerdict, OffReason
from autotune_cli.results.schema import RunFile, WorkloadResult

ONLY = "ranks/r0.json is the only file that is named: autotune agree A.json B.json ..., one a rank"


def held(*ranks: RunFile, **more: Any) -> Agreement:
    return agree([(Path(f"r{number}.json"), each) for number, each in enumerate(ranks)], **more)


def test_ranks_that_choose_alike() -> None:
    found = held(*(rank(seed) for seed in range(4)))
    assert (found.exit_code, found.words) == (0, "4 ranks choose alike in 3 workloads")
    assert {each.verdict for each in found.workloads} == {AgreeVerdict.SAME}
    assert found.workloads[0].groups[0].ranks == (0, 1, 2, 3)
    assert found.environment == found.notes == ()
    assert found.ranks[2].cards == ("GPU-2",)


def test_one_rank_is_off_in_one_workload() -> None:
    found = held(rank(0), rank(1), rank(2, slow_at=(8,)), rank(3))
    assert (found.exit_code, found.words) == (1, "rank 2 is off in 1 of 3 workloads")
    first = found.workloads[0]
    assert (first.verdict, first.workload, first.is_majority) == (AgreeVerdict.DIFFERS, workload(8).key, True)
    (off,) = first.off
    assert (off.rank, off.reason) == (2, OffReason.OTHER_WINNER)
    assert off.gain == pytest.approx(2.0, rel=0.01)
    assert off.gain_interval is not None
    assert first.common is None


def test_of_two_that_differ_nobody_knows_which_is_off() -> None:
    found = held(rank(0), rank(1, slow_at=(1, 64)))
    assert (found.exit_code, found.words, found.off) == (1, "no majority in 2 of 3 workloads", {})


def tied(winner: str, seed: int) -> WorkloadResult:
    pair = (candidate(FAST, noisy(40.0, seed)), candidate(SLOW, noisy(40.0, seed + 100)))
    return result(pair, winner=winner, ties=[FAST, SLOW], when=f"2026-11-21T00:00:{seed:02d}Z")


def test_another_winner_within_the_ties_is_no_difference() -> None:
    found = held(run(tied(FAST, 1)), run(tied(SLOW, 2)), run(tied(FAST, 3)))
    assert (found.exit_code, found.words) == (0, "3 ranks choose alike in 1 workload, 1 of them within the ties")
    (only,) = found.workloads
    assert (only.verdict, only.common, only.off) == (AgreeVerdict.TIED, FAST, ())


def test_a_winner_that_cannot_run_elsewhere_is_a_difference_whatever_the_times() -> None:
    broken = result((candidate(SLOW, noisy(48.0, 9)), failed(FAST)), batch=8, winner=SLOW)
    found = held(rank(0, batches=(8,)), rank(1, batches=(8,)), run(broken))
    assert found.off == {2: 1}


def test_a_workload_that_a_rank_lacks_or_has_no_winner_for() -> None:
    nothing = result((failed(SLOW), failed(FAST)), batch=8, winner=None)
    found = held(rank(0, batches=(8, 1)), rank(1, batches=(8, 1)), run(nothing))
    reasons = {each.workload: [(off.rank, off.reason) for off in each.off] for each in found.workloads}
    assert reasons == {workload(8).key: [(2, OffReason.NO_CHOICE)], workload(1).key: [(2, OffReason.NOT_THERE)]}
    assert found.words == "rank 2 is off in 2 of 2 workloads"
    assert {each.common for each in found.workloads} == {None}
    assert held(run(nothing), run(nothing)).workloads[0].verdict is AgreeVerdict.NONE


def test_a_small_gain_is_no_news() -> None:
    def close(seed: int, factor: float, winner: str) -> RunFile:
        pair = (candidate(FAST, noisy(40.0, seed)), candidate(SLOW, noisy(40.0 * factor, seed + 50)))
        return run(result(pair, winner=winner))

    ranks = [close(1, 1.03, FAST), close(2, 1.03, FAST), close(3, 0.97, SLOW)]
    assert held(*ranks, threshold=0.1).exit_code == 0
    assert held(*ranks).off == {2: 1}


def test_the_environment_of_a_rank_that_is_another() -> None:
    found = held(rank(0), rank(1, environment=env(driver="570.1")), rank(2))
    (odd,) = found.environment
    assert (odd.field, odd.values, odd.blocks) == ("driver", (("580.1", (0, 2)), ("570.1", (1,))), False)
    assert found.exit_code == 0


def test_another_gpu_is_not_compared_unless_it_may_be() -> None:
    ranks = rank(0), rank(1, environment=env(device="NVIDIA H100"))
    found = held(*ranks)
    assert (found.exit_code, found.workloads) == (3, ())
    assert str(found.refusal).startswith("the GPU differs between ranks")
    assert held(*ranks, allowed=frozenset({"gpu"})).exit_code == 0


def test_of_a_file_with_two_devices_the_common_one_is_taken() -> None:
    h100, h200 = env(device="NVIDIA H100"), env()
    both = rank(0).model_copy(
        update={
            "environments": rank(0).environments | rank(1, environment=h100).environments,
            "workloads": (*rank(0).workloads, *rank(1, environment=h100).workloads),
        }
    )
    assert held(both, rank(2, environment=h200)).refusal is None
    assert held(both, rank(2, environment=h100)).refusal is None


def test_nothing_in_common() -> None:
    assert held(rank(0, batches=(1,)), rank(1, batches=(8,))).words == "not comparable: no workload in common"
    assert held(rank(0), run()).words == "not comparable: rank 1 (r1.json) has no workloads"


def test_copies_of_one_file_are_noted() -> None:
    found = held(rank(0), rank(1), rank(0))
    assert found.notes == ("ranks 0, 2 hold the same measurement: copies of one file agree",)


@pytest.fixture
def ranks(tmp_path: Path) -> list[Path]:
    made = [rank(0), rank(1), rank(2, slow_at=(8,)), rank(3, environment=env(driver="570.1"))]
    return [write(tmp_path / "ranks" / f"r{number}.json", each) for number, each in enumerate(made)]


def test_every_format_says_the_same(ranks: list[Path], usage: Callable[..., Finished]) -> None:
    table = usage("agree", *ranks)
    assert table.code == 1
    assert table.out.splitlines()[4:] == [
        "environment: driver: ranks 0, 1, 2 580.1; rank 3 570.1",
        "differs  attention.decode 8x8192",
        "  ranks 0, 1, 3: lib.fast(page=16)",
        "  rank 2: lib.slow (the other takes +100.1 % there)",
        "2 alike, 0 within the ties, 1 differ",
        "exit 1: rank 2 is off in 1 of 3 workloads",
    ]
    document = json.loads(usage("agree", *ranks, "--format", "json").out)
    assert (document["agree_version"], document["exit_code"]) == (1, 1)
    assert [each["off"] for each in document["ranks"]] == [0, 0, 1, 0]
    assert document["workloads"][0]["off"][0]["rank"] == 2
    rows = list(csv.DictReader(io.StringIO(usage("agree", *ranks, "--format", "csv").out)))
    assert len(rows) == 12
    assert [row["rank"] for row in rows if row["off"]] == ["2"]
    markdown = usage("agree", *ranks, "--format", "markdown").out
    assert markdown.startswith("### autotune agree: rank 2 is off in 1 of 3 workloads (exit 1)")
    assert usage("agree", *ranks, "--all").out.count("same  ") == 2


def test_a_folder_and_a_file_to_write_to(ranks: list[Path], usage: Callable[..., Finished], tmp_path: Path) -> None:
    done = usage("agree", tmp_path / "ranks", "--output", tmp_path / "agree.txt")
    assert (done.code, done.out) == (1, "")
    assert "exit 1: rank 2 is off" in done.err
    assert "differs  attention.decode 8x8192" in (tmp_path / "agree.txt").read_text()


def test_one_workload_is_one(usage: Callable[..., Finished], tmp_path: Path) -> None:
    files = [write(tmp_path / f"{seed}.json", run(tied(FAST, seed))) for seed in (1, 2)]
    done = usage("agree", *files)
    assert done.code == 0
    assert "1.json, 1 workload, " in done.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "error: agree: no file is named: autotune agree A.json B.json ..., one a rank"),
        (("ranks/r0.json",), f"error: agree: {ONLY}"),
        (
            ("ranks/r0.json", "ranks/r1.json", "./ranks/../ranks/r0.json"),
            "error: agree: ranks/../ranks/r0.json is named twice, as rank 0 and as rank 2: name each rank's file once",
        ),
        (("ranks", "ranks/r1.json"), "error: agree: ranks/r1.json is named twice, as rank 1 and as rank 4: "),
        (("ranks/r0.json", "none.json"), "error: none.json: no such file, folder or result"),
        (("ranks/r0.json", "choices.json"), "error: choices.json: a FlashInfer cache; agree takes results of"),
        (("ranks/r0.json", "cut.json"), "error: cut.json: "),
        (("ranks/r0.json", "ranks/r1.json", "--allow-different", "moon"), "error: unknown field for --allow-different"),
    ],
)
@pytest.mark.usefixtures("ranks")
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], line: str, usage: Callable[..., Finished], tmp_path: Path
) -> None:
    write(tmp_path / "choices.json", FLASHINFER)
    (tmp_path / "cut.json").write_text("{")
    done = usage("agree", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(line)


def test_a_refusal_names_the_option(usage: Callable[..., Finished], tmp_path: Path) -> None:
    files = [write(tmp_path / "a.json", rank(0)), write(tmp_path / "b.json", rank(1, environment=env(device="X")))]
    done = usage("agree", *files)
    assert done.code == 3
    assert "the GPU differs between ranks; --allow-different gpu compares all the same" in done.out
    assert usage("agree", *files, "--allow-different", "gpu").code == 0


def test_sessions_of_one_card_agree_with_themselves(usage: Callable[..., Finished]) -> None:
    """Real H200 runs of one card: what differs between them is noise."""
    folder = Path(__file__).parents[1] / "data" / "diff"
    assert usage("agree", *sorted(folder.glob("h200.*.json"))).code == 0
