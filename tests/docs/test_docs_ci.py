"""The CI recipes of docs/ci.md: linted, and their scripts run with servers that answer, refuse and forget."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="PyYAML is not installed: pip install pyyaml")

import lint_recipes
from recipes import Recipes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ci.md"
RECIPES = Recipes.read(PAGE)
DATA = ROOT / "tests" / "data" / "diff"
BASE, SAME = DATA / "h200.20261121_073639.json", DATA / "h200.20261121_073656.json"

# GitHub's program: answers from variables, through jq where --jq is given, and writes down what it was asked.
GH = """#!/bin/bash
printf '%s\\n' "$*" >> "$CALLS"
case "$1 $2" in
  "run list") [ -z "$LIST_FAILS" ] || exit 1; echo "$RUN" ;;
  "run download") [ -z "$DOWNLOAD_FAILS" ] || exit 1; mkdir -p base; cp "$BASELINE" base/ ;;
  "pr comment") cp body.md commented.md ;;
  api*)
    [ -z "$API_FAILS" ] || exit 1
    case "$*" in
      *PATCH*) cp body.md patched.md ;;
      *comments*) jq --raw-output "${@: -1}" <<< "$COMMENTS" ;;
      *artifacts*) jq --raw-output "${@: -1}" <<< "$ARTIFACTS" ;;
    esac ;;
