"""Makes the logs beside this file: what servers and benchmarks leave behind, of made-up requests.

``python tests/data/traffic/make.py`` writes them all again, byte for byte (seeded). ``conversations.csv`` has the form
and the mixture of a public trace of conversations: Azure's (2023) has prompts of about 1,000 tokens with a long tail,
and answers of about 200; here a third are turns of a chat, with short prompts, and arrivals come in bursts.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
BEGIN = datetime(2026, 11, 20, 9, 0, 0)


class Made(NamedTuple):
    arrival: float
    prompt: int
    output: int
    cached: int


def requests(count: int, rate: float, seed: int) -> Iterator[Made]:
    """Lengths are log-normal; arrivals a Poisson process whose rate swings by half within a minute."""
    rng = random.Random(seed)
    now = 0.0
    for _ in range(count):
        now += rng.expovariate(rate * (1.0 + 0.5 * math.sin(now / 10.0)))
        chat = rng.random() < 0.35
        prompt = int(rng.lognormvariate(5.2 if chat else 7.0, 0.6 if chat else 0.75)) + 8
        output = int(rng.lognormvariate(5.0, 0.65)) + 1
        cached = prompt // 2 // 16 * 16 if chat and rng.random() < 0.5 else 0
        yield Made(round(now, 6), min(prompt, 16_000), min(output, 2_000), cached)


def stamp(arrival: float) -> str:
    return (BEGIN + timedelta(seconds=arrival)).isoformat(sep=" ", timespec="microseconds")


def write(name: str, lines: list[str]) -> None:
    (FOLDER / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def csv(name: str, made: list[Made]) -> None:
    rows = [f"{stamp(each.arrival)},{each.prompt},{each.output}" for each in made]
    write(name, ["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])


def sglang_requests(name: str, made: list[Made]) -> None:
    """As ``--log-requests-format json`` writes to a file, level 0."""
    lines = []
    for number, each in enumerate(made):
        taken = 0.2 + 0.02 * each.output
        told = {
            "id": f"{number:032x}", "finish_reason": {"type": "length", "length": each.output},
            "prompt_tokens": each.prompt, "completion_tokens": each.output, "cached_tokens": each.cached,
            "e2e_latency": round(taken, 6),
        }  # fmt: skip
        for event, at, more in (
            ("request.received", each.arrival, {}),
            ("request.finished", each.arrival + taken, {"out": {"meta_info": told}}),
        ):
            date = stamp(at).partition(".")[0]
            document = {"timestamp": stamp(at).replace(" ", "T"), "event": event, "rid": f"{number:032x}", "obj": {}}
            lines.append(f"[{date}] {json.dumps({**document, **more})}")
    write(name, lines)


def sglang_metrics(name: str, made: list[Made]) -> None:
    """As ``--export-metrics-to-file`` writes."""
    lines = []
    for number, each in enumerate(made):
        document = {
            "request_parameters": json.dumps({"rid": f"{number:032x}", "stream": True}), "id": f"{number:032x}",
            "prompt_tokens": each.prompt, "completion_tokens": each.output, "cached_tokens": each.cached,
            "request_received_ts": 1795165200.0 + each.arrival, "e2e_latency": 0.2 + 0.015 * each.output,
            "decode_throughput": 1.0 / 0.015,
        }  # fmt: skip
        lines.append(json.dumps(document))
    write(name, lines)


def benchmark(name: str, made: list[Made], **more: Any) -> None:
    rng = random.Random(7)
    document = {
        **more,
        "completed": len(made), "total_input_tokens": sum(each.prompt for each in made), "request_throughput": 4.2,
        "std_ttft_ms": math.nan, "input_lens": [each.prompt for each in made],
        "output_lens": [each.output for each in made],
        "itls": [[round(rng.uniform(0.011, 0.013), 6) for _ in range(3)] for _ in made],
        "errors": ["" for _ in made],
    }  # fmt: skip
    write(name, [json.dumps(document)])


def flashinfer(name: str, seed: int) -> None:
    """As FlashInfer-Bench collects workloads."""
    rng = random.Random(seed)
    lines = []
    for number in range(40):
        batch = rng.randint(1, 24)
        prefill = number % 8 == 0
        axes = {"batch_size": batch, "len_indptr": batch + 1, "num_pages": 40_000}
        axes |= {"num_kv_indices": sum(rng.randint(20, 160) for _ in range(batch))}
        kind = "decode"
        if prefill:
            kind = "prefill_causal"
            axes = {"total_q": rng.randint(16, 2048), **axes}
            del axes["batch_size"]
        workload = {"uuid": f"{number:08x}", "axes": axes, "inputs": {"q": {"type": "random"}}}
        document = {"definition": f"gqa_paged_{kind}_h32_kv8_d128_ps16", "solution": None, "workload": workload}
        lines.append(json.dumps({**document, "evaluation": None}))
    write(name, lines)


def definition(name: str) -> None:
    """As FLASHINFER_TRACE_DUMP writes one, without its code."""
    document = {
        "name": "gqa_paged_decode_h32_kv8_d128_ps16",
        "op_type": "gqa_paged",
        "tags": ["fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run"],
        "axes": {"batch_size": {"type": "var"}, "num_qo_heads": {"type": "const", "value": 32}},
        "inputs": {"q": {"shape": ["batch_size", "num_qo_heads", "head_dim"], "dtype": "bfloat16"}},
    }
    write(name, [json.dumps(document, indent=2)])


def trace(name: str, steps: list[str], processes: tuple[str | int, ...] = (4711,)) -> None:
    events: list[dict[str, Any]] = []
    for process in processes:
        for number, step in enumerate(steps):
            at = {"ts": 1000.0 + 20.0 * number, "dur": 15.0, "pid": process, "tid": 1}
            events.append({"ph": "X", "cat": "user_annotation", "name": step, **at})
            events.append({"ph": "X", "cat": "gpu_user_annotation", "name": step, **at})
            events.append({"ph": "X", "cat": "cpu_op", "name": "aten::mm", **at})
    write(name, [json.dumps({"schemaVersion": 1, "deviceProperties": [], "traceEvents": events}, indent=1)])


def main() -> None:
    csv("conversations.csv", list(requests(500, 6.0, 1)))
    some = list(requests(40, 3.0, 2))
    csv("azure.csv", some)
    sglang_requests("sglang-requests.log", some)
    sglang_metrics("sglang-metrics.jsonl", some)
    benchmark(
        "sglang-bench.jsonl", some, backend="sglang", dataset_name="random", request_rate=math.inf, max_concurrency=16
    )
    starts = [100.0 + each.arrival for each in some]
    benchmark("vllm-bench.json", some, backend="vllm", num_prompts=len(some), request_rate="inf", start_times=starts)
    shared = [[0, 1, 2] + [100 * number + block for block in range(3)] for number in range(40)]
    write(
        "mooncake.jsonl",
        [
            json.dumps({"timestamp": int(1e3 * each.arrival), "input_length": 3000, "output_length": each.output,
                        "hash_ids": hashes})
            for each, hashes in zip(some, shared, strict=True)
        ],
    )  # fmt: skip
    write("lengths.jsonl", [json.dumps({"prompt_len": each.prompt, "output_len": each.output}) for each in some])
    flashinfer("flashinfer.jsonl", 3)
    definition("flashinfer-definition.json")
    rng = random.Random(4)
    detailed = []
    for _ in range(30):
        batch, keys = rng.randint(4, 20), rng.randint(300, 2000)
        detailed.append(
            f"step[DECODE bs={batch} g_sq={batch} g_sqsq={batch} g_sqsk={batch * keys} g_sk={batch * keys}]"
        )
    detailed += [
        "step[EXTEND bs=3 toks=1500 c_sq=1500 c_sqsq=1 c_sqsk=1 c_sk=1500]",
        "step[EXTEND bs=2 toks=700 c_sq=700 c_sqsq=1 c_sqsk=1 c_sk=4700]",
        "step[IDLE bs=0]", "step[VERIFY bs=2 g_sq=8 g_sk=4000]",
    ]  # fmt: skip
    trace("sglang-detailed.trace.json", detailed, ("[TP00] 1", "[TP01] 2"))
    trace("sglang.trace.json", [*(["step[DECODE bs=8]"] * 20), "step[EXTEND bs=4 toks=2013]"])
    trace(
        "vllm.trace.json",
        [
            *(["execute_8192_context_0(sq0sk0sqsq0sqsk0)_generation_37(sq37sk34489sqsq37sqsk34489)"] * 20),
            "execute_8192_context_9(sq8155sk8430sqsq7475785sqsk7671310)_generation_37(sq37sk34489sqsq37sqsk34489)",
        ],
    )


if __name__ == "__main__":
    main()
