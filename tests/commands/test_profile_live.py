"""``autotune profile`` on a path, as people call it. The worker, which needs a GPU, is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from live_builders import PAGED, live, recorded, right
from made_worker import FLAG, Made, fine, ragged
from running import Finished

from autotune_cli.profiling import planning
from autotune_cli.profiling.path import PathSpec, PhasePlan
from autotune_cli.profiling.paths.rules import PathRules
from autotune_cli.profiling.recording.recorded import LiveRun
from autotune_cli.profiling.request import CandidateSpec, PathRequest, PhaseName
from autotune_cli.worker.protocol import WorkerSettings

Usage = Callable[..., Finished]


def shapes(made: Made) -> list[str]:
    return [plan.shape for plan in made.spec.phases]


def test_a_path_is_run_and_judged(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--paged")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == (
        "llama-3.1-8b extend 4 x 128+1024 on NVIDIA H200: expecting only paged attention"
    )
    assert done.out.splitlines()[-1].startswith("PASS: only paged attention in eager (2 kernels), capture")
    assert worker.settings == WorkerSettings("cuda", seed=0)
    assert (worker.gpu, worker.timeout_s, worker.killed) == ("0", 120.0, 1)
    assert worker.job is not None
    assert not Path(worker.job.folder).exists(), "the traces are gone unless they are to be kept"


def test_what_is_asked_for_reaches_the_worker(usage: Usage, worker: Made, tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    options = "--mode mixed --paged --model qwen3-8b --tp 2 --fa fa3 --phases replay,eager,capture --batch 2 --new 8"
    more = "--context 40 --calls 3 --pad-mode narrow --bitwise --dtype fp16 --kv-dtype bf16 --timeout 7.5 --seed 9"
    done = usage("profile", *options.split(), *more.split(), "--kernels", "mine.py")
    assert done.code == 0
    spec = worker.spec
    assert spec.title == "qwen3-8b mixed 2 x 8+32"
    assert [(plan.name, str(plan.wanted)) for plan in spec.phases] == [
        (name, "flashinfer.paged(path=fa3,page_size=1)") for name in ("eager", "capture", "replay")
    ]
    assert (spec.calls, spec.bitwise, spec.seed) == (3, True, 9)
    geometry = spec.layers[0].workload.geometry  # type: ignore[union-attr]
    assert (geometry.num_qo_heads, geometry.num_kv_heads, geometry.dtype, geometry.kv_dtype) == (
        16,
        4,
        "float16",
        "bfloat16",
    )
    assert worker.timeout_s == 7.5
    assert worker.settings == WorkerSettings("cuda", seed=9, kernel_files=(str(tmp_path / "mine.py"),))


def test_a_tree_of_drafts(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--mode", "verify", "--eagle-topk", "4", "--batch", "2", "--new", "6", "--seed", "9")
    assert (done.code, done.err) == (0, "")
    assert str(worker.spec.phases[0].wanted) == "flashinfer.paged(path=fa2,page_size=1,tree=true)"
    (layer,) = worker.spec.layers
    assert layer.trees is not None
    assert [tree[:5] for tree in layer.trees] == [(-1, 0, 0, 0, 0)] * 2


def test_sinks_are_left_out_with_a_note(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--paged", "--model", "gpt-oss-120b")
    assert done.code == 0
    assert "note: attention sinks are left out" in done.err
    geometries = [layer.workload.geometry for layer in worker.spec.layers]  # type: ignore[union-attr]
    assert [(geometry.window_left, geometry.sinks) for geometry in geometries] == [(None, False), (127, False)]


def test_sglangs_default_on_hopper(usage: Usage, worker: Made) -> None:
    """FlashAttention-3 has sinks, and pads in its one way."""
    done = usage("profile", "--backend", "fa3", "--model", "gpt-oss-120b")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("PASS: only paged attention in eager (2 kernels), capture")
    assert [(plan.name, str(plan.wanted)) for plan in worker.spec.phases] == [
        (name, "sglang --attention-backend fa3") for name in ("eager", "capture", "replay", "breakable")
    ]
    geometries = [layer.workload.geometry for layer in worker.spec.layers]  # type: ignore[union-attr]
    assert [geometry.sinks for geometry in geometries] == [True, True]


def test_a_new_path_is_a_file_and_a_line(usage: Usage, worker: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/contributing.md says."""

    def plan(phase: PhaseName, request: PathRequest) -> PhasePlan:
        return PhasePlan(phase, CandidateSpec("torch.sdpa"), "paged", writes="before")

    toy = PathRules(plan, ("eager", "breakable"), {"breakable": ("narrow",)})
    monkeypatch.setitem(planning._PATHS, "toy", toy)
    done = usage("profile", "--backend", "toy")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "PASS: only paged attention in eager (2 kernels), breakable (2 kernels)"
    assert [(plan.name, plan.in_pieces) for plan in worker.spec.phases] == [("eager", False), ("breakable", True)]
    assert usage("profile", "--backend", "toy", "--mode", "decode").out.splitlines()[-1].endswith("eager (2 kernels)")


def test_the_first_visible_gpu_is_taken(usage: Usage, worker: Made) -> None:
    assert usage("profile", "--paged", variables={"CUDA_VISIBLE_DEVICES": "GPU-abc,1"}).code == 0
    assert worker.gpu == "GPU-abc"


