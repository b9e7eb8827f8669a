"""Runs the code of docs/own-kernels.md as it stands there, and holds the page's tables against the program."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from running import Finished, call_here

from autotune_cli.kernels import Module, register
from autotune_cli.kernels.workload import OPERATIONS
from autotune_cli.results.schema import MEASURED, Status

PAGE = (Path(__file__).parents[2] / "docs" / "own-kernels.md").read_text()
FILES = dict(re.findall(r"^```python (\S+\.py)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
TINY = ("--op", "topk", "--batch", "2", "--context", "4096", "--scores", "normal,narrow", "--device", "cpu")

# Run apart: TRITON_INTERPRET is read when Triton is imported. float16, because the interpreter of Triton 3.7 keeps
# bfloat16 as integers and multiplies those in tl.dot; bfloat16 is for the test on a GPU. The interpreter also needs a
# NumPy before 2.5, which constraints.txt pins.
INTERPRET = """
import json, sys
from autotune_cli.kernels.attention.problem import make_problem
from autotune_cli.kernels.registry import REGISTRY, Device
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.worker.kernel_files import load_kernel_file

load_kernel_file(sys.argv[1])
backend = REGISTRY.get("mine.triton_decode")
h200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
found = []
# Groups of 4 as Llama has, of 7 as Qwen, of 1.
for query_heads, kv_heads, head_dim in [(8, 2, 128), (7, 1, 128), (4, 4, 64)]:
    heads = Geometry(num_qo_heads=query_heads, num_kv_heads=kv_heads, head_dim=head_dim, dtype="float16")
    workload = AttentionWorkload(operation="attention.decode", geometry=heads, batch=2, context=40, mode="eager")
    seen = set()
    for candidate in backend.candidates(workload, h200):
        assert backend.why_unsupported(workload, h200, candidate) is None
        knobs = dict(candidate.knobs)
        shape = (knobs["page_size"], knobs["block"])  # warps and stages mean nothing to the interpreter
        if shape in seen:
            continue
        seen.add(shape)
        for case in ("workload", "edges"):
            problem = make_problem(workload, case, "cpu", 0)
            verdict = problem.check(backend.prepare(problem, **knobs)())
            found.append([heads.key, case, candidate.key, verdict.ok, verdict.message])
print(json.dumps(found))
"""


# Each operator takes the time that it takes on the page, whatever else the machine does: the timer's time passes by it.
TIMES = """
import time
import torch

passed = [0]

def timer():
    passed[0] += 1000
    return passed[0]

def timed(call, ns):
    def run(*arguments, **options):
        passed[0] += ns(options)
        return call(*arguments, **options)
    return run

time.perf_counter_ns = timer
torch.topk = timed(torch.topk, lambda options: 634_000 if options.get("sorted", True) else 309_000)
torch.Tensor.topk = timed(torch.Tensor.topk, lambda options: 634_000)
torch.sort = timed(torch.sort, lambda options: 3_937_000 if options.get("stable") else 1_837_000)
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the page's files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def tune(folder: Path, *options: str) -> Finished:
    return call_here(folder, {}, ("tune", *options, "--no-cache", "--root", folder))


def candidates(done: Finished) -> list[dict[str, Any]]:
    """All candidates of the run's only workload, which must have a winner."""
    assert done.code == 0, done.err
    run = json.loads(done.path.read_text())
    (workload,) = run["workloads"]
    assert workload["choice"] is not None
    return list(workload["candidates"])


def test_the_page_has_the_three_files() -> None:
    assert set(FILES) == {"triton_decode.py", "my_topk.py", "my_mistakes.py"}


def test_a_registration_takes_about_twenty_lines() -> None:
    lines = FILES["triton_decode.py"].splitlines()
    registration = lines[next(n for n, line in enumerate(lines) if line.startswith("@register(")) :]
    assert len([line for line in registration if line.strip()]) <= 22


