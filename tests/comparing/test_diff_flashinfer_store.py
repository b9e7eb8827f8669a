"""Stores of FlashInfer's autotune_v2. ``written_by_flashinfer/`` has one beside the flat file of the same two
choices: 0.7.2.post1 wrote both, on a CPU (``ManagedAutotuneCache.publish``, ``AutoTuner.save_configs``)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from diff_builders import FLASHINFER, session, write

Usage = Callable[..., Any]
WRITTEN = Path(__file__).parent / "written_by_flashinfer"
STORE = "v2/2482773c3e7d4155"
GEMM = "('bf16_gemm', 'CutlassRunner', ((64, 4096), (4096, 4096)), (torch.bfloat16,))"
MOE = "('trtllm::fused_moe::gemm1', 'MoERunner', ((128, 4096),), ())"
POLICY = ["cuda_graph_profile_replays", None, "l2_cache_policy", "hot"]
ENVIRONMENT = {"flashinfer_version": "0.7.2", "cuda_version": "13.0", "cudnn_version": "9", "gpu": "NVIDIA H200"}
CHOICES = {GEMM: ("CutlassRunner", 3), MOE: ("MoERunner", [64, 128])}


def entry_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24] + ".json"


def store(
    root: Path,
    choices: Mapping[str, tuple[str, object]] = CHOICES,
    environment: Mapping[str, object] = ENVIRONMENT,
    **more: object,
) -> Path:
    """What FlashInfer writes for an environment. ``more``: further fields of every entry."""
    manifest = {**environment, "cache_schema": "v2"}
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    folder = root / "v2" / hashlib.sha256(canonical.encode()).hexdigest()[:16]
    (folder / "entries").mkdir(parents=True)
    write(folder / "manifest.json", manifest)
    for key, (runner, tactic) in choices.items():
        write(folder / "entries" / entry_name(key), {"key": key, "runner": runner, "tactic": tactic, **more})
    return folder


def as_json(usage: Usage, *arguments: object, code: int = 0) -> Any:
    done = usage("diff", *arguments, "--format", "json")
    assert done.code == code, done.err
    return json.loads(done.out)


def test_the_stores_made_here_are_named_as_flashinfer_names_them(tmp_path: Path) -> None:
    manifest = json.loads((WRITTEN / STORE / "manifest.json").read_text())
    del manifest["cache_schema"]
    made = store(tmp_path, environment=manifest)
    assert made == tmp_path / STORE
    names = [sorted(path.name for path in (folder / "entries").iterdir()) for folder in (made, WRITTEN / STORE)]
    assert names[0] == names[1]


@pytest.mark.parametrize("b", [".", "v2", STORE, f"{STORE}/", f"{STORE}/manifest.json", "v2/*", "v1.json"])
def test_a_store_by_any_name_against_the_flat_file_of_the_same_choices(usage: Usage, tmp_path: Path, b: str) -> None:
    shutil.copytree(WRITTEN, tmp_path / "x")
    if b == ".":
        (tmp_path / "x" / "v1.json").unlink()
    for sides in ((WRITTEN / "v1.json", f"x/{b}"), (f"x/{b}", WRITTEN / "v1.json")):
        document = as_json(usage, *sides, "--fail-on", "choice")
        assert document["ground"] == []
        assert [choice["verdict"] for choice in document["choices"]] == ["unchanged"] * 2
        assert {choice["label_b"] for choice in document["choices"]} == {"CutlassRunner 3", "MoERunner [64, 128]"}
        assert document["only_a"] == document["only_b"] == []
        assert len(document["notes"]) == 1


def test_choices_and_environment_of_two_stores(usage: Usage, tmp_path: Path) -> None:
    a = store(tmp_path / "a", profiling_policy=POLICY)
    newer = {**ENVIRONMENT, "flashinfer_version": "0.7.3", "cudnn_version": "*", "measure_execution_mode": "eager"}
    changed = {GEMM: ("CutlassRunner", 5), "('new', 'R', (), ())": ("R", -1)}
    store(tmp_path / "b", changed, newer, profiling_policy=[*POLICY[:-1], "cold"])
    done = usage("diff", "a", "b")
    assert done.code == 0
    assert f"A: {a.relative_to(tmp_path)} (2 choices)" in done.out
    assert "environment: flashinfer_version 0.7.2 -> 0.7.3" in done.out
    assert "environment: measure_execution_mode not recorded -> eager" in done.out
    assert "environment: l2_cache_policy hot -> cold" in done.out
    for agreed in ("cudnn", "cuda_version", "cuda_graph_profile_replays", "cache_schema"):
        assert agreed not in done.out
    assert "CutlassRunner 3 -> CutlassRunner 5" in done.out
    assert "0 choices unchanged, 1 changed, 1 only in A, 1 only in B" in done.out
    assert usage("diff", "a", "b", "--fail-on", "choice").code == 1
    document = as_json(usage, "a", "b")
    assert document["kind"] == "choices only"
    assert document["a"]["files"][0]["path"] == str(a.relative_to(tmp_path))
    assert (document["only_a"], document["only_b"]) == ([MOE], ["('new', 'R', (), ())"])
    assert {item["field"]: item["workloads"] for item in document["ground"]}["l2_cache_policy"] == 1


def test_a_store_against_a_flat_file_of_an_older_flashinfer(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "old.json", {**FLASHINFER, MOE: ["MoERunner", [32, 128]]})
    store(tmp_path, profiling_policy=POLICY)
    document = as_json(usage, "old.json", "v2")
    assert [(choice["workload"], choice["verdict"]) for choice in document["choices"]] == [
        (MOE, "changed"),
        (GEMM, "unchanged"),
    ]
    # An old file doesn't say how it measured.
    assert [item["field"] for item in document["ground"]] == ["flashinfer_version"]
    write(tmp_path / "other.json", {"_metadata": ENVIRONMENT, "('other', 'R', (), ())": ["R", 1]})
    for sides in (("other.json", "v2"), ("v2", "other.json")):
        done = usage("diff", *sides)
        assert done.code == 3
        assert "no choice in common" in done.out


def test_another_gpu_is_not_comparable(usage: Usage, tmp_path: Path) -> None:
    store(tmp_path / "a")
    store(tmp_path / "b", environment={**ENVIRONMENT, "gpu": "NVIDIA B200"})
    done = usage("diff", "a", "b")
    assert done.code == 3
    assert "environment: gpu NVIDIA H200 -> NVIDIA B200 (not comparable)" in done.out
    assert usage("diff", "a", "b", "--allow-different", "gpu").code == 0


GOOD = {"key": MOE, "runner": "MoERunner", "tactic": [64, 128]}
DAMAGED: dict[str, tuple[object, str]] = {
    "cut short": ('{"key": "x', "not JSON: line 1, column 9"),
    "empty": ("", "not JSON"),
    "nan": ('{"key": "x", "runner": "R", "tactic": NaN}', "not JSON: NaN is not a JSON number"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "binary": (b"\x80\x81", "not UTF-8 text"),
    "bom": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "not JSON"),
    "large": (json.dumps({**GOOD, "key_fields": "x" * 2**20}), "1 MiB, over 1 MiB: not a choice?"),
    "a list": ("[]", "no JSON object"),
    "no key": (json.dumps({**GOOD, "key": None}), "without key, runner or tactic"),
    "no runner": (json.dumps({**GOOD, "runner": 3}), "without key, runner or tactic"),
    "no tactic": ('{"key": "x", "runner": "R"}', "without key, runner or tactic"),
    "of another key": (json.dumps({**GOOD, "key": GEMM}), "its key belongs in another file"),
}


@pytest.mark.parametrize("side", "AB")
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_entry_is_named_and_the_others_are_compared(
    usage: Usage, tmp_path: Path, name: str, side: str
) -> None:
    content, reason = DAMAGED[name]
    store(tmp_path / "a")
    store(tmp_path / "b")
    path = next((tmp_path / side.lower()).glob(f"v2/*/entries/{entry_name(MOE)}"))
    path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    document = as_json(usage, "a", "b", "--fail-on", "slower,choice,status,ambiguous")
    assert [choice["workload"] for choice in document["choices"]] == [GEMM]
    assert document["only_b" if side == "A" else "only_a"] == [MOE]
    assert f"{side}: 1 entry is damaged and left out, as FlashInfer does: {path.name} ({reason}" in document["notes"][1]
    assert str(path.parent.relative_to(tmp_path)) in document["notes"][1]
    assert path.name in usage("diff", "a", "b").out


def test_many_damaged_entries_are_counted_and_what_is_no_entry_is_passed_over(usage: Usage, tmp_path: Path) -> None:
    store(tmp_path / "a")
    entries = store(tmp_path / "b") / "entries"
    for number in range(20):
        (entries / f"{number:024}.json").write_text("")
    os.mkfifo(entries / "pipe.json")  # reading it would never end
    (entries / "gone.json").symlink_to("nowhere")
    for other in (".autotune_x.tmp", ".hidden.json", "notes.txt"):
        (entries / other).write_text("")
    note = as_json(usage, "a", "b")["notes"][1]
    assert note.startswith("B: 22 entries are damaged")
    assert " and 14 more in b/v2/" in note
    for path in list(entries.glob("0*.json")):
        path.unlink()
    note = as_json(usage, "a", "b")["notes"][1]
    assert "gone.json (no such file or directory), pipe.json (not a regular file but a pipe) in" in note


def test_several_stores_are_listed(usage: Usage, tmp_path: Path) -> None:
    store(tmp_path / "a")
    first = store(tmp_path / "b").relative_to(tmp_path)
    second = store(tmp_path / "b", environment={**ENVIRONMENT, "measure_execution_mode": "eager"}).relative_to(tmp_path)
    for folder in ("b", "b/v2"):
        done = usage("diff", "a", folder)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert f"B: {folder}: holds 2 FlashInfer stores, name one: " in done.err
        assert f"{first} (0.7.2, NVIDIA H200)" in done.err
        assert f"{second} (0.7.2, NVIDIA H200, eager)" in done.err
    assert usage("diff", "a", second).code == 0
    (tmp_path / second / "manifest.json").write_text("")
    assert f"{second} (its manifest can't be read)" in usage("diff", "a", "b").err
    shutil.rmtree(tmp_path / second)
    assert usage("diff", "a", "b").code == 0
    (tmp_path / "b" / "v2" / "latest").symlink_to(first.name)  # the same one under two names
    assert usage("diff", "a", "b").code == 0
    for number in range(9):
        store(tmp_path / "b", environment={"gpu": str(number)})
    assert "holds 10 FlashInfer stores" in usage("diff", "a", "b").err
    assert usage("diff", "a", "b").err.endswith(" and 2 more\n")


def test_runs_and_caches_come_before_a_store(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", session(1))
    for run in ("x.20261121_090000.json", "x.20261121_100000.json"):
        write(tmp_path / "in" / run, session(2))
        write(tmp_path / "below" / "runs" / run, session(3))
    write(tmp_path / "caches" / "cache" / "main.json", session(4))
    write(tmp_path / "files" / "main.json", session(5))
    for folder, expected in (
        ("in", "in/x.20261121_100000.json"),
        ("below", "below/runs/x.20261121_100000.json"),
        ("caches", "caches/cache/main.json"),
        ("files", "files/main.json"),
    ):
        store(tmp_path / folder)
        if folder != "files":  # a store's own manifest.json is no result file
            shutil.copytree(WRITTEN / STORE, tmp_path / folder, dirs_exist_ok=True)
        document = as_json(usage, "a.json", folder)
        assert [file["path"] for file in document["b"]["files"]] == [expected]


def test_a_result_file_may_be_called_manifest(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", session(1))
    write(tmp_path / "some" / "manifest.json", session(2))
    assert as_json(usage, "a.json", "some")["b"]["files"][0]["path"] == "some/manifest.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "manifest.json: not JSON"),
        ("[1]", "manifest.json: not the manifest of a FlashInfer store: it has no cache_schema"),
        ('{"gpu": "NVIDIA H200"}', "it has no cache_schema"),
        ('{"cache_schema": "v3"}', "a FlashInfer store of layout v3, this version reads v2"),
        ('{"cache_schema": 2}', "a FlashInfer store of layout 2, this version reads v2"),
        (" " * 2**20 + "{}", "1 MiB, over 1 MiB: not a choice?"),
    ],
)
@pytest.mark.parametrize("b", ["b", "v2"])
def test_a_damaged_manifest_is_one_line(usage: Usage, tmp_path: Path, content: str, message: str, b: str) -> None:
    store(tmp_path / "a")
    folder = store(tmp_path / "b")
    (folder / "manifest.json").write_text(content)
    done = usage("diff", "a", "b" if b == "b" else folder)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_an_empty_store_has_nothing_to_compare(usage: Usage, tmp_path: Path) -> None:
    store(tmp_path / "a")
    empty = store(tmp_path / "b", {})
    assert "exit 3: not comparable: B holds no choices" in usage("diff", "a", "b").out
    (empty / "entries").rmdir()  # git keeps no empty folder
    assert "exit 3: not comparable: B holds no choices" in usage("diff", "a", empty).out


def test_a_store_and_a_run_have_nothing_in_common(usage: Usage, tmp_path: Path) -> None:
    folder = store(tmp_path)
    write(tmp_path / "run.json", session(1))
    done = usage("diff", "v2", "run.json")
    assert done.code == 3
    assert "A is a FlashInfer cache" in done.out
    assert "workload" not in done.out.splitlines()[1]
    pooled = usage("diff", "run.json", "--new", "run.json", "v2")
    assert pooled.code == 2
    assert f"{folder.relative_to(tmp_path)}: a FlashInfer cache among result files" in pooled.err


def test_of_several_stores_a_side_the_later_ones_choices_count(usage: Usage, tmp_path: Path) -> None:
    store(tmp_path / "a", profiling_policy=POLICY)
    store(tmp_path / "b", {GEMM: ("CutlassRunner", 9)}, profiling_policy=[*POLICY[:-1], "cold"])
    store(tmp_path / "c", {GEMM: ("CutlassRunner", 3)})
    document = as_json(usage, "a", "--new", "b", "c")
    assert [choice["verdict"] for choice in document["choices"]] == ["unchanged"]
    assert document["ground"] == []  # what counts doesn't say how it was measured
    assert as_json(usage, "a", "--new", "c", "b")["choices"][0]["verdict"] == "changed"


def test_a_flat_file_may_say_how_it_measured(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"_metadata": ENVIRONMENT, GEMM: ["CutlassRunner", 3, POLICY]})
    write(tmp_path / "b.json", {GEMM: ["CutlassRunner", 3, [*POLICY[:-1], "cold"]]})  # known without metadata too
    assert "environment: l2_cache_policy hot -> cold" in usage("diff", "a.json", "b.json").out
    for odd in (["CutlassRunner", 3, "hot"], ["CutlassRunner", 3, POLICY, 1], ["CutlassRunner"], [3, 3, POLICY]):
        write(tmp_path / "c.json", {"_metadata": ENVIRONMENT, GEMM: odd})
        done = usage("diff", "a.json", "c.json")
        assert done.code == 2
        assert "must be [runner, tactic]" in done.err
