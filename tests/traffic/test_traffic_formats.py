"""What is read out of each format; the committed logs are of the same 40 requests."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import os
import threading
import tracemalloc
from functools import partial
from pathlib import Path

import pytest
from traffic_logs import DATA, log_of, read, recorded

from autotune_cli.traffic.formats import formats
from autotune_cli.traffic.formats.base import Recorded
from autotune_cli.traffic.log import Keeper, Log, Request, tokens
from autotune_cli.traffic.times import seconds

PROMPTS, OUTPUTS = 42946, 8342


def test_the_committed_logs_are_those_that_their_script_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    make.main()
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in DATA.iterdir() if path.suffix != ".py" and path.is_file()}


@pytest.mark.parametrize(
    ("name", "about", "timed", "cached"),
    [
        ("azure.csv", "lengths and times", True, 0),
        ("sglang-requests.log", "requests", True, 1),
        ("sglang-metrics.jsonl", "requests", True, 1),
        ("sglang-bench.jsonl", "a benchmark", False, 0),
        ("vllm-bench.json", "a benchmark", True, 0),
        ("lengths.jsonl", "requests", False, 0),
    ],
)
def test_requests(name: str, about: str, timed: bool, cached: int) -> None:
    log = log_of(DATA / name)
    assert (log.about, log.timed, log.seen) == (about, timed, 40)
    assert (sum(each.prompt for each in log.requests), sum(each.output for each in log.requests)) == (PROMPTS, OUTPUTS)
    assert (sum(each.cached for each in log.requests) > 0) == bool(cached)
    if timed:
        first = min(each.arrival for each in log.requests)
        gaps = sorted(round(each.arrival - first, 3) for each in log.requests)
        of_table = log_of(DATA / "azure.csv").requests
        assert gaps == [round(each.arrival - of_table[0].arrival, 3) for each in of_table]


def test_a_decode_step_is_as_long_as_the_log_measured() -> None:
    assert log_of(DATA / "sglang-metrics.jsonl").step_s == pytest.approx(0.015)
    assert log_of(DATA / "sglang-bench.jsonl").step_s == pytest.approx(0.012, rel=0.05)
    assert log_of(DATA / "azure.csv").step_s is None


def test_a_benchmark_keeps_so_many_requests_under_way() -> None:
    assert log_of(DATA / "sglang-bench.jsonl").most_in_flight == 16
    assert log_of(DATA / "vllm-bench.json").most_in_flight is None


def test_failed_requests_of_a_benchmark_are_left_out(tmp_path: Path) -> None:
    document = {"num_prompts": 3, "input_lens": [10, 20, 30], "output_lens": [5, 0, 7], "errors": ["", "", "refused"]}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document, indent=2))
    log = log_of(path)
    assert [(each.prompt, each.output) for each in log.requests] == [(10, 5)]
    assert "2 requests failed, and are left out" in log.notes


def test_requests_at_a_rate_arrive_evenly_and_runs_of_one_file_far_apart(tmp_path: Path) -> None:
    line = json.dumps({"input_lens": [10, 20], "output_lens": [5, 5], "request_rate": 4.0})
    path = tmp_path / "bench.jsonl"
    path.write_text(f"{line}\n{line}\n")
    arrivals = [each.arrival for each in log_of(path).requests]
    assert arrivals[:2] == [0.0, 0.25]
    assert arrivals[2] > 3000.0


def test_prefixes_of_mooncake_are_followed() -> None:
    cached = [each.cached for each in log_of(DATA / "mooncake.jsonl").requests]
    assert cached[0] == 0
    assert set(cached[1:]) == {3 * 512}
    arrivals = [each.arrival for each in log_of(DATA / "mooncake.jsonl").requests]
    assert arrivals[-1] < 60.0


@pytest.mark.parametrize(
    "text",
    [
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,log\n",
        "input_len;output_len\n472;18\n",
        "arrival_time\tprompt_tokens\tcompletion_tokens\n5.0\t472\t18\n",
        '"TIMESTAMP","ContextTokens","GeneratedTokens"\r\n"2024-05-10 00:00:00.009930+00:00","472","18"\r\n',
        "\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\n\n2023-11-16 18:17:03.9799600,472.0, 18\n\n",
    ],
)
def test_tables_of_others(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table"
    path.write_text(text, encoding="utf-8")
    (request,) = log_of(path).requests
    assert (request.prompt, request.output) == (472, 18)


@pytest.mark.parametrize("name", ["azure.csv", "sglang-bench.jsonl", "sglang-detailed.trace.json", "flashinfer.jsonl"])
def test_packed_and_out_of_a_pipe_it_is_the_same(tmp_path: Path, name: str) -> None:
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress((DATA / name).read_bytes()))
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as stream:
            data = (DATA / name).read_bytes()
            # In parts, the first a short one.
            stream.write(data[:100])
            stream.flush()
            stream.write(data[100:])

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    plain, unpacked, piped = read(DATA / name), read(packed), read(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    writer.join()
    if isinstance(plain, Recorded):
        assert isinstance(unpacked, Recorded)
        assert isinstance(piped, Recorded)
        assert plain.steps.digest() == unpacked.steps.digest() == piped.steps.digest()
    else:
        assert plain == unpacked == piped


def test_other_words_of_a_server_are_passed_over(tmp_path: Path) -> None:
    lines = (DATA / "sglang-requests.log").read_text().splitlines()
    path = tmp_path / "server.log"
    path.write_text("\n".join(["[2026-11-20 09:00:00] The server is fired up and ready to roll!", *lines]) + "\n")
    log = log_of(path)
    assert log.seen == 40
    assert "1 lines that are no JSON are passed over" in log.notes


def test_flashinfer_workloads_are_steps() -> None:
    steps = recorded(DATA / "flashinfer.jsonl").steps
    lines = [json.loads(line) for line in (DATA / "flashinfer.jsonl").read_text().splitlines()]
    decodes = [line["workload"]["axes"] for line in lines if "decode" in line["definition"]]
    assert steps.passes == len(lines)
    assert steps.total("decode").requests == sum(axes["batch_size"] for axes in decodes)
    # Pages of 16 keys, the last of each request half full.
    keys = sum(16 * axes["num_kv_indices"] - 7 * axes["batch_size"] for axes in decodes)
    assert steps.total("decode").keys == keys
    assert steps.total("prefill", "extend").steps == len(lines) - len(decodes)


def test_steps_of_sglang_with_their_sums_of_one_rank_only() -> None:
    found = recorded(DATA / "sglang-detailed.trace.json")
    assert found.steps.passes == 32
    assert found.steps.total("extend").keys == 4700
    assert (found.steps.total("prefill").keys, found.steps.total("prefill").requests) == (1500, 3)
    assert sorted(found.notes) == ["1 idle steps are left out", "1 verify steps are left out"]
    assert all(cell.graph for cell in found.steps.cells if cell.kind == "decode")


def test_steps_of_sglang_without_sums_need_a_context() -> None:
    steps = recorded(DATA / "sglang.trace.json", context=3000).steps
    assert steps.total("decode").keys == 20 * 8 * 3000
    assert steps.total("prefill").new == 2013


def test_steps_of_vllm_that_prefill_and_decode_are_two_and_not_replayed() -> None:
    steps = recorded(DATA / "vllm.trace.json").steps
    assert steps.passes == 21
    assert steps.total("decode").steps == 21
    assert steps.total("decode").keys == 21 * 34489
    assert (steps.total("extend").new, steps.total("extend").keys) == (8155, 8430)
    graphs = {cell.graph for cell in steps.cells if cell.kind == "decode"}
    # 37 is above the largest captured size of these tests.
    assert graphs == {False}


def test_the_formats_are_told_apart() -> None:
    for path in sorted(DATA.iterdir()):
        if path.suffix != ".py" and path.is_file():
            head = path.read_text()[: 1 << 16]
            assert sum(each.recognises(head) for each in formats()) >= 1, path
    assert [each.rank for each in formats()] == sorted({each.rank for each in formats()})


def test_of_a_huge_log_blocks_are_kept_that_lie_evenly() -> None:
    log = Log("a test")
    keeper = Keeper(log, most=40, block=5)
    for number in range(1000):
        if keeper.wants_next:
            keeper.add(Request(float(number), 1 + number, 1))
        else:
            keeper.skip()
    keeper.close()
    kept = [each.prompt - 1 for each in log.requests]
    assert log.seen == 1000
    assert 20 <= len(kept) <= 40
    starts = kept[::5]
    assert kept == [start + step for start in starts for step in range(5)]
    gaps = {after - before for before, after in itertools.pairwise(starts)}
    assert len(gaps) == 1
    assert starts[0] == 0
    assert starts[-1] > 800
    assert len(log.notes) == 1


def test_a_log_of_any_size_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.traffic.formats import lengths_csv

    monkeypatch.setattr(lengths_csv, "Keeper", partial(Keeper, most=1000, block=100))
    path = tmp_path / "long.csv"
    with path.open("w") as stream:
        stream.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for number in range(150_000):
            stream.write(f"{number / 10},{1 + number % 3000},{1 + number % 300}\n")
    tracemalloc.start()
    log = log_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert log.seen == 150_000
    assert len(log.requests) <= 1000
    # A quarter of a megabyte is read at a time. All requests would be 25.
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1), ("17", 17), ("512.0", 512), (512.0, 512), (0, "is zero"), ("-3", "is negative"), (1.5, "is no whole"),
        ("NaN", "is not a number"), (float("nan"), "is not a number"), (float("inf"), "is above"), ("9" * 50, "is a"),
        (10_000_001, "is above"), (True, "is no whole number"), (None, "is no whole"), ("", "is no whole"),
        ("٣", "is no whole number"), ("1e3", 1000), ([], "is no whole number"),
    ],
)  # fmt: skip
def test_numbers_of_tokens(value: object, found: int | str) -> None:
    got = tokens(value)
    assert got == found if isinstance(found, int) else str(got).startswith(found)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (12.5, 12.5), ("12.5", 12.5), (1795165200123, 1_795_165_200.1), (1_795_165_200_123_456_789, 1_795_165_200.1),
        ("2026-11-20T09:00:00+01:00", 1_795_161_600.0), ("2026-11-20", 1_795_132_800.0), ("nan", None), ("soon", None),
        (None, None), (True, None), (float("inf"), None), ("25:00", None), (10**400, None),
    ],
)  # fmt: skip
def test_times(value: object, found: float | None) -> None:
    assert seconds(value) == (None if found is None else pytest.approx(found, abs=0.1))


@pytest.mark.parametrize("speed", ["5e-324", "Infinity", "1e308", "NaN"])
def test_a_speed_that_cant_be_is_not_measured(speed: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f'{{"prompt_tokens": 5, "completion_tokens": 5, "decode_throughput": {speed}}}\n')
    assert log_of(log).step_s is None
    log.write_text(f'{{"input_lens": [5], "output_lens": [5], "itls": [[5e-324, {speed}]]}}\n')
    assert log_of(log).step_s is None