@pytest.mark.parametrize(
    ("flag", "options", "forced"),
    [
        *((value, (), True) for value in ("1", "true", "Yes", "Y")),
        *((value, (), False) for value in ("0", "false", "No", "n", None)),
        ("1", ("--no-paged",), False),
        ("0", ("--paged",), True),
    ],
)
def test_sglangs_variable_is_followed_and_an_option_beats_it(
    usage: Usage, worker: Made, flag: str | None, options: tuple[str, ...], forced: bool
) -> None:
    done = usage("profile", *options, variables={} if flag is None else {FLAG: flag})
    assert (done.code, done.err) == (0, "")
    assert shapes(worker) == ["paged" if forced else "pair", "paged", "paged", "paged"]


def test_other_values_of_it_warn_and_do_not_force(usage: Usage, worker: Made) -> None:
    done = usage("profile", variables={FLAG: "on"})
    assert done.code == 0
    assert done.err.startswith(f"note: {FLAG}='on' is neither yes")
    assert shapes(worker)[0] == "pair"


def test_the_flag_and_a_cuda_graph_part_plan_and_execution(usage: Usage, worker: Made) -> None:
    """What SGLang's change left untested: its environment flag together with graphs, in dllm_extend."""

    def does(spec: PathSpec, folder: Path) -> LiveRun:
        error = {"error": "not run: what is planned is not what would run"}
        return live(folder, spec, {"eager": PAGED}, capture=error, replay=error)

    worker.does = does
    done = usage("profile", "--mode", "dllm_extend", variables={FLAG: "1"})
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("FAIL: capture: planned paged, executed ragged (dllm_extend in a graph")


def empty(spec: PathSpec, folder: Path) -> LiveRun:
    return live(folder, spec, {plan.name: () for plan in spec.phases})


def broken(spec: PathSpec, folder: Path) -> LiveRun:
    failed = {plan.name: {"error": "OutOfMemoryError: CUDA out of memory"} for plan in spec.phases[1:]}
    return live(folder, spec, {"eager": PAGED}, **failed)


@pytest.mark.parametrize(
    ("does", "code", "verdict", "word"),
    [
        (fine, 0, "pass", "PASS"),
        (ragged, 1, "fail", "FAIL"),
        (empty, 3, "nothing to judge", "NOTHING TO JUDGE"),
        (broken, 4, "not run", "NOT RUN"),
    ],
)
def test_exit_codes_in_every_format(
    usage: Usage, worker: Made, does: Callable[[PathSpec, Path], LiveRun], code: int, verdict: str, word: str
) -> None:
    worker.does = does
    table = usage("profile", "--paged")
    assert table.code == code
    assert table.out.splitlines()[-1].startswith(f"{word}: ")
    markdown = usage("profile", "--paged", "--format", "markdown")
    assert (markdown.code, markdown.out.startswith(f"**{word}: ")) == (code, True)
    document = usage("profile", "--paged", "--format", "json")
    assert document.code == code
    assert (document.summary["verdict"], document.summary["exit_code"]) == (verdict, code)
    assert worker.killed == 3


def test_names_are_judged_too(usage: Usage, worker: Made) -> None:
    assert usage("profile", "--paged", "--expect", "PagedKVCache", "--forbid", "cudnn").code == 0
    assert usage("profile", "--paged", "--expect", "cudnn").code == 1
    assert usage("profile", "--paged", "--forbid", "PagedKVCache").code == 1


def test_a_selection(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--mode", "topk", "--expect", "FilteredTopK")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("deepseek-v3.2 topk 16 x 65536 on NVIDIA H200: expecting a top-k kernel")
    assert [str(plan.wanted) for plan in worker.spec.phases] == [""] * 3


def test_the_self_check_is_shown_and_can_fail(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--paged", "--self-check", "--phases", "eager")
    assert done.code == 0
    assert worker.spec.injected == ("ragged", "dense")
    assert [line.strip() for line in done.out.splitlines() if "self-check" in line] == [
        "self-check: a ragged kernel run in eager: stopped",
        "self-check: a dense kernel run in eager: stopped",
        "self-check: all kernels taken away: nothing to judge, exit 3",
    ]

    def lame(spec: PathSpec, folder: Path) -> LiveRun:
        """What was injected doesn't show."""
        return live(folder, spec, injected=[recorded(folder / "p.json.gz", spec, right(spec), injected="dense")])

    worker.does = lame
    done = usage("profile", "--paged", "--self-check", "--phases", "eager")
    assert done.code == 1
    assert done.out.splitlines()[-1] == "FAIL: a dense kernel run in eager does not show in the recording"
    usage("profile", "--paged")
    assert worker.spec.injected == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mode", "idle"), "--mode idle: no request, so no attention runs"),
        (
            ("--model", "deepseek-v3.2", "--mode", "mixed"),
            "deepseek-v3.2: its attention is multi-head latent (MLA), which runs in the modes decode, extend and",
        ),
        (("--mode", "topk", "--model", "llama-3.1-8b"), "llama-3.1-8b: it has no sparse indexer, so no top-k"),
    ],
)
def test_nothing_to_run_is_exit_3(usage: Usage, worker: Made, options: tuple[str, ...], message: str) -> None:
    done = usage("profile", *options)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1
    assert worker.job is None


def test_notes_are_on_stderr(usage: Usage, worker: Made) -> None:
    done = usage("profile", "--new", "9000", "--format", "json")
    assert done.code == 0
    assert [line.partition(" tokens fit")[2] or line for line in done.err.splitlines()] == [
        " no captured size: no piecewise phase, as in SGLang",
    ]
    assert done.summary["verdict"] == "pass"
