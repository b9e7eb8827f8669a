"""Every command line of the pages: its options exist; those that need neither a GPU nor a race are run here.

Those that need a GPU go as far as they can without one: a tuning is planned, up to its workloads; a live profile is
judged on what a made-up worker has recorded. Their tests' names are the list of what only a GPU machine runs.

Where a page shows what a command prints (a ``console`` block), that is what it prints, up to figures. A failure prints
the real output, to be pasted.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "comparing"))
sys.path.insert(0, str(Path(__file__).parents[1] / "commands"))
from diff_builders import SLOW, env, rank, session, write
from made_worker import Made, worker
from pages import PAGES, ROOT, Command, commands, difference

from autotune_cli.tuning.request import Request

__all__ = ["worker"]

DATA = ROOT / "tests" / "data"
SESSIONS = sorted((DATA / "diff").glob("h200.*.json"))
ALL = [command for page in PAGES for command in commands(page.name, page.read_text(encoding="utf-8"))]
CONFIG = {
    "model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "head_dim": 128,
    "num_hidden_layers": 32, "torch_dtype": "bfloat16",
}  # fmt: skip
# Letters that stand for files on a page, and names that its examples use.
FILES = ("A", "B", "A1", "A2", "B1", "B2", "A.json", "B.json")
# Of commands that are run and aren't to end with 0.
CODES: dict[tuple[str, ...], int] = {
    ("diff", "base.json", "slow.json"): 1,
    ("agree", "ranks/rank0.json", "ranks/rank1.json", "ranks/rank2.json", "ranks/rank3.json"): 1,
    ("agree", "ranks/*.json", "--format", "markdown"): 1,
}


def why_not_run(words: tuple[str, ...]) -> str | None:
    """The reason, or None: it is run."""
    if words[0] == "tune" and "--dry-run" not in words:
        return "measures for minutes; it is planned here, tests/commands and tests/tuning run it on small suites"
    if words[0] == "profile" and "--from-trace" not in words:
        return "needs an NVIDIA GPU; it is judged here on made-up recordings, tests/gpu runs it"
    if words[:3] == ("doctor", "--device", "cuda"):
        return "needs an NVIDIA GPU; tests/doctor examines one that is made up"
    if words[0] == "verify":
        return "needs two running servers; tests/verifying runs it on small ones"
    if "parquet" in words and importlib.util.find_spec("pyarrow") is None:
        return "pyarrow is not installed: pip install pyarrow"
    if words[0] == "report" and importlib.util.find_spec("vl_convert") is None:
        return "vl-convert-python is not installed: pip install vl-convert-python"
    return "a word stands for a name" if stands_for_others(words) else None


def stands_for_others(words: tuple[str, ...]) -> bool:
    """Is some word one that a reader replaces?"""
    return any(word in ("FILE", "NAME", "URL") or word.startswith("<") for word in words)


# Once each, where several pages have it.
RUN = list(
    {
        (command.words, command.shown): command
        for command in ALL
        if command.words and why_not_run(command.words) is None
    }.values()
)


def of_a_gpu(name: str) -> list[Command]:
    """Commands of that name that are not run, once each."""
    found = {command.words: command for command in ALL if command.words[:1] == (name,) and why_not_run(command.words)}
    return [command for words, command in found.items() if len(words) > 1 and not stands_for_others(words)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as the pages' examples find it: cached results, runs, artifacts of CI, a trace with its rules."""
    place = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "cache", place / "cache", ignore=shutil.ignore_patterns(".*"))
    for target in ("runs", "artifacts/main", "base", "new", "base/runs"):
        (place / target).mkdir(parents=True)
        for file in SESSIONS[:2]:
            shutil.copy(file, place / target)
    for number, name in enumerate(FILES):
        shutil.copy(SESSIONS[number], place / name)
    # docs/diff.md's pair: one kernel is slower, and a driver and a library are newer.
    newer = env(driver="580.2", libraries={"torch": "2.11.0", "flashinfer": "0.7.2"})
    write(place / "base.json", session(1))
    write(place / "slow.json", session(3, {SLOW: 1.067}, environment=newer))
    # docs/agree.md's ranks: another kernel is the fastest on one of them, whose driver is older.
    for number in range(4):
        slow_at, older = ((8,), env(driver="570.1")) if number == 2 else ((), None)
        write(place / "ranks" / f"rank{number}.json", rank(number, slow_at, environment=older))
    shutil.copy(DATA / "traces" / "fa2-paged.json.gz", place / "trace.json.gz")
    # docs/plan.md's server: decode steps of 21 ms, in microseconds.
    step = {"ph": "X", "cat": "user_annotation", "name": "step[DECODE bs=8]", "dur": 400, "pid": 1, "tid": 1}
    steps = [step | {"ts": 21_000 * number} for number in range(9)]
    (place / "server.trace.json").write_text(json.dumps({"schemaVersion": 1, "traceEvents": steps}))
    (place / "path" / "to").mkdir(parents=True)
    (place / "path" / "to" / "config.json").write_text(json.dumps(CONFIG))
    (place / "tests" / "data").mkdir(parents=True)
    shutil.copytree(DATA / "traffic", place / "tests" / "data" / "traffic")
    shutil.copy(DATA / "traffic" / "lengths.jsonl", place / "requests.jsonl")
    (place / "extra.toml").write_text(r"'\bacme::secret_kernel\b' = { family = 'benign', library = '?', reason = '?' }")
    return place


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def autotune(folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Done:
    """Call the program in this process, far from a terminal: what it prints then has a fixed width."""
    from autotune_cli.app import main

    for name in [name for name in os.environ if name.startswith(("AUTOTUNE_", "SGLANG_", "FLASHINFER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["autotune", *words])
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return Done(code, out, err)


def complaint(words: tuple[str, ...]) -> str | None:
    """What the program's own parser has against them. Nothing is run."""
    from autotune_cli.app import app

    group = typer.main.get_command(app)
    name, *rest = words
    if name.startswith("-"):
        parameters = {option for parameter in group.params for option in parameter.opts} | {"--help", "-h"}
        return None if name in parameters else f"no option {name}"
    command = group.get_command(typer.Context(group), name)
    if command is None:
        return f"no command {name}"
    try:
        command.make_context(name, list(rest))
    except Exception as error:  # click's, of which typer may carry its own copy
        if getattr(error, "exit_code", None) == 0:  # it printed what it was asked for, such as the models' names
            return None
        return str(getattr(error, "message", error)) or type(error).__name__
    return None


def test_the_pages_have_commands_of_each_kind() -> None:
    assert {command.words[0] for command in ALL if command.words} >= {"tune", "diff", "show", "profile", "kernels"}
    assert len(ALL) >= 40
    assert len(RUN) >= 8
    assert [command for command in RUN if command.shown]


@pytest.mark.parametrize("command", ALL, ids=str)
def test_the_options_exist(command: Command) -> None:
    # The mention of a bare command, such as `autotune diff`, is no call.
    if len(command.words) > 1 or command.words[:1] in (("tune",), ("kernels",)):
        assert complaint(tuple("2" if word == "N" else word for word in command.words)) is None


def test_an_option_that_doesn_t_exist_is_found() -> None:
    assert "--no-such" in str(complaint(("tune", "--no-such")))
    assert complaint(("no-such",)) == "no command no-such"
    assert "--batch" in str(complaint(("tune", "--batch")))
    assert complaint(("tune", "--model", "?")) is None
    assert complaint(("--no-such",)) == "no option --no-such"


@pytest.mark.parametrize(
    "command", [each for each in RUN if len(each.words) > 1 or each.words == ("kernels",)], ids=str
)
def test_it_runs_and_prints_what_the_page_shows(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        done = autotune(folder, command.words, patch)
    assert done.code == CODES.get(command.words, 0), f"{command}\n{done.out}{done.err}"
    if command.shown:
        wrong = difference(command.shown, done.out.splitlines())
        assert wrong is None, f"{command} does not print:\n{wrong}\nIt prints:\n\n{done.out}"


@pytest.mark.parametrize("command", of_a_gpu("tune"), ids=str)
def test_a_tuning_can_be_planned(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU, up to the engine: models, operations, baselines, backends, shapes."""
    requests: list[Request] = []

    def engine(request: Request, *_: object) -> None:
        requests.append(request)
        raise typer.Exit

    monkeypatch.setattr("autotune_cli.commands.devices._nvml_count", lambda: 1)
    monkeypatch.setattr("autotune_cli.tuning.run.tune", engine)
    monkeypatch.setattr("autotune_cli.tuning.cluster.run.tune_on_cluster", engine)
    # Is there a cluster, at a page's address?
    for check in ("check_ray", "check_address"):
        monkeypatch.setattr(f"autotune_cli.tuning.cluster.ray_cluster.{check}", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        done = autotune(folder, command.words, patch)
    assert done.code == 0, f"{command}\n{done.out}{done.err}"
    # A question is answered at once.
    assert "?" in command.words or requests[0].workloads


@pytest.mark.parametrize("command", of_a_gpu("profile"), ids=str)
def test_a_live_profile_is_judged_on_made_up_recordings(
    command: Command, folder: Path, worker: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        done = autotune(folder, command.words, patch)
    assert done.code == 0, f"{command}\n{done.out}{done.err}"
    assert "?" in command.words or worker.spec.phases


@pytest.mark.parametrize(
    ("shown", "first"),
    [
        (("a  1.5 us", "b"), None),
        (("a 2 us", "...", ""), None),
        (("...", "b"), None),
        (("a 9 ...", "b"), None),
        (("a 1 us",), "(more was printed) b"),
        (("b",), "b"),
        (("a 1 ms", "b"), "a # ms"),
        (("...", "c"), "c"),
    ],
)
def test_outputs_are_compared_line_by_line(shown: tuple[str, ...], first: str | None) -> None:
    assert difference(shown, ["a 12.25 us", "", "b"]) == first


def test_commands_are_found_wherever_they_stand() -> None:
    page = """Call `autotune show\nx.json` or

    autotune tune --op decode   # slow
    $ autotune diff 'a b' c

```console
$ autotune show y.json
out
$ make tune && autotune kernels
```

```yaml
- for x in 1 2; do .venv/bin/autotune tune --no-cache; done
- echo "autotune diff said no"
```
"""
    found = {command.words: command.shown for command in commands("page", page)}
    assert found == {
        ("show", "x.json"): (),
        ("tune", "--op", "decode"): (),
        ("diff", "a b", "c"): (),
        ("show", "y.json"): ("out",),
        ("kernels",): (),
        ("tune", "--no-cache"): (),
    }