def test_the_torch_kernel_is_tuned(files: Path) -> None:
    found = candidates(tune(files, "--kernels", "my_topk.py", *TINY, "--json"))
    mine = {candidate["key"]: candidate for candidate in found if candidate["backend"] == "mine.sort"}
    assert set(mine) == {"mine.sort(stable=false)", "mine.sort(stable=true)"}
    for candidate in mine.values():
        assert candidate["status"] in MEASURED
        assert [case["case"] for case in candidate["evidence"]] == ["normal", "refilled", "narrow"]
        assert all(case["ok"] for case in candidate["evidence"])
    assert any(candidate["default"] and candidate["status"] in MEASURED for candidate in found)


def plain(line: str) -> str:
    """A line without times, intervals, ratios and what depends on them."""
    line = re.sub(r" \((winner|tie)\)", "", line)
    line = re.sub(r"~?[\d.]+x (faster|slower)|~?the same", "RATIO", line)
    line = re.sub(r"\S*\bruns(/cpu\.[\d_.]+json)?", "RUN", line)
    line = re.sub(r" ± ?[\d.]+| \([-+x\d. ]+s?\)$", "", line)
    return " ".join(re.sub(r"[-+~]?\d[\d.]*", "N", line).split())


def test_the_loop_prints_what_the_page_shows(files: Path) -> None:
    """Both command lines, with the edit in between; the block of the user's own kernels, up to times."""
    section = PAGE.split("## The loop: edit, run, compare\n")[1].split("\n## ")[0]
    blocks = [block.split("\n    ") for block in re.findall(r"^    (\$ .*(?:\n    .*)+)", section, flags=re.MULTILINE)]
    edit = re.search(r"```diff my_topk.py\n(.*?)```", section, flags=re.DOTALL)
    assert edit is not None
    old, new = (
        "".join(f"{line[1:]}\n" for line in edit[1].splitlines() if line.startswith(sign)) for sign in ("-", "+")
    )
    assert len(blocks) == 2
    (files / "times.py").write_text(TIMES)
    for block in blocks:
        command, *shown = block
        assert command.startswith("$ autotune tune ")
        done = tune(files, *command.split()[3:], "--device", "cpu", "--kernels", "times.py")
        assert done.code == 0, done.err
        printed = [plain(line) for line in done.out[done.out.index("your kernels") :].splitlines()]
        for line in shown:
            if line.strip() != "...":
                # How many candidates are same or ambiguous is the machine's.
                wanted = plain(line).partition("; all candidates")[0]
                assert any(each.partition("; all candidates")[0] == wanted for each in printed), (line, printed)
        text = (files / "my_topk.py").read_text()
        (files / "my_topk.py").write_text(text.replace(old, new))
        assert old in text or block is blocks[1]


def test_every_mistake_is_a_row(files: Path) -> None:
    found = candidates(tune(files, "--kernels", "my_mistakes.py", *TINY, "--timeout", "5", "--json"))
    mine = {candidate["knobs"]["mistake"]: candidate for candidate in found if candidate["backend"] == "mine.mistakes"}
    assert {mistake: candidate["status"] for mistake, candidate in mine.items()} == {
        "smallest": "incorrect",
        "raises": "error",
        "segfault": "crashed",
        "hangs": "timeout",
    }
    assert "no kernel yet" in mine["raises"]["reason"]
    # Also the line at fault, which the page shows with each; of a crash or hang under the file's whole path.
    for name in ("raises", "segfault", "hangs"):
        assert re.sub(r'File ".*my_', 'File "my_', mine[name]["reason"]) in PAGE
    assert "SIGSEGV" in mine["segfault"]["reason"]
    assert {candidate["status"] for candidate in found if candidate["backend"] == "torch.topk"} <= set(MEASURED)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("x = (\n", "line 1"), ("import no_such_module\n", "no_such_module"), ("1 / 0\n", "ZeroDivisionError")],
    ids=["syntax", "module", "raises"],
)
def test_a_file_that_cant_be_loaded_is_one_line(files: Path, text: str, wanted: str) -> None:
    (files / "broken.py").write_text(text)
    done = tune(files, "--kernels", "broken.py", *TINY)
    assert done.code == 2
    assert wanted in done.err.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the next test runs it for real on this GPU")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install triton")
