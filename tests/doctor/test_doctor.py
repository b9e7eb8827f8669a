"""The whole examination: with made-up GPUs and workers, and once for real on this machine's CPU."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_nvml
import pytest
from fake_nvml import FakeGpu
from running import Autotune

from autotune_cli.commands import devices
from autotune_cli.doctor import culprit, examine, libraries
from autotune_cli.doctor.asking import asked
from autotune_cli.doctor.examine import Machine
from autotune_cli.doctor.findings import Diagnosis, Finding, State, is_secret, without_home
from autotune_cli.doctor.probes import GpuSeen, LookAtGpu, TryCupti, TryImport, UnderLoad, busy
from autotune_cli.errors import NoWorker
from autotune_cli.render.doctor_formats import DoctorView, doctor_csv, doctor_markdown, doctor_table
from autotune_cli.render.formats import Page
from autotune_cli.results.schema import Conditions
from autotune_cli.worker.failures import WorkerDied
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings

H100 = GpuSeen("13.0", "NVIDIA H100 80GB HBM3", "", ("sm_80", "sm_90"), (9, 0))
VERSIONS = {"torch": "2.11.0", "triton": "3.6.0", "flashinfer": "0.6.18", "sgl_kernel": "0.4.5"}


class MadeWorker:
    """Answers jobs as a GPU machine does, but for what a test says."""

    def __init__(self, answers: dict[str, Any] | None = None, start: Exception | None = None) -> None:
        self.answers = answers or {}
        self.fails = start
        self.imported: list[str] = []
        self.killed = 0

    def __call__(self, settings: Any, gpu: str | None) -> MadeWorker:
        return self

    def start(self) -> Any:
        if self.fails is not None:
            raise self.fails
        return SimpleNamespace(environment=SimpleNamespace(libraries={"torch": "2.11.0+cu130"}))

    def ask(self, job: Any, timeout_s: float) -> Any:
        job = pickle.loads(pickle.dumps(job))
        usual: dict[type, Any] = {
            LookAtGpu: H100,
            TryImport: "",
            TryCupti: "",
            UnderLoad: (Conditions(round=0, sm_clock_mhz=1755, temperature_c=50, power_w=650), 1980.0),
        }
        name = type(job).__name__
        if isinstance(job, TryImport):
            self.imported.append(job.module)
            name = job.module
        answer = self.answers.get(name, usual[type(job)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Finding]]:
    """Examines a machine with one H100."""
    fake_nvml.install(monkeypatch, FakeGpu())
    monkeypatch.setattr(libraries, "installed_versions", lambda: VERSIONS)
    monkeypatch.setattr("autotune_cli.kernels.registry.Backend.missing", lambda backend: None)
    monkeypatch.setattr(
        culprit, "torch_starts", lambda environ: "TORCH_LOGS" not in environ and "BROKEN" not in environ
    )

    def call(worker: MadeWorker | None = None, **machine: Any) -> dict[str, Finding]:
        worker = worker or MadeWorker()
        monkeypatch.setattr(examine, "Worker", worker)
        given = {"gpus": ("0",), "root": tmp_path, "environ": {"HOME": str(tmp_path), "PATH": ""}} | machine
        diagnosis = examine.examine(Machine(**given))
        assert worker.killed == 1
        return {finding.name: finding for finding in diagnosis.findings}

    return call


def test_a_machine_where_all_is_well(look: Callable[..., dict[str, Finding]]) -> None:
    worker = MadeWorker()
    seen = look(worker)
    assert seen["torch"].text == "2.11.0+cu130, built with CUDA 13.0; it uses NVIDIA H100 80GB HBM3"
    assert seen["flashinfer"].text == "0.6.18, loads"
    assert seen["sgl_kernel FA3"].text == "0.4.5, loads"
    assert seen["CUPTI"].text == "records kernels"
    assert seen["load"].text == "SM 1755 MHz of 1980, 50 C, 650 W under matrix products"
    assert {"flashinfer", "sgl_kernel", "sgl_kernel.flash_attn", "triton"} <= set(worker.imported)
    assert not any(name.startswith(("wave", "flash_attn.")) for name in worker.imported)
    wrong = [name for name, finding in seen.items() if finding.state == State.PROBLEM]
    assert wrong in ([], ["nvcc"])  # as this machine has it


@pytest.mark.parametrize(
    ("answers", "name", "words", "fix"),
    [
        (
            {"LookAtGpu": GpuSeen(None, None, "not compiled")},
            "torch",
            "a build for CPUs: it uses no GPU",
            "pip install",
        ),
        ({"LookAtGpu": GpuSeen("14.0", None, "driver too old")}, "torch", "driver too old", "a driver for CUDA 14.0"),
        ({"LookAtGpu": GpuSeen("13.0", "X", "", ("sm_100",), (9, 0))}, "torch", "no kernels for sm_90", "newer torch"),
        ({"sgl_kernel": "ImportError: undefined symbol: _ZN3c10"}, "sgl_kernel", "undefined symbol", "pip install"),
        ({"sgl_kernel.flash_attn": "ImportError: libcuda"}, "sgl_kernel FA3", "can't be loaded", "pip install"),
        ({"flashinfer": WorkerDied("killed by SIGSEGV")}, "flashinfer", "the process killed by SIGSEGV", "pip install"),
        ({"TryCupti": "MeasurementError: no kernel was recorded"}, "CUPTI", "no kernel was recorded", "--timer events"),
        ({"UnderLoad": (Conditions(round=0, throttle=("thermal (hardware)",)), None)}, "load", "thermal", "cooling"),
    ],
)
def test_what_is_broken_and_what_mends_it(
    look: Callable[..., dict[str, Finding]], answers: dict[str, Any], name: str, words: str, fix: str
) -> None:
    finding = look(MadeWorker(answers))[name]
    assert finding.state == State.PROBLEM
    assert words in finding.text
    assert fix in finding.fix


def test_clocks_that_are_locked_are_a_warning(look: Callable[..., dict[str, Finding]]) -> None:
    slow = (Conditions(round=0, sm_clock_mhz=1200), 1980.0)
    assert look(MadeWorker({"UnderLoad": slow}))["load"].state == State.WARNING
    capped = (Conditions(round=0, sm_clock_mhz=1200, throttle=("power cap",)), 1980.0)
    assert look(MadeWorker({"UnderLoad": capped}))["load"].state == State.OK


def test_without_torch_the_rest_is_told(look: Callable[..., dict[str, Finding]]) -> None:
    seen = look(torch_fix="pip install it")
    assert (seen["torch"].text, seen["torch"].fix) == ("not installed", "pip install it")
    assert seen["flashinfer"].text == "0.6.18, not tried: that takes torch and a GPU"
    assert "CUPTI" not in seen
    assert seen["Triton JIT"].state == State.OK
    seen = look(MadeWorker(start=NoWorker(detail="ImportError: libtorch.so")))
    assert "libtorch.so" in seen["torch"].text


@pytest.mark.parametrize(
    ("variables", "end", "fix"),
    [
        ({"TORCH_LOGS": "nonsense", "CUDA_HOME": "/x"}, "; without TORCH_LOGS torch starts", "unset TORCH_LOGS"),
        ({"BROKEN": "1", "LANG": "C"}, "; without BROKEN torch starts", "unset BROKEN"),
        # Torch is well: the process fails for another reason.
        ({"CUDA_HOME": "/x"}, "oops ...", ""),
    ],
)
def test_a_variable_that_breaks_torch_is_named(
    look: Callable[..., dict[str, Finding]], tmp_path: Path, variables: dict[str, str], end: str, fix: str
) -> None:
    environ = {"HOME": str(tmp_path), "PATH": ""} | variables
    torch = look(MadeWorker(start=NoWorker(detail="ValueError:\n" + "oops " * 1000)), environ=environ)["torch"]
    assert (torch.state, torch.fix) == (State.PROBLEM, fix)
    assert torch.text.startswith("a process with torch doesn't start: ValueError: oops oops")
    assert len(torch.text) < 400
    assert torch.text.endswith(end)


def test_torch_is_reinstalled_where_no_variable_breaks_it(
    look: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(culprit, "torch_starts", lambda environ: False)
    seen = look(MadeWorker(start=NoWorker(detail="OSError: libtorch_cpu.so is cut short")))
    assert seen["torch"].fix == "pip install --force-reinstall torch"


def test_a_gpu_that_was_asked_for(look: Callable[..., dict[str, Finding]]) -> None:
    hidden = MadeWorker({"LookAtGpu": GpuSeen("13.0", None, "RuntimeError: No CUDA GPUs are available")})
    seen = look(hidden, gpus=(), wants_gpu=True)
    assert seen["devices"].state == seen["torch"].state == State.PROBLEM
    # Some can't be loaded without one, which says nothing of them.
    assert seen["sgl_kernel"].state == State.NOTE
    assert hidden.imported == []


def test_what_is_missing(look: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(backend: Any) -> str | None:
        return next((name for name in backend.requires if name != "torch"), None)

    monkeypatch.setattr("autotune_cli.kernels.registry.Backend.missing", missing)
    seen = look()
    # A kernel library that every server has, and one that few have.
    lacks, optional = seen["sgl_kernel.flash_mla"], seen["flash_attn.cute"]
    assert (lacks.state, lacks.fix) == (State.WARNING, "pip install 'kernel-autotune[cuda]'")
    assert lacks.text == "not installed: sgl_kernel.flashmla can't run"
    assert (optional.state, "flash-attn-4" in optional.fix) == (State.NOTE, True)
    # Of a library that isn't there at all no parts are told.
    monkeypatch.setattr(libraries, "installed_versions", lambda: VERSIONS | {"sgl_kernel": "not installed"})
    names = [name for name in look() if name.startswith("sgl_kernel")]
    assert names == ["sgl_kernel"]


def test_variables_are_told_but_for_secrets(look: Callable[..., dict[str, Finding]], tmp_path: Path) -> None:
    environ = {
        "FLASHINFER_JIT_DEBUG": "1",
        "SGLANG_API_KEY": "hush",
        "SGLANG_X": f"{tmp_path}/x",
        "HOME": str(tmp_path),
    }
    seen = look(environ=environ)
    assert not any("hush" in finding.text for finding in seen.values())
    assert seen["SGLANG_API_KEY"].text == "(hidden)"
    assert seen["SGLANG_X"].text == "~/x"
    assert seen["FLASHINFER_JIT_DEBUG"].state == State.PROBLEM
    assert seen["FLASHINFER_JIT_DEBUG"].fix == "unset FLASHINFER_JIT_DEBUG"
    assert "none" not in seen
    assert look(environ={"CUDA_HOME": "/cuda"})["CUDA_HOME"].text == "/cuda"
    off = look(environ={"AUTOTUNE_CACHE": "off"})["AUTOTUNE_CACHE"]
    assert (off.state, off.fix) == (State.PROBLEM, "unset AUTOTUNE_CACHE")
    assert "none" in look(environ={})
    assert is_secret("HF_TOKEN")
    assert not is_secret("SGLANG_FLASHINFER_USE_PAGED")


def test_a_look_that_fails_hides_no_other(
    look: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(is_gpu: bool) -> Any:
        raise OSError("half an installation")

    monkeypatch.setattr(examine, "package_findings", breaks)
    seen = look()
    assert seen["packages"].text == "can't be looked at: OSError: half an installation"
    assert "Triton JIT" in seen


def test_the_home_folder_is_not_told() -> None:
    findings = [Finding("a", "b", State.OK, "/home/ann/x and /home/anna/x, /home/ann", "export A=/home/ann/y")]
    (short,) = without_home(findings, "/home/ann")
    assert (short.text, short.fix) == ("~/x and /home/anna/x, ~", "export A=~/y")
    assert without_home(findings, "/")[0] == findings[0]
    (other,) = without_home([Finding("a", "b", State.OK, "/data/root, /root/x", "export A='/root'")], "/root")
    assert (other.text, other.fix) == ("/data/root, ~/x", "export A='~'")


def test_the_table_fits_into_80_columns_and_says_what_it_comes_to() -> None:
    long = "a text that is much longer than a line of eighty columns could ever be " * 3
    findings = (
        Finding("gpu 0", "device", State.OK, "fine"),
        Finding("gpu 0", "a very long name indeed", State.PROBLEM, long + "\x1b[31m", "pip install " + "x" * 90),
        Finding("folders", "x", State.WARNING, "hm"),
    )
    lines = doctor_table(DoctorView(Diagnosis(findings)), Page()).splitlines()
    assert lines[0] == "gpu 0"
    assert lines[1] == "  ok device         fine"
    assert lines[-1] == "1 problem, 1 warning: exit 1"
    assert max(len(line) for line in lines if "->" not in line) <= 80
    assert [line for line in lines if line.endswith("-> pip install " + "x" * 90)]
    assert not any("\x1b" in line for line in lines)
    assert Diagnosis(findings[::2]).exit_code == 0


def test_rows_as_csv_and_markdown() -> None:
    view = DoctorView(Diagnosis((Finding("a", "=b", State.PROBLEM, "x | y", "do it"),)))
    assert doctor_csv(view, Page()).splitlines() == ["group,name,state,text,fix", "a,'=b,problem,x | y,do it"]
    assert doctor_markdown(view, Page()).splitlines()[-1] == "| a =b | problem | x \\| y | do it |"


def test_the_clocks_are_read_while_calls_are_on_their_way() -> None:
    seen: list[str] = []
    reading = busy(
        lambda: seen.append("call"),
        lambda: seen.append("wait"),
        lambda: seen.append("read") or Conditions(round=7),  # type: ignore[func-returns-value]
        0.0,
    )
    assert reading.round == 7
    assert seen[-3:] == ["call", "read", "wait"]


@pytest.mark.parametrize(
    ("architectures", "capability", "fits"),
    [
        (("sm_80", "sm_90a"), (9, 0), True),
        (("sm_80",), (8, 9), True),
        (("sm_89",), (8, 0), False),
        (("sm_80",), (9, 0), False),
        (("sm_80", "compute_80"), (9, 0), True),
        (("sm_100", "sm_120"), (12, 0), True),
        ((), (9, 0), True),
    ],
)
def test_what_torch_has_kernels_for(architectures: tuple[str, ...], capability: tuple[int, int], fits: bool) -> None:
    assert GpuSeen("13.0", "X", "", architectures, capability).is_built_for_it is fits


def test_libraries_are_loaded_in_a_real_worker() -> None:
    """Its answers cross a connection, on which None has a meaning of its own."""
    worker = Worker(WorkerSettings("cpu"))
    try:
        assert asked(worker, TryImport("json.tool")) == ("", None)
        answer, why = asked(worker, TryImport("no_such_library.part"))
        assert (answer, why) == ("ModuleNotFoundError: No module named 'no_such_library'", None)
        # Torch's build for CPUs, or no GPU.
        seen, why = asked(worker, LookAtGpu())
        assert why is None
        assert (seen.name, bool(seen.error)) == (None, True)
    finally:
        worker.kill()


def test_on_this_cpu(autotune: Autotune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_nvml_count", lambda: 0)
    document = json.loads(autotune("doctor", "--device", "cpu", "--format", "json", code=0).out)
    states = {finding["name"]: finding["state"] for finding in document["findings"]}
    assert (document["doctor_version"], document["exit_code"], states["torch"]) == (1, 0, "ok")
    assert document["counts"]["problem"] == 0
    assert states["results"] == "ok"
