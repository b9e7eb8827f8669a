"""docs/contributing.md on kernels: toys in exactly the files that it names, used by the command line on the CPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from contributing import Copy, files_of, fits

TOYS = Path(__file__).parent / "toys"
LINE = '    Library("toylib", ("toylib",), ("TOYLIB_",)),\n'
TOYLIB = """
def sort(scores):
    return scores.sort(1, descending=True).indices


def attend(q, k, v, scale):
    k, v = (part.float().repeat_interleave(len(q) // part.shape[1], 1).transpose(0, 1) for part in (k, v))
    weights = (q.float()[:, None] @ k.mT * scale).softmax(-1)
    return (weights @ v)[:, 0].to(q.dtype)
"""
ADDED = {
    "Adding a backend": ["kernels/attention/backends/toylib_attend.py", "kernels/topk/backends/toylib_sort.py"],
    "Adding an operation": [
        "kernels/sums/__init__.py",
        "kernels/sums/backends/__init__.py",
        "kernels/sums/backends/torch_sum.py",
        "kernels/sums/family.py",
        "kernels/sums/problem.py",
        "kernels/sums/workload.py",
    ],
    "Adding a model": ["kernels/models/toy-1b.toml"],
    "Adding an engine or a baseline": ["kernels/engines/toyserve.toml"],
}


@pytest.mark.parametrize("section", ADDED)
def test_the_page_names_every_file_of_a_toy_and_no_other(section: str) -> None:
    new = [pattern for pattern in files_of(section) if "<" in pattern]
    for path in ADDED[section]:
        assert any(fits(path, pattern) for pattern in new), path
    for pattern in new:
        assert any(fits(path, pattern) for path in ADDED[section]), pattern
    # What isn't new is one file, to which a line is added.
    assert [path for path in files_of(section) if "<" not in path] == (
        ["kernels/libraries.py"] if section == "Adding a backend" else []
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the program with the toys in it, and toylib beside it."""
    copy = Copy(tmp_path_factory.mktemp("toys"))
    for path in (path for paths in ADDED.values() for path in paths):
        # The folders of a new family are new, too.
        (copy.root / path).parent.mkdir(parents=True, exist_ok=True)
        copy.create(path, (TOYS / path).read_text(encoding="utf-8"))
    assert copy.edited == {str(path.relative_to(TOYS)) for path in TOYS.rglob("*.*") if path.suffix in (".py", ".toml")}
    copy.insert("kernels/libraries.py", LINE, '    Library("torch"')
    (copy.root / "toylib.py").write_text(TOYLIB)
    return copy


def autotune(copy: Copy, *words: str) -> str:
    done = copy.python("-m", "autotune_cli", *words, variables={"TOYLIB_MODE": "fast", "COLUMNS": "160"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_toys_are_tuned_shown_and_compared(copy: Copy) -> None:
    words = ("--model", "toy-1b", "--op", "rows,topk", "--batch", "2", "--context", "4096", "--scores", "normal")
    found = autotune(
        copy, "tune", *words, "--rounds", "3", "--no-cache", "--keep-noisy", "--all", "--baseline", "toyserve"
    )
    rows = {line.split("  ")[0].strip(): line for line in found.splitlines()}
    # The model's name, and its top-k.
    assert "wrote runs/toy-1b." in found
    assert "topk.select" in found
    # The operation: its cells, its judge.
    assert re.search(r"^sums\.rows toy +2 +4096 +eager +torch\.sum whole", found, re.MULTILINE)
    assert re.search(r"incorrect.*wrong on uniform: is off by", rows["torch.sum whole off"])
    # The backend, and its reason why not.
    assert re.search(r" (ok|eliminated|duplicate) ", rows["toylib.sort large"])
    assert "toylib sorts at most 1000 scores" in rows["toylib.sort large off"]
    assert re.search(r"^sums\.rows toy +2 +4096 ", autotune(copy, "show", "latest"), re.MULTILINE)
    # The library's version and its variables are in the identity.
    (path,) = (copy.work / "runs").glob("toy-1b.*.json")
    text = path.read_text(encoding="utf-8")
    assert '"variable TOYLIB_MODE": "fast"' in text
    # What the engine runs is that backend.
    baselines = [baseline for result in json.loads(text)["workloads"] for baseline in result["baselines"]]
    assert ("toyserve", "toylib.sort(large=false)") in {(each["name"], each["candidate"]) for each in baselines}
    assert "sums.rows 2 x 4096 eager" in autotune(copy, "diff", str(path), str(path), "--format", "json")


def test_a_step_of_the_toy_is_planned_by_its_own_mode(copy: Copy) -> None:
    """As ``autotune profile --mode sums`` plans it on a GPU; nothing of attention must show."""
    code = """
from autotune_cli.kernels.models import load_model
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.request import PathRequest, parse_step_mode

model = load_model("toy-1b")
spec, _ = plan_path(PathRequest(parse_step_mode("sums"), batch=3), model, model.geometries())
print(spec.title, spec.layers[0].workload.key, {(plan.name, plan.shape, str(plan.wanted)) for plan in spec.phases})
"""
    done = copy.python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("toy-1b sums 3 x 4096 sums.rows 3 x 4096 eager {")
    assert all(f"('{phase}', 'any', '')" in done.stdout for phase in ("eager", "capture", "replay"))


def test_the_attention_backend_is_raced_judged_and_listed(copy: Copy) -> None:
    words = ("--model", "qwen2.5-7b", "--op", "decode", "--batch", "2", "--context", "100", "--backend", "toylib,torch")
    found = autotune(copy, "tune", *words, "--rounds", "3", "--no-cache", "--keep-noisy", "--all")
    rows = {line.split("  ")[0].strip(): line for line in found.splitlines()}
    for page_size in (1, 2):
        assert re.search(r" (ok|eliminated) ", rows[f"toylib.attend page {page_size} scaled"]), found
        assert re.search(r" incorrect .*wrong on ", rows[f"toylib.attend page {page_size} scaled off"]), found
    assert "toylib pages by 1 or 2 tokens" in rows["toylib.attend page 4 scaled"]
    assert re.search(r"^toylib\.attend +attention\.decode +page_size, scaled +ready", autotune(copy, "kernels"), re.M)


def contracts(copy: Copy) -> tuple[bool, str]:
    """Are the rules on imports kept? And what import-linter says."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(command, cwd=copy.root, capture_output=True, text=True, timeout=120)
    return done.returncode == 0, done.stdout + done.stderr


def test_import_contracts_know_the_new_library_and_family(copy: Copy) -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install import-linter")
    kept, said = contracts(copy)
    assert kept, said
    with (copy.root / "kernels/models/catalog.py").open("a") as text:
        text.write("\n\ndef f() -> None:\n    import toylib\n")
    with (copy.root / "kernels/sums/family.py").open("a") as text:
        text.write("\n\ndef f() -> None:\n    import torch\n")
    kept, said = contracts(copy)
    assert not kept
    assert "autotune_cli.kernels.models.catalog -> toylib" in said
    assert "autotune_cli.kernels.sums.family -> torch" in said
