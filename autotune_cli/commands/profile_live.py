"""``autotune profile`` without a trace: run a path on this machine's GPU and judge what was recorded."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_cli.kernels.models.model import Model
    from autotune_cli.kernels.workload import Geometry
    from autotune_cli.profiling.path import PathSpec
    from autotune_cli.profiling.recording.recorded import LiveRun
    from autotune_cli.profiling.request import PathRequest
    from autotune_cli.profiling.verdict import Verdict
    from autotune_cli.render.console import Console

_TIMEOUT_S = 120.0
_LONGEST_TIMEOUT_S = 24 * 3600.0
_MOST = 1 << 24
_ENDINGS = (".json", ".json.gz")


def run_live(options: dict[str, Any], expects: Sequence[str], forbids: Sequence[str]) -> tuple[Verdict, list[str]]:
    """The verdict on a path that is run here, and what the self-check tried.

    Args:
        expects, forbids: regular expressions on kernel names.

    Raises:
        AutotuneError: bad options, no GPU, a worker that doesn't come to an end.
    """
    from autotune_cli.commands.parsing import between
    from autotune_cli.profiling.classify import load_classifier
    from autotune_cli.profiling.live_verdict import judge_live_run
    from autotune_cli.profiling.planning import plan_path
    from autotune_cli.render.console import Console
    from autotune_cli.worker.temporary import temporary_folder

    errors = Console(stderr=True)
    request, notes = _request(options)
    classify = load_classifier(options["rules"] or ())
    model, geometries = _model(options, request)
    timeout = between("--timeout", _given(options, "timeout", _TIMEOUT_S), 0.1, _LONGEST_TIMEOUT_S)
    spec, more = plan_path(request, model, geometries)
    _check_target(options["trace"])
    gpu = _gpu()
    _print_notes([*notes, *more], errors)
    with tempfile.TemporaryDirectory(prefix="autotune-profile-", dir=temporary_folder()) as folder:
        run = _record(spec, folder, options["kernels"] or (), gpu, timeout, errors)
        if options["trace"] is not None:
            _keep(Path(run.recording.trace), options["trace"])
        return judge_live_run(run, classify, spec.title, expects, forbids)


def _request(options: dict[str, Any]) -> tuple[PathRequest, list[str]]:
    """What is asked for, and warnings.

    Raises:
        AutotuneError: an unknown mode, phase or padding, a number out of range.
    """
    from autotune_cli.commands.parsing import between
    from autotune_cli.errors import UnknownName
    from autotune_cli.profiling.request import INJECTED, KERNELS, SGLANG, TOPK, PathRequest, parse_phases
    from autotune_cli.sglang.padding import PAD_MODES
    from autotune_cli.sglang.resolve import forced_paged, parse_mode

    # Once, here: everything that is planned, captured and replayed follows this.
    toggle = forced_paged(options["paged"], os.environ)
    kernels = _given(options, "fa", "auto")
    pad_mode = options["pad_mode"]
    for what, value, known in (("FlashInfer kernel", kernels, KERNELS), ("padding", pad_mode, PAD_MODES)):
        if value is not None and value not in known:
            raise UnknownName(what, value, known)
    sizes = {
        name: None if options[name] is None else between(f"--{name}", options[name], 1, _MOST)
        for name in ("batch", "new", "context", "calls")
    }
    request = PathRequest(
        mode="topk" if options["mode"].lower() == TOPK else parse_mode(options["mode"], (TOPK,)),
        prefix=options["prefix"] is not False,
        forced_paged=toggle.on,
        deterministic=options["deterministic"],
        multimodal=options["multimodal"],
        multi_item_scoring=options["multi_item_scoring"],
        backend=_given(options, "backend", SGLANG),
        kernels=kernels,
        phases=parse_phases(options["phases"]),
        pad_mode=pad_mode,
        bitwise=options["bitwise"],
        injected=INJECTED if options["self_check"] else (),
        seed=between("--seed", _given(options, "seed", 0), 0, 2**63 - 1),
        **sizes,
    )
    return request, [toggle.warning] if toggle.warning else []


def _model(options: dict[str, Any], request: PathRequest) -> tuple[Model, tuple[Geometry, ...]]:
    """The model, and the geometries of its kinds of layers.

    Raises:
        AutotuneError: no such model or dtype, heads that can't be split.
    """
    from autotune_cli.kernels.models import choose_model
    from autotune_cli.kernels.models.options import parse_dtype
    from autotune_cli.profiling.request import TOPK

    model = choose_model(options["model"], options["config"], "cuda", "topk" if request.mode == TOPK else "decode")
    dtype, kv_dtype = parse_dtype(options["dtype"]), parse_dtype(options["kv_dtype"])
    return model, model.geometries(_given(options, "tp", 1), dtype, kv_dtype)


def _gpu() -> str:
    """The GPU to run on: the first that is visible.

    Raises:
        AutotuneError: there is none, or no torch that could use it, or builds would mean nothing.
    """
    from autotune_cli.commands.devices import require_torch, visible_gpus
    from autotune_cli.profiling.errors import CannotRun
    from autotune_cli.worker.guard import refuse_slow_builds

    gpus = visible_gpus()
    if not gpus:
        raise CannotRun(detail="no NVIDIA GPU on this machine to run a path on")
    require_torch("cuda")
    refuse_slow_builds(os.environ, "cuda")
    return gpus[0]


def _print_notes(notes: Sequence[str], errors: Console) -> None:
    from rich.text import Text

    from autotune_cli.plain_text import shown

    for note in notes:
        errors.print(Text(f"note: {shown(note)}", style="yellow"), soft_wrap=True)


def _given(options: dict[str, Any], name: str, default: Any) -> Any:
    """Zero and empty text are values too: they are refused, not replaced."""
    return default if options[name] is None else options[name]


def _record(
    spec: PathSpec, folder: str, kernel_files: Sequence[Path], gpu: str, timeout_s: float, errors: Console
) -> LiveRun:
    """Records the path in a worker, and says on a terminal what is going on."""
    from rich.text import Text

    from autotune_cli.plain_text import shown
    from autotune_cli.profiling.recording.asking import record_in_worker
    from autotune_cli.worker.protocol import WorkerSettings

    files = tuple(str(path.resolve()) for path in kernel_files)
    settings = WorkerSettings("cuda", seed=spec.seed, kernel_files=files)
    with errors.status("starting") as status:

        def report(name: str, subject: str) -> None:
            status.update(Text(shown(f"{name} {subject}")))

        return record_in_worker(spec, folder, settings, gpu, timeout_s, report)


def _check_target(path: Path | None) -> None:
    """Can the trace be kept there? Asked before anything is run.

    Raises:
        BadOption: no, and why.
    """
    from autotune_cli.errors import BadOption

    if path is None:
        return
    if not path.name.endswith(_ENDINGS):
        raise BadOption(option="--trace", detail=f"{path}: a name that ends in {' or '.join(_ENDINGS)}")
    if not os.path.isdir(path.parent):
        raise BadOption(option="--trace", detail=f"{path.parent}: no such folder")
    try:
        kept = path if path.exists() else path.parent
        can_write = not path.is_dir() and os.access(kept, os.W_OK)
    except OSError:  # a name that is too long
        can_write = False
    if not can_write:
        raise BadOption(option="--trace", detail=f"{path}: can't be written")


def _keep(recorded: Path, target: Path) -> None:
    """Copy the trace.

    Raises:
        CannotWrite: a full disk ...
    """
    from autotune_cli.results.files import cannot_write

    try:
        if target.name.endswith(".gz"):
            shutil.copyfile(recorded, target)
            return
        with gzip.open(recorded) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except OSError as error:
        cannot_write(target, error)
