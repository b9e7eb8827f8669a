"""``autotune plan``: what it prints, in each format, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from recorded import recorded
from running import Autotune


@pytest.fixture
def program(autotune: Autotune) -> Autotune:
    (autotune.root / "cache").mkdir()
    for name in ("llama-3.1-8b", "gpt-oss-120b", "deepseek-v3.2"):
        shutil.copy(recorded(name), autotune.root / "cache")
    return autotune


H100 = ("plan", "llama-3.1-8b", "--device", "h100")


def test_a_table(program: Autotune) -> None:
    done = program(*H100, "--step-ms", "21", "--chunk-ms", "60", code=0)
    lines = done.out.splitlines()
    assert lines[0] == "one server of SGLang 0.5.23 (newest known) for llama-3.1-8b on NVIDIA H100 80GB HBM3"
    assert "  --page-size 128  1.061x (1.054 .. 1.069) with it" in lines
    rows = [line for line in lines if line.startswith("attention.")]
    assert len(rows) == 20
    assert sum("  the same  " in line for line in rows) == 5
    for text in (
        "the weighted step: 1.061x (1.054 .. 1.069) over sglang (0.5.23); geometric mean of the workloads 1.044x",
        "it takes 2.6 % (2.0 .. 3.1) longer than each workload's best:",
        "  1.0 % (0.7 .. 1.3) as one server can't be told anew for each workload",
        "  1.6 % (1.1 .. 2.0) as SGLang can't be told to run the rest",
        "decode step, mean of its workloads, 32 layers: attention 5.89 ms, -0.130 ± 0.047 ms; -0.62 % of 21 ms",
        "prefill chunk, mean of its workloads, 32 layers: attention 8.61 ms, -0.759 ± 0.100 ms; -1.26 % of 60 ms",
    ):
        assert text in lines
    # What a user copies: the whole line.
    assert lines[-1].endswith("autotune tune --model llama-3.1-8b --baseline 'sglang --page-size 128'")
    assert not any("not planned with" in line for line in lines)
    every = program(*H100, "--all", code=0).out
    assert "decode step, decode 64 x 8192, 32 layers: attention 16.9 ms" in every
    assert "not planned with fa4: attention.prefill 1 x 512: SGLang's call of fa4 is no candidate yet" in every


def test_json_and_csv_say_the_same(program: Autotune) -> None:
    document = json.loads(program(*H100, "--format", "json", code=0).out)
    rows = list(csv.DictReader(io.StringIO(program(*H100, "--format", "csv", code=0).out)))
    assert document["settings"][0]["typed"] == "--page-size 128"
    assert document["baseline"] == "sglang --page-size 128"
    assert document["gain"]["low"] < document["gain"]["value"] < document["gain"]["high"]
    assert [row["workload"] for row in rows] == [entry["workload"] for entry in document["workloads"]]
    assert len(rows) == 20
    for row, entry in zip(rows, document["workloads"], strict=True):
        assert float(row["us"]) == entry["us"]
        assert float(row["gain"]) == entry["gain"]
        assert entry["us_low"] < entry["us"] < entry["us_high"]
        assert entry["loss"] == pytest.approx(entry["compromise"] * entry["untold"])
    assert sum(entry["share"] for entry in document["workloads"]) == pytest.approx(1.0)
    before = sum(entry["weight"] * entry["untuned_us"] for entry in document["workloads"])
    assert document["gain"]["value"] == pytest.approx(before / document["step_us"]["value"])
    steps = {(step["step"], step["shape"]): step for step in document["steps"]}
    assert steps["decode", None]["share"] is None
    assert len(steps) == 22


def test_markdown_for_a_pull_request(program: Autotune) -> None:
    text = program(*H100, "--format", "markdown", code=0).out
    assert text.startswith("### autotune plan: llama-3.1-8b\n")
    assert "```sh\n--page-size 128\n```" in text
    assert sum(line.startswith("| attention.") for line in text.splitlines()) == 20
    nothing = program("plan", "gpt-oss-120b", "--format", "markdown", code=0).out
    assert "```sh\n# nothing\n```" in nothing
    assert "tell it nothing: no setting of SGLang beats its own choice beyond the intervals" in nothing


@pytest.mark.parametrize("columns", [60, 149])
def test_a_narrow_terminal_cuts_nothing(program: Autotune, columns: int) -> None:
    narrow = program.with_variables(COLUMNS=str(columns), FORCE_COLOR="1")
    out = "".join(narrow(*H100, code=0).out.split())
    for text in ("triton.decode page 64 block 64 warps 4 stages 3 splits 16", "--page-size 128", "loss 45.9 ± 6.0 %"):
        assert text.replace(" ", "") in out


def test_a_version_that_nobody_read_is_told(program: Autotune) -> None:
    said = "SGLang 0.4.0 is older than all whose rules are known: read in SGLang 0.5.10.post1, 0.5.16 and 0.5.23"
    old = program(*H100, "--engine", "SGLang", "--engine-version", "0.4.0", code=0).out
    assert said in old.splitlines()
    assert "whose rules are known" not in program(*H100, "--engine-version", "0.5.16", code=0).out
    exported = program("export", *H100[1:], "--engine-version", "0.4.0", code=0).out
    assert f"# {said}" in exported.splitlines()


def test_an_incomplete_result_is_told(program: Autotune) -> None:
    path = program.root / "cache" / "gpt-oss-120b.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))
    done = program("plan", "gpt-oss-120b", code=0)
    assert "gpt-oss-120b.json is not complete, so a plan knows only a part of it" in done.err
    assert program(*H100, code=0).err == ""
    # The last run wrote to a cache of two devices, and was cut short on its own.
    path = program.root / "cache" / "llama-3.1-8b.json"
    document = json.loads(path.read_text()) | {"complete": False}
    devices = {key: each["device"] for key, each in document["environments"].items()}
    document["environment"] = next(key for key, device in devices.items() if "H100" in device)
    path.write_text(json.dumps(document))
    assert "llama-3.1-8b.json is not complete" in program(*H100, code=0).err
    assert program("plan", "llama-3.1-8b", "--device", "h200", code=0).err == ""
    rows = json.loads(program("list", "--format", "json", code=0).out)["results"]
    complete = {row["device"]: row["complete"] for row in rows if row["name"] == "llama-3.1-8b"}
    assert complete == {"NVIDIA H200": True, "NVIDIA H100 80GB HBM3": False}


def test_a_file(program: Autotune) -> None:
    done = program(*H100, "--format", "json", "--output", "plans/one.json", code=0)
    assert done.out == ""
    assert done.err == "wrote plans/one.json\n"
    assert json.loads((program.root / "plans" / "one.json").read_text())["name"] == "llama-3.1-8b"


def test_a_step_s_time_of_a_trace(program: Autotune) -> None:
    events = [
        {"ph": "X", "cat": "user_annotation", "name": name, "ts": 1e6 * number + 1e3 * ms * step, "dur": 1, "tid": 1}
        for number, (name, ms) in enumerate((("step[DECODE bs=8]", 21.0), ("step[EXTEND bs=1 toks=8192]", 60.0)))
        for step in range(6)
    ]
    (program.root / "server.json").write_text(json.dumps({"schemaVersion": 1, "traceEvents": events}))
    done = program(*H100, "--step-trace", "server.json", code=0)
    given = program(*H100, "--step-ms", "21", "--chunk-ms", "60", code=0)
    assert done.out == given.out
    assert done.err.splitlines() == [
        "note: decode step 21 ms: the median of 4, of 8 requests",
        "note: prefill chunk 60 ms: the median of 4, of 8,192 tokens",
    ]
    mine = program(*H100, "--step-trace", "server.json", "--chunk-ms", "50", code=0)
    assert mine.out == program(*H100, "--step-ms", "21", "--chunk-ms", "50", code=0).out
    exported = program("export", *H100[1:], "--step-trace", "server.json", code=0)
    assert "-0.62 % of 21 ms" in exported.out


def test_a_step_that_is_shorter_than_its_attention_is_told(program: Autotune) -> None:
    out = program(*H100, "--step-ms", "3", "--chunk-ms", "60", code=0).out
    assert "a decode step of 3 ms is shorter than the attention of its workloads (6.02 ms untuned), so no share" in out
    assert " % of 3 ms" not in out
    assert " % of 60 ms" in out
    assert "a prefill chunk" not in out


def test_uneven_lengths_are_told_from_even_ones(program: Autotune) -> None:
    """The suite has 64 rows of 65,536 scores, and 64 of up to that many."""
    weights = ("--traffic-weights", "topk=1,topk.select 64x<=65536=5")
    lines = program("plan", "deepseek-v3.2", "--device", "h100", *weights, code=0).out.splitlines()
    shapes = [line[len("topk.select") :].split("  ")[1].strip() for line in lines if line.startswith("topk.select")]
    assert len(set(shapes)) == len(shapes) == 11
    assert {"64 x 65536", "64 x ≤65536"} <= set(shapes)
    document = json.loads(
        program("plan", "deepseek-v3.2", "--device", "h100", *weights, "--format", "json", code=0).out
    )
    heavy = [each["workload"] for each in document["workloads"] if each["weight"] > 61.0]
    assert heavy == ["topk.select 64 x 65536 uneven k2048 eager float32"]


def test_wrong_is_wrong_and_not_a_gain(program: Autotune) -> None:
    out = program("plan", "deepseek-v3.2", "--device", "h100", code=0).out
    assert "gain over sglang (0.5.23): none is counted, as what it runs is wrong: incorrect: " in out
    rows = [line for line in out.splitlines() if line.startswith("topk.select")]
    assert len(rows) == 11
    assert all("  wrong  " in row for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "--device: the file has results of NVIDIA H200 and NVIDIA H100 80GB HBM3; a plan is for one"),
        (("--device", "b200"), 2, "unknown device of this file 'b200'"),
        (("--device", "h100", "--engine", "trt"), 2, "unknown engine 'trt' (known: flashinfer, sglang, vllm)"),
        (("--device", "h100", "--engine", ""), 2, "unknown engine '' (known: flashinfer, sglang, vllm)"),
        (("--device", "h100", "--traffic-weights", ""), 2, "--traffic-weights: is empty"),
        (("--device", "h100", "--traffic-weights", "decode"), 2, "--traffic-weights: 'decode' is neither 'equal', nor"),
        (("--device", "h100", "--engine-version", "new"), 2, "--engine-version: 'new' is no version"),
        (("--device", "h100", "--engine-version", "9" * 5000), 2, f"--engine-version: '{'9' * 40}' is no version"),
        (("--device", "h100", "--pin", "page_size=63"), 2, "unknown value of SGLang's page-size '63'"),
        (
            ("--device", "h100", "--pin", "attention_backend=fa3", "--pin", "page_size=32"),
            2,
            "--pin: no server with attention_backend=fa3, page_size=32 can be planned: "
            "attention.decode 1 x 1024: sgl_kernel.fa3(page_size=32,num_splits=0,scheduler_metadata=true) was not "
            "measured here",
        ),
        (("--device", "h100", "--traffic-weights", "verify=1"), 2, "--traffic-weights: 'verify' fits no workload"),
        (("--device", "h100", "--step-ms", "0"), 2, "--step-ms: 0.0 is below 0.001"),
        (("--device", "h100", "--step-ms", "nan"), 2, "--step-ms: 'nan' is no number"),
        (
            ("--device", "h100", "--step-trace", "cache/gpt-oss-120b.json"),
            2,
            "cache/gpt-oss-120b.json: JSON without traceEvents: not a trace of torch's profiler",
        ),
        (
            ("--device", "h100", "--step-trace", "x", "--step-ms", "21", "--chunk-ms", "60"),
            2,
            "--step-trace: --step-ms and --chunk-ms say all that it could tell",
        ),
        (("--device", "h100", "--output", "cache/llama-3.1-8b.json"), 2, "is the result itself, and would be replaced"),
        (("--device", "h100", "--format", "svg"), 2, "unknown format 'svg'"),
        (("--device", "h100", "--baseline", "trt"), 2, "unknown baseline of this file 'trt'"),
    ],
)
def test_what_is_refused(program: Autotune, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = program("plan", "llama-3.1-8b", *arguments, code=code)
    assert done.out == ""
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_result_of_which_the_engine_runs_nothing(program: Autotune) -> None:
    done = program("plan", "gpt-oss-120b", "--engine", "vllm", code=3)
    assert "no plan for vLLM: of no workload is a kernel known that it runs: " in done.err
