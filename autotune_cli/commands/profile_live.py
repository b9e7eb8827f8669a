"""``autotune profile`` without a trace: run a path on this machine's GPU and judge what was recorded."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from autotune_cli.commands.options.profile import ProfileOptions
    from autotune_cli.kernels.geometry import Geometry, LatentGeometry
    from autotune_cli.kernels.models.model import Model
    from autotune_cli.profiling.findings import ProfileVerdict
    from autotune_cli.profiling.path import PathSpec
    from autotune_cli.profiling.recording.recorded import LiveRun
    from autotune_cli.profiling.request import PathRequest
    from autotune_cli.render.console import Console

_TIMEOUT_S = 120.0
Name = TypeVar("Name", bound=str)
_ENDINGS = (".json", ".json.gz")


def run_live(options: ProfileOptions) -> tuple[ProfileVerdict, list[str]]:
    """The verdict on a path that is run here, and what the self-check tried.

    Raises:
        AutotuneError: bad options, no GPU, a worker that doesn't come to an end.
    """
    from autotune_cli.commands.profile_expected import patterns
    from autotune_cli.profiling.classify import load_classifier
    from autotune_cli.profiling.live_verdict import judge_live_run
    from autotune_cli.profiling.planning import plan_path
    from autotune_cli.render.console import Console
    from autotune_cli.worker.temporary import temporary_folder

    errors = Console(stderr=True)
    request, notes = _request(options)
    expects, forbids = patterns(options)
    classify = load_classifier(options.rules or ())
    model, geometries, latent = _model(options, request)
    spec, more = plan_path(request, model, geometries, latent)
    _check_target(options.trace)
    gpu = _gpu()
    _print_notes([*notes, *more], errors)
    with tempfile.TemporaryDirectory(prefix="autotune-profile-", dir=temporary_folder()) as folder:
        run = _record(spec, folder, options, gpu, errors)
        if options.trace is not None:
            _keep(Path(run.recording.trace), options.trace)
        return judge_live_run(run, classify, spec.title, expects, forbids)


def _request(options: ProfileOptions) -> tuple[PathRequest, list[str]]:
    """What is asked for, and warnings.

    Raises:
        AutotuneError: an unknown mode, phase or padding.
    """
    from autotune_cli.commands.profile_expected import DEFAULT_MODE
    from autotune_cli.profiling.request import INJECTED, KERNELS, SGLANG, PathRequest, parse_phases, parse_step_mode
    from autotune_cli.sglang.padding import PAD_MODES
    from autotune_cli.sglang.resolve import forced_paged

    # It is read once: everything that is planned, captured and replayed follows it.
    toggle = forced_paged(options.paged, os.environ)
    kernels = _one_of("FlashInfer kernel", KERNELS, "auto" if options.fa is None else options.fa)
    pad_mode = None if options.pad_mode is None else _one_of("padding", PAD_MODES, options.pad_mode)
    request = PathRequest(
        mode=parse_step_mode(DEFAULT_MODE if options.mode is None else options.mode),
        prefix=options.prefix is not False,
        forced_paged=toggle.on,
        deterministic=options.deterministic,
        multimodal=options.multimodal,
        multi_item_scoring=options.multi_item_scoring,
        backend=SGLANG if options.backend is None else options.backend,
        kernels=kernels,
        phases=parse_phases(options.phases),
        batch=options.batch,
        new=options.new,
        context=options.context,
        calls=options.calls,
        pad_mode=pad_mode,
        bitwise=options.bitwise,
        injected=INJECTED if options.self_check else (),
        seed=options.seed or 0,
        eagle_topk=options.eagle_topk,
    )
    return request, [toggle.warning] if toggle.warning else []


def _one_of(what: str, known: tuple[Name, ...], text: str) -> Name:
    """The name that a text is.

    Raises:
        UnknownName: it is none of them.
    """
    from autotune_cli.errors import UnknownName

    for name in known:
        if name == text:
            return name
    raise UnknownName(what, text, known)


def _model(options: ProfileOptions, request: PathRequest) -> tuple[Model, tuple[Geometry, ...], LatentGeometry | None]:
    """The model, and the geometries of its kinds of layers; of latent attention apart.

    Raises:
        AutotuneError: no such model or dtype, heads that can't be split.
    """
    from autotune_cli.kernels.family import with_step
    from autotune_cli.kernels.models import choose_model
    from autotune_cli.kernels.models.options import parse_dtype

    operations = [family.name for family in with_step(request.mode)]
    model = choose_model(options.model, options.config, "cuda", operations or None)
    dtype, kv_dtype = parse_dtype("dtype", options.dtype), parse_dtype("kv_dtype", options.kv_dtype)
    split = options.tp or 1, dtype, kv_dtype
    return model, model.geometries(*split), model.latent_geometry(*split)


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

    from autotune_cli.commands.flags import with_flags
    from autotune_cli.plain_text import shown

    for note in map(with_flags, notes):
        errors.print(Text(f"note: {shown(note)}", style="yellow"), soft_wrap=True)


def _record(spec: PathSpec, folder: str, options: ProfileOptions, gpu: str, errors: Console) -> LiveRun:
    """Records the path in a worker, and says on a terminal what is going on."""
    from rich.text import Text

    from autotune_cli.plain_text import shown
    from autotune_cli.profiling.recording.asking import record_in_worker
    from autotune_cli.worker.protocol import WorkerSettings

    files = tuple(str(path.resolve()) for path in options.kernels or ())
    settings = WorkerSettings("cuda", seed=spec.seed, kernel_files=files)
    timeout = _TIMEOUT_S if options.timeout is None else options.timeout
    with errors.status("starting") as status:

        def report(name: str, subject: str) -> None:
            status.update(Text(shown(f"{name} {subject}")))

        return record_in_worker(spec, folder, settings, gpu, timeout, report)


def _check_target(path: Path | None) -> None:
    """Checks that the trace can be kept there, before anything is run.

    Raises:
        BadField: no, and why.
    """
    from autotune_cli.errors import BadField

    if path is None:
        return
    if not path.name.endswith(_ENDINGS):
        raise BadField(field="trace", detail=f"{path}: a name that ends in {' or '.join(_ENDINGS)}")
    if not os.path.isdir(path.parent):
        raise BadField(field="trace", detail=f"{path.parent}: no such folder")
    try:
        kept = path if path.exists() else path.parent
        can_write = not path.is_dir() and os.access(kept, os.W_OK)
    except OSError:  # a name that is too long
        can_write = False
    if not can_write:
        raise BadField(field="trace", detail=f"{path}: can't be written")


def _keep(recorded: Path, target: Path) -> None:
    """Copies the trace; compressed where the name says so.

    Raises:
        CannotWrite: a full disk ...
    """
    from autotune_cli.results.atomic import cannot_write

    try:
        if target.name.endswith(".gz"):
            shutil.copyfile(recorded, target)
            return
        with gzip.open(recorded) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except OSError as error:
        cannot_write(target, error)
