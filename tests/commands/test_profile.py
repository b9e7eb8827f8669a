"""``autotune profile`` as people call it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "profiling"))
from trace_builders import FA2_PAGED, FA2_RAGGED, STRANGE, TOPK, ChromeTrace

Usage = Callable[..., Any]


def test_the_example_passes_and_says_so(usage: Usage) -> None:
    done = usage("profile", "--from-trace", "example", "--paged")
    assert done.code == 0
    assert done.out.splitlines()[-1] == (
        "PASS: only paged attention in eager (2 kernels), replay (2 kernels); capture: 4 kernels captured, not executed"
    )
    assert "NVIDIA H200" in done.out


def test_the_ragged_example_fails_when_paged_is_asked_for(usage: Usage) -> None:
    done = usage("profile", "--from-trace", "example-ragged", "--paged")
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("FAIL: 1 ragged kernel in eager: BatchPrefillWithRaggedKVCacheKernel")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--mode", "extend"), 0),
        (("--no-paged",), 0),
        (("--prefix",), 0),
        (("--no-prefix",), 1),
        (("--mode", "decode"), 1),
        (("--expect", "MergeStateKernel", "--forbid", "cudnn"), 0),
        (("--expect", "cudnn"), 1),
        (("--forbid", "MergeStateKernel"), 1),
        (("--no-paged", "--self-check"), 0),
    ],
)
def test_what_the_ragged_example_is(usage: Usage, options: tuple[str, ...], code: int) -> None:
    assert usage("profile", "--from-trace", "example-ragged", *options).code == code


def test_sglangs_variable_is_followed_and_an_option_beats_it(usage: Usage) -> None:
    forced = {"SGLANG_FLASHINFER_USE_PAGED": "Yes"}
    assert usage("profile", "--from-trace", "example-ragged", variables=forced).code == 1
    assert usage("profile", "--from-trace", "example-ragged", "--no-paged", variables=forced).code == 0
    odd = usage("profile", "--from-trace", "example-ragged", variables={"SGLANG_FLASHINFER_USE_PAGED": "on"})
    assert (odd.code, "LISTED, not judged" in odd.out) == (0, True)
    assert "SGLANG_FLASHINFER_USE_PAGED='on'" in odd.err


def test_json_holds_what_the_verdict_rests_on(usage: Usage) -> None:
    done = usage("profile", "--from-trace", "example", "--paged", "--format", "json", "--self-check")
    document = done.summary
    assert (document["verdict"], document["exit_code"]) == ("pass", 0)
    assert [(phase["name"], phase["state"]) for phase in document["phases"]] == [
        ("eager", "ok"),
        ("capture", "captured"),
        ("replay", "ok"),
    ]
    replay = document["phases"][2]
    assert replay["families"]["paged"] == {"launches": 2, "us": 89.792}
    assert all(use["name"] and use["reason"] for use in replay["kernels"])
    assert len(document["self_check"]) == 9


def test_markdown_is_a_table(usage: Usage) -> None:
    done = usage("profile", "--from-trace", "example-ragged", "--paged", "--format", "markdown")
    assert done.code == 1
    assert done.out.startswith("**FAIL: 1 ragged kernel in eager")
    rows = [line for line in done.out.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert "| eager | FAIL | paged | 1 |" in done.out


def test_unknown_kernels_fail_until_a_rule_names_them(usage: Usage, tmp_path: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager"):
        trace.kernel(FA2_PAGED).kernel(STRANGE)
    path = trace.write(tmp_path / "t.json.gz")
    done = usage("profile", "--from-trace", path, "--paged")
    assert done.code == 1
    assert "FAIL: 1 unknown kernel in eager: acme::secret_kernel" in done.out
    line = next(line.strip() for line in done.out.splitlines() if line.strip().startswith("'"))
    rules = tmp_path / "extra.toml"
    rules.write_text(f"{line}\n")
    assert usage("profile", "--from-trace", path, "--paged", "--rules", rules).code == 0


def test_topk_by_expect_and_forbid(usage: Usage, tmp_path: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.replay"):
        trace.graph(TOPK, STRANGE)
    path = trace.write(tmp_path / "t.json")
    done = usage("profile", "--from-trace", path, "--expect", "FilteredTopK", "--forbid", "RadixTopK")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "PASS: kernels as --expect and --forbid say in replay (2 kernels)"
    assert usage("profile", "--from-trace", path, "--expect", "RadixTopK").code == 1


def test_nothing_recorded_is_exit_3(usage: Usage, tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.events.append({"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 2, "pid": 1, "tid": 1})
    done = usage("profile", "--from-trace", trace.write(tmp_path / "t.json"), "--paged")
    assert done.code == 3
    assert done.out.splitlines()[-1] == "NOTHING TO JUDGE: no GPU kernel was recorded"


def test_a_range_and_a_rank_can_be_chosen(usage: Usage, tmp_path: Path) -> None:
    for rank, kernel in enumerate((FA2_PAGED, FA2_RAGGED)):
        trace = ChromeTrace()
        with trace.span("decode"):
            trace.kernel(kernel)
        trace.write(tmp_path / f"x-TP-{rank}.trace.json.gz")
    assert usage("profile", "--from-trace", tmp_path, "--paged", "--rank", 0, "--range", "decode").code == 0
    assert usage("profile", "--from-trace", tmp_path, "--paged", "--rank", 1, "--range", "decode").code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from-trace", "nothing.json"), "nothing.json: can't be read"),
        (("--from-trace", "example", "--range", "nix"), "no range 'nix'; ranges in this trace: phase.eager"),
        (("--from-trace", "example", "--rank", "3"), "no rank 3"),
        (("--from-trace", "example", "--rank", "-1"), "--rank: -1 is below 0"),
        (("--from-trace", "example", "--rank", "x"), "--rank: 'x' is no whole number"),
        (("--from-trace", "example", "--format", "html"), "unknown format 'html'"),
        (("--from-trace", "example", "--expect", "("), "no regular expression"),
        # What a script's unset variable gives.
        (("--from-trace", "example", "--expect", ""), "--expect: is empty"),
        (("--from-trace", "example", "--forbid", ""), "--forbid: is empty"),
        (("--from-trace", "example", "--preset", ""), "unknown preset ''"),
        (("--from-trace", ""), "--from-trace: is empty"),
        (("--from-trace", "example", "--mode", "exten"), "did you mean 'extend'"),
        (("--from-trace", "example", "--rules", "nix.toml"), "nix.toml: can't be read"),
        (("--from-trace", "example", "--model", "llama-3.1-8b"), "not with --from-trace"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(usage: Usage, options: tuple[str, ...], message: str) -> None:
    done = usage("profile", *options)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not done.out


@pytest.mark.parametrize("options", [(), ("--model", "llama-3.1-8b", "--paged", "--phases", "eager,replay")])
def test_without_a_gpu_it_says_so_and_names_the_way(
    usage: Usage, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr("autotune_cli.commands.devices._nvml_count", lambda: 0)
    done = usage("profile", *options)
    assert done.code == 4
    assert done.err.count("\n") == 1
    assert "no NVIDIA GPU" in done.err
    assert "--from-trace" in done.err


def test_judging_imports_no_torch() -> None:
    script = (
        "import sys; sys.argv = ['autotune', 'profile', '--from-trace', 'example', '--paged', '--format', 'json']\n"
        "from autotune_cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'pandas', 'flashinfer', 'triton'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exit_code"] == 0


def test_without_an_expectation_what_fired_is_listed(usage: Usage) -> None:
    done = usage("profile", "--from-trace", "example-ragged")
    assert done.code == 0
    last = done.out.splitlines()[-1]
    assert last.startswith("LISTED, not judged: 4 kernels in 1 phase; to judge it, say what to expect: --paged")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["eager", "paged", "1", "121.3", "BatchPrefillWithPagedKVCacheKernel", "flashinfer", "fa2"] in rows
    assert ["ragged", "1", "47.71", "BatchPrefillWithRaggedKVCacheKernel", "flashinfer", "fa2"] in rows
    assert "PASS" not in done.out
    assert "FAIL" not in done.out


@pytest.mark.parametrize(
    "options",
    [("--paged",), ("--no-paged",), ("--prefix",), ("--mode", "extend"), ("--expect", "x"), ("--forbid", "x")],
)
def test_whoever_says_what_to_expect_gets_a_verdict(usage: Usage, options: tuple[str, ...]) -> None:
    assert (
        usage("profile", "--from-trace", "example-ragged", *options).out.splitlines()[-1].startswith(("PASS", "FAIL"))
    )


def test_the_listing_for_scripts(usage: Usage) -> None:
    document = usage("profile", "--from-trace", "example", "--format", "json").summary
    assert (document["verdict"], document["exit_code"], document["expectation"]) == ("listed", 0, None)
    replay = document["phases"][2]
    assert replay["families"]["paged"] == {"launches": 2, "us": 89.792}
    assert all(use["name"] and use["family"] and use["reason"] for use in replay["kernels"])
    markdown = usage("profile", "--from-trace", "example", "--format", "markdown").out
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert "| eager | paged | 2 | 85.47 | `BatchPrefillWithPagedKVCacheKernel` | flashinfer fa2 |" in rows


def test_a_listing_shows_unknown_kernels_and_counts_everyday_ones(usage: Usage, tmp_path: Path) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager"):
        trace.kernel(STRANGE)
        for n in range(9):
            trace.kernel(f"void at::native::elementwise_kernel_{n}<int>(int)")
    done = usage("profile", "--from-trace", trace.write(tmp_path / "t.json"))
    assert done.code == 0
    assert "unknown" in done.out
    assert "secret_kernel" in done.out
    assert "6 more names" in done.out


def test_a_listing_of_nothing_is_exit_3_and_a_self_check_needs_something_to_check(usage: Usage, tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.events.append({"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 2, "pid": 1, "tid": 1})
    path = trace.write(tmp_path / "t.json")
    done = usage("profile", "--from-trace", path)
    assert (done.code, done.out.splitlines()[-1]) == (3, "NOTHING TO LIST: no GPU kernel was recorded")
    assert usage("profile", "--from-trace", path, "--format", "json").summary["exit_code"] == 3
    assert "--self-check: needs something to expect" in usage("profile", "--from-trace", path, "--self-check").err


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_a_listing_obeys_no_name(usage: Usage, tmp_path: Path, form: str) -> None:
    trace = ChromeTrace()
    with trace.span("phase.eager"):
        trace.kernel("acme::x\x1b[2J|**PASS** @someone")
    done = usage("profile", "--from-trace", trace.write(tmp_path / "t.json"), "--format", form)
    assert done.code == 0
    assert "\x1b" not in done.out
    if form == "markdown":
        assert len({row.count("|") - row.count("\\|") for row in done.out.splitlines() if row.startswith("|")}) == 1
