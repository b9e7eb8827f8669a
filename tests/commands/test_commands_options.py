"""What the options come to: the engine's request, seen just before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import recorded
from running import Finished

from autotune_cli.commands.kinds import Counts, Duration, Real, Share, Whole
from autotune_cli.commands.names import backends
from autotune_cli.errors import BadField
from autotune_cli.tuning import run
from autotune_cli.tuning.request import Request


@pytest.fixture
def requested(usage: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    def call(*options: object, **variables: str) -> Request:
        seen: list[Request] = []

        def tune(request: Request, *others: Any) -> None:
            seen.append(request)
            raise KeyboardInterrupt

        monkeypatch.setattr(run, "tune", tune)
        finished = usage("tune", *options, variables=variables)
        assert seen, finished.err
        return seen[0]

    return call


def test_defaults(requested: Callable[..., Request]) -> None:
    request = requested()
    assert (request.name, request.use_cache, request.gpus, request.timeout_s) == ("cpu", True, (None,), 60.0)
    assert (request.budget_s, request.resume, request.policy.exhaustive, request.root) == (None, False, False, Path())
    assert request.worker.device == "cpu"
    assert len(request.workloads) >= 5
    assert request.command[0] == "autotune"


def test_even_lengths(requested: Callable[..., Request]) -> None:
    assert {workload.spread for workload in requested("--op", "attention", "--spread", "even").workloads} == {"even"}
    assert {workload.spread for workload in requested("--op", "attention").workloads} == {"uneven"}


CACHE = {
    (): True,
    ("--cache",): True,
    ("--no-cache",): False,
}


@pytest.mark.parametrize("options", CACHE)
def test_option_beats_the_variables(requested: Callable[..., Request], options: tuple[str, ...]) -> None:
    opposite = "0" if CACHE[options] else "1"
    if not options:
        opposite = "1"
    variables = {"AUTOTUNE_CACHE": opposite, "SGLANG_FLASHINFER_AUTOTUNE_CACHE": opposite}
    assert requested(*options, **variables).use_cache == CACHE[options]


@pytest.mark.parametrize(
    ("ours", "sglangs", "on"),
    [
        ("0", None, False),
        ("No", "1", False),
        ("TRUE", "0", True),
        (None, "n", False),
        (None, "Y", True),
        (None, "0", False),
    ],
)
def test_our_variable_beats_sglangs(
    requested: Callable[..., Request], ours: str | None, sglangs: str | None, on: bool
) -> None:
    variables = {"AUTOTUNE_CACHE": ours, "SGLANG_FLASHINFER_AUTOTUNE_CACHE": sglangs}
    assert requested(**{name: value for name, value in variables.items() if value is not None}).use_cache == on


@pytest.mark.parametrize("name", ["AUTOTUNE_CACHE", "SGLANG_FLASHINFER_AUTOTUNE_CACHE"])
def test_an_unreadable_variable_is_refused(usage: Callable[..., Finished], name: str) -> None:
    finished = usage("tune", variables={name: "off"})
    assert (finished.code, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert line.startswith(f"error: {name}='off' is neither yes (true, 1, yes, y) nor no (false, 0, no, n)")


def test_root_option_beats_the_variable(requested: Callable[..., Request], tmp_path: Path) -> None:
    assert requested(AUTOTUNE_ROOT=str(tmp_path / "a")).root == tmp_path / "a"
    assert requested("--root", tmp_path / "b", AUTOTUNE_ROOT=str(tmp_path / "a")).root == tmp_path / "b"


def test_options_reach_the_engine(requested: Callable[..., Request], tmp_path: Path) -> None:
    request = requested(
        *("--op", "decode,topk", "--batch", "2", "--backend", "torch", "--page-size", "16,64,16", "--budget", "1.5m"),
        *(
            "--rounds",
            "4",
            "--timeout",
            "2.5",
            "--seed",
            "3",
            "--exhaustive",
            "--resume",
            "--explain-miss",
            "--name",
            "n",
        ),
    )
    assert {workload.operation for workload in request.workloads} == {"attention.decode", "topk.select"}
    assert (request.backends, request.page_sizes, request.budget_s) == (("torch",), (16, 64), 90.0)
    assert (request.policy.rounds, request.policy.exhaustive, request.timeout_s) == (4, True, 2.5)
    assert (request.worker.seed, request.resume, request.explain_miss, request.name) == (3, True, True, "n")


def test_kernel_files_are_absolute(requested: Callable[..., Request], tmp_path: Path) -> None:
    assert requested("--kernels", "a.py", "--kernels", "b.py").worker.kernel_files == (
        str(tmp_path / "a.py"),
        str(tmp_path / "b.py"),
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60.0), ("60s", 60.0), (" 5 M ", 300.0), ("1.5h", 5400.0), ("2min", 120.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().value("budget", text) == seconds


def test_counts() -> None:
    assert Counts().value("x", "1, 16,1") == (1, 16)


@pytest.mark.parametrize("kind", [Whole(3, 5), Real(3.0, 5.0)])
def test_a_range_takes_both_ends(kind: Whole | Real) -> None:
    assert (kind.value("x", "3"), kind.value("x", " +5 ")) == (3, 5)
    for text in ("2", "6", "nan", "", "x"):
        with pytest.raises(BadField, match=r"^x: "):
            kind.value("x", text)


@pytest.mark.parametrize(
    ("kind", "value"), [(Duration(), 90.0), (Counts(), (1, 16)), (Share(), 0.015), (Whole(0, 9), 3), (Real(0, 9), 2.5)]
)
def test_a_default_is_shown_as_it_would_be_typed(kind: Any, value: object) -> None:
    assert kind.value("x", kind.text(value)) == value


def test_libraries_and_full_names_are_backends() -> None:
    assert backends("torch, flashinfer.decode") == ("torch", "flashinfer.decode")
    assert backends(None) == ()
    assert backends("mine", has_own=True) == ("mine",)


def test_a_cpu_s_results_stay_out_of_a_gpu_s_cache(
    requested: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The committed results of this repository are a GPU's."""
    monkeypatch.chdir(tmp_path)
    Path("cache").mkdir()
    shutil.copy(recorded("llama-3.1-8b"), "cache")
    options = ("--model", "llama-3.1-8b", "--device", "cpu")
    assert requested(*options).name == "llama-3.1-8b-cpu"
    assert requested(*options, "--name", "llama-3.1-8b").name == "llama-3.1-8b"
    # A fresh run overwrites nothing.
    assert requested(*options, "--no-cache").name == "llama-3.1-8b"