esac
"""
CURL = """#!/bin/bash
printf '%s\\n' "$*" >> "$CALLS"
[ -z "$CURL_FAILS" ] || { echo "curl: (6) could not resolve host" >&2; exit 6; }
if [ "$ANSWER" = 200 ]; then cp "$ZIP" base.zip; else echo '{"message": "401"}' > base.zip; fi
printf '%s' "$ANSWER"
"""
GOOD = {"RUN": "7", "ARTIFACTS": '{"artifacts": [{"expired": false}]}', "ANSWER": "200", "COMMENTS": "[]"}


@dataclass(frozen=True)
class Done:
    code: int
    said: str
    folder: Path

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@dataclass(frozen=True)
class Runner:
    """A job's folder, with the programs that a script calls on its path."""

    folder: Path

    def __call__(self, script: str, **variables: str) -> Done:
        """Run as GitHub does with ``shell: bash``."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        files = {name: str(self.folder / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "CALLS", "ZIP")}
        job = {"GH_REPO": "me/kernels", "NUMBER": "12", "CI_DEFAULT_BRANCH": "main", "CI_JOB_TOKEN": "t"}
        job |= {"CI_API_V4_URL": "api", "CI_PROJECT_ID": "3", "BASELINE": str(BASE), "COLUMNS": "200"}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={"PATH": path, "HOME": str(self.folder)} | files | job | GOOD | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout + done.stderr, self.folder)


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    (tmp_path / "bin").mkdir()
    here = f'#!/bin/bash\nexec "{sys.executable}" '
    programs = {"gh": GH, "curl": CURL, "autotune": here + '-m autotune_cli "$@"\n', "python3": here + '"$@"\n'}
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Runner(tmp_path)


def put(source: Path, folder: Path, factor: float = 1.0, gpu: str | None = None) -> None:
    """A result as if made later on, with every time multiplied, perhaps on another GPU."""
    run = json.loads(source.read_text())
    for workload in run["workloads"]:
        for candidate in workload["candidates"]:
            for name in ("median_us", "rough_us"):
                if candidate[name] is not None:
                    candidate[name] *= factor
            for name in ("rounds_us", "interval_us"):
                candidate[name] = [us * factor for us in candidate[name] or ()] or candidate[name]
    text = json.dumps(run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / source.name).write_text(text if gpu is None else text.replace("NVIDIA H200", gpu))


needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq, which stands for gh's, is not installed")
needs_linters = pytest.mark.skipif(
    shutil.which(lint_recipes.program("zizmor")) is None, reason="zizmor is not installed: pip install zizmor"
)


@needs_linters
def test_the_linters_are_content() -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: pip install check-jsonschema")
    assert lint_recipes.complaints(PAGE) == []


@needs_linters
@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065", "actions/setup-python@v5", "unpinned-uses"),
        ("run list --workflow kernels.yml", "run list --workflow ${{ github.head_ref }}", "template-injection"),
        ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("runs-on: ubuntu-latest", "runs_on: ubuntu-latest", "runs_on"),
        ("stage: diff\n", "stagee: diff\n  script: 3\n", "gitlab"),
        ("esac", "esca", "GitLab, diff"),
        ("          done\n", "", "Three sessions"),
    ],
)
def test_the_linters_find_mistakes(tmp_path: Path, before: str, after: str, wanted: str) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: pip install check-jsonschema")
    text = PAGE.read_text()
    assert before in text
    (tmp_path / "page.md").write_text(text.replace(before, after))
    assert wanted in "\n".join(lint_recipes.complaints(tmp_path / "page.md"))


def test_every_action_is_pinned_and_named() -> None:
    used = re.findall(r"uses: (\S+)(.*)", PAGE.read_text())
    assert len(used) >= 8
    for action, comment in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment)


def test_jobs_end_and_don_t_pile_up() -> None:
    jobs = [*RECIPES.github["jobs"].values(), *RECIPES.own.values()]
    assert all(job["timeout-minutes"] <= 60 for job in jobs)
    assert RECIPES.github["concurrency"]["cancel-in-progress"] is True
    assert all(RECIPES.gitlab[name]["timeout"] for name in ("tune", "diff"))


def test_only_the_comment_may_write_and_it_runs_no_code_of_the_pull_request() -> None:
    assert RECIPES.github["permissions"] == {}
    jobs = RECIPES.github["jobs"]
    assert [name for name, job in jobs.items() if "write" in job["permissions"].values()] == ["comment"]
    assert not [step for step in jobs["comment"]["steps"] if "checkout" in step.get("uses", "")]
    assert "head.repo.full_name == github.repository" in jobs["comment"]["if"]
    assert "GITHUB_STEP_SUMMARY" in RECIPES.step("diff", "Compare")


@needs_jq
def test_a_baseline_is_a_push_to_main(run: Runner) -> None:
    done = run(RECIPES.step("diff", "Baseline"))
    assert done.code == 0, done.said
    assert "--branch main --event push --status success" in done.text("CALLS")
    assert (done.folder / "base" / BASE.name).exists()


EXPIRED = '{"artifacts": [{"expired": true}]}'
TWO_ATTEMPTS = '{"artifacts": [{"expired": true}, {"expired": false}]}'


@needs_jq
@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"LIST_FAILS": "1"}, 4),
        ({"RUN": ""}, 3),
        ({"API_FAILS": "1"}, 4),
        ({"ARTIFACTS": EXPIRED}, 3),
        ({"ARTIFACTS": '{"artifacts": []}'}, 3),
        ({"ARTIFACTS": TWO_ATTEMPTS}, 0),
        ({"DOWNLOAD_FAILS": "1"}, 4),
    ],
    ids=str,
)
def test_a_baseline_that_cant_be_had_is_never_green(run: Runner, variables: dict[str, str], code: int) -> None:
    assert run(RECIPES.step("diff", "Baseline"), **variables).code == code


@pytest.mark.parametrize(
    ("factor", "gpu", "code"), [(1.0, None, 0), (1.3, None, 1), (1.0, "NVIDIA B200", 3)], ids=["same", "slower", "gpu"]
)
def test_the_comparison_gives_its_code_and_a_report(run: Runner, factor: float, gpu: str | None, code: int) -> None:
    put(BASE, run.folder / "base")
    put(SAME, run.folder / "new", factor, gpu)
    done = run(RECIPES.step("diff", "Compare"))
    assert done.code == code, done.said
    assert done.text("GITHUB_STEP_SUMMARY") == done.text("diff.md") != ""
    assert done.text("GITHUB_OUTPUT") == "report=true\n"


@pytest.mark.parametrize("missing", ["base", "new"])
def test_a_missing_file_is_2_and_told_in_the_summary(run: Runner, missing: str) -> None:
    for folder in {"base", "new"} - {missing}:
        put(BASE, run.folder / folder)
    done = run(RECIPES.step("diff", "Compare"))
    assert done.code == 2, done.said
    assert "exit code 2" in done.text("GITHUB_STEP_SUMMARY")
    assert done.text("GITHUB_OUTPUT") == ""


def comments(*bodies: tuple[str, str]) -> str:
    return json.dumps([{"id": 40 + n, "user": {"type": kind}, "body": text} for n, (kind, text) in enumerate(bodies)])


@needs_jq
@pytest.mark.parametrize(
    ("there", "patched"),
    [
        ([], None),
        ([("Bot", "coverage is fine"), ("User", "<!-- autotune diff -->\nfaked")], None),
        ([("Bot", "coverage"), ("Bot", "<!-- autotune diff -->\nold"), ("Bot", "<!-- autotune diff -->\nolder")], 41),
    ],
    ids=["first", "others", "again"],
)
def test_its_own_comment_is_found_by_the_marker(run: Runner, there: list[tuple[str, str]], patched: int | None) -> None:
    (run.folder / "diff.md").write_text("slower: `x`\n")
    done = run(RECIPES.step("comment", "Comment"), COMMENTS=comments(*there))
    assert done.code == 0, done.said
    body = done.text("commented.md" if patched is None else "patched.md")
    assert body == "<!-- autotune diff -->\nslower: `x`\n"
    assert done.text("patched.md" if patched is None else "commented.md") == ""
    assert patched is None or f"issues/comments/{patched} --field body=@body.md" in done.text("CALLS")


def test_a_comment_that_cant_be_made_fails(run: Runner) -> None:
    (run.folder / "diff.md").write_text("x\n")
    assert run(RECIPES.step("comment", "Comment"), API_FAILS="1").code != 0


GITLAB = str(RECIPES.gitlab["diff"]["script"][-1])


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({}, 0),
        ({"ANSWER": "404"}, 3),
        ({"ANSWER": "401"}, 4),
        ({"ANSWER": "403"}, 4),
        ({"ANSWER": "500"}, 4),
        ({"ANSWER": "000"}, 4),
        ({"CURL_FAILS": "1"}, 4),
    ],
    ids=str,
)
def test_gitlab_s_answers(run: Runner, variables: dict[str, str], code: int) -> None:
    put(BASE, run.folder / "main" / "runs")
    archive = shutil.make_archive(str(run.folder / "made"), "zip", run.folder / "main")
    shutil.move(archive, run.folder / "ZIP")
    put(SAME, run.folder / "runs")
    done = run(GITLAB, **variables)
    assert done.code == code, done.said
    assert (code == 0) == bool(done.text("diff.md"))


def test_gitlab_s_archive_that_is_none_is_4(run: Runner) -> None:
    (run.folder / "ZIP").write_text("not a zip")
    assert run(GITLAB).code == 4


@pytest.mark.parametrize(
    ("status", "backend", "code"),
    [("ok", "mine.decode", 0), ("eliminated", "mine.decode", 0), ("incorrect", "mine.decode", 1), ("ok", "other", 2)],
)
def test_the_own_job_fails_on_a_wrong_candidate(run: Runner, status: str, backend: str, code: int) -> None:
    result = json.loads(BASE.read_text())
    result["workloads"][0]["candidates"][0] |= {"backend": backend, "status": status, "reason": "misses 3 of 2048"}
    (run.folder / "runs").mkdir()
    (run.folder / "runs" / "mine.20261127_010203.json").write_text(json.dumps(result))
    (run.folder / ".venv" / "bin").mkdir(parents=True)
    (run.folder / ".venv" / "bin" / "python").symlink_to(run.folder / "bin" / "python3")
    done = run(RECIPES.step("own.tune", "Right"))
    assert done.code == code, done.said
    assert ("misses 3 of 2048" in done.said) == (code == 1)


def test_every_exit_code_of_the_table_is_met_above() -> None:
    section = PAGE.read_text().split("## Exit codes")[1].split("\n## ")[0]
    assert re.findall(r"^\| (\d) \|", section, flags=re.MULTILINE) == ["0", "1", "2", "3", "4"]