def test_the_triton_kernel_is_right_in_tritons_interpreter(files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERPRET, str(files / "triton_decode.py")],
        cwd=files,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {(row[0], row[1]) for row in found} == {
        (heads, case)
        for heads in ("h8/2 d128 float16", "h7/1 d128 float16", "h4/4 d64 float16")
        for case in ("workload", "edges")
    }
    assert [row for row in found if not row[3]] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_triton_kernel_is_tuned_against_flashinfer(files: Path, mode: str) -> None:
    where = ("--model", "llama-3.1-8b", "--op", "decode", "--batch", "16", "--context", "4096", "--mode", mode)
    only = ("--backend", "mine,flashinfer.decode", "--page-size", "1,16")
    found = candidates(tune(files, "--kernels", "triton_decode.py", *where, *only, "--json"))
    mine = [candidate for candidate in found if candidate["backend"] == "mine.triton_decode"]
    theirs = [candidate for candidate in found if candidate["backend"] == "flashinfer.decode"]
    assert len(mine) >= 8
    assert {candidate["status"] for candidate in mine} <= set(MEASURED)
    assert any(candidate["status"] in MEASURED for candidate in theirs)
    for candidate in sorted(mine + theirs, key=lambda each: each["median_us"] or each["rough_us"] or 1e9):
        print(candidate["key"], candidate["status"], candidate["median_us"] or candidate["rough_us"])


def rows(heading: str) -> set[str]:
    """Words in backticks in the first column of a section's tables."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n### ")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for cell in first for word in re.findall(r"`\*?([a-z_]+)", cell)}


def test_the_page_explains_every_argument_and_status() -> None:
    assert rows("`register`") == set(inspect.signature(register).parameters)
    assert rows("Modules that are compiled once") == {field.name for field in dataclasses.fields(Module)}
    assert rows("Statuses") == set(get_args(Status))
    assert all(f"`{operation}`" in PAGE for operation in OPERATIONS)


def test_the_page_names_fields_that_exist() -> None:
    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem
    from autotune_cli.kernels.attention.problem import make_problem as make_attention
    from autotune_cli.kernels.attention.workload import AttentionWorkload
    from autotune_cli.kernels.geometry import Geometry, LatentGeometry
    from autotune_cli.kernels.mla.problem import MlaProblem
    from autotune_cli.kernels.mla.problem import make_problem as make_latent
    from autotune_cli.kernels.mla.workload import MlaWorkload
    from autotune_cli.kernels.topk.problem import make_problem as make_topk
    from autotune_cli.kernels.topk.workload import TopkWorkload

    heads = Geometry(num_qo_heads=2, num_kv_heads=1, head_dim=64, dtype="float32")
    decode = AttentionWorkload(operation="attention.decode", geometry=heads, batch=2, context=20, mode="eager")
    attention = make_attention(decode, "workload", "cpu", 0)
    assert isinstance(attention, AttentionProblem)
    select = TopkWorkload(operation="topk.select", rows=2, width=32, k=4, mode="eager")
    objects = [attention, attention.lengths, attention.paged(16), make_topk(select, "normal", "cpu", 0)]
    assert isinstance(objects[2], PagedKV)
    latent = LatentGeometry(num_heads=2, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4)
    for operation, new in (
        ("attention.mla_decode", 1), ("attention.mla_prefill", 20), ("attention.mla_sparse_decode", 1),
    ):  # fmt: skip
        fields = {"operation": operation, "latent": latent, "batch": 2, "new": new, "context": 20, "mode": "eager"}
        fields["index_topk"] = 8
        made = make_latent(MlaWorkload.model_validate(fields), "workload", "cpu", 0)
        objects += [made, *([made.paged(16)] if isinstance(made, MlaProblem) else [])]
    layout = make_topk(select.model_copy(update={"operation": "topk.paged"}), "normal", "cpu", 0).layout
    told = {field.name for field in dataclasses.fields(layout)} - {"position_of", "owner_of"}
    assert told <= rows("The problem")
    objects.append(layout)
    steps = {"operation": "topk.indexer", "index_heads": 2, "index_dim": 8}
    indexer = make_topk(TopkWorkload.model_validate(select.model_dump() | steps), "computed", "cpu", 0).indexer
    assert {field.name for field in dataclasses.fields(indexer)} <= rows("The problem")
    objects.append(indexer)
    for name in rows("The problem") - {"lengths"}:
        assert any(hasattr(each, name) for each in objects), name
