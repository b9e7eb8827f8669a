"""``autotune profile`` without a trace: run a path on this machine's GPU and judge what was recorded."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from autotune_cli.commands.options.profile import ProfileOptions
    from autotune_cli.profiling.live.plan import Ask
    from autotune_cli.profiling.live.records import LiveRun, PathSpec
    from autotune_cli.profiling.verdict import Verdict
    from autotune_cli.render.console import Console

_TIMEOUT_S = 120.0
Name = TypeVar("Name", bound=str)
_ENDINGS = (".json", ".json.gz")


def run_live(options: ProfileOptions) -> tuple[Verdict, list[str]]:
    """The verdict on a path that is run here, and what the self-check tried.

    Raises:
        AutotuneError: bad options, no GPU, a worker that doesn't come to an end.
    """
    from rich.text import Text

    from autotune_cli.commands.devices import require_torch, visible_gpus
    from autotune_cli.commands.flags import with_flags
    from autotune_cli.commands.profile_expected import patterns
    from autotune_cli.kernels.models import choose_model
    from autotune_cli.kernels.models.options import parse_dtype
    from autotune_cli.plain_text import shown
    from autotune_cli.profiling.classify import load_classifier
    from autotune_cli.profiling.errors import CannotRun
    from autotune_cli.profiling.live.assemble import assemble
    from autotune_cli.profiling.live.plan import TOPK, plan_path
    from autotune_cli.profiling.live.records import PLANTS
    from autotune_cli.render.console import Console
    from autotune_cli.worker.guard import refuse_slow_builds
    from autotune_cli.worker.protocol import WorkerSettings
    from autotune_cli.worker.temporary import temporary_folder

    errors = Console(stderr=True)
    ask, notes = _ask(options)
    expects, forbids = patterns(options)
    classify = load_classifier(options.rules or ())
    model = choose_model(options.model, options.config, "cuda", "topk" if ask.mode == TOPK else "decode")
    dtype, kv_dtype = parse_dtype(options.dtype), parse_dtype(options.kv_dtype)
    geometries = model.geometries(options.tp or 1, dtype, kv_dtype)
    if any(geometry.sinks for geometry in geometries):
        geometries = tuple(geometry.model_copy(update={"sinks": False}) for geometry in geometries)
        notes.append("attention sinks are left out: the kernels of this path have none")
    seed = options.seed or 0
    timeout = _TIMEOUT_S if options.timeout is None else options.timeout
    spec, more = plan_path(ask, model, geometries, seed, PLANTS if options.self_check else ())
    _check_target(options.trace)
    gpus = visible_gpus()
    if not gpus:
        raise CannotRun(detail="no NVIDIA GPU on this machine to run a path on")
    require_torch("cuda")
    refuse_slow_builds(os.environ, "cuda")
    for note in map(with_flags, (*notes, *more)):
        errors.print(Text(f"note: {shown(note)}", style="yellow"), soft_wrap=True)
    files = tuple(str(path.resolve()) for path in options.kernels or ())
    with tempfile.TemporaryDirectory(prefix="autotune-profile-", dir=temporary_folder()) as folder:
        run = _run(spec, folder, WorkerSettings("cuda", seed=seed, kernel_files=files), gpus[0], timeout, errors)
        if options.trace is not None:
            _keep(Path(run.recording.trace), options.trace)
        return assemble(run, classify, spec.title, expects, forbids)


def _ask(options: ProfileOptions) -> tuple[Ask, list[str]]:
    """What is asked for, and warnings.

    Raises:
        AutotuneError: an unknown mode, phase or padding.
    """
    from autotune_cli.commands.profile_expected import DEFAULT_MODE
    from autotune_cli.profiling.live.plan import KERNELS, SGLANG, TOPK, Ask, parse_phases
    from autotune_cli.profiling.padding import PAD_MODES
    from autotune_cli.profiling.resolve import forced_paged, parse_mode

    # It is read once: everything that is planned, captured and replayed follows it.
    toggle = forced_paged(options.paged, os.environ)
    kernels = _one_of("FlashInfer kernel", KERNELS, "auto" if options.fa is None else options.fa)
    pad_mode = _one_of("padding", PAD_MODES, "fake-request" if options.pad_mode is None else options.pad_mode)
    mode = DEFAULT_MODE if options.mode is None else options.mode
    ask = Ask(
        mode="topk" if mode.lower() == TOPK else parse_mode(mode, (TOPK,)),
        prefix=options.prefix is not False,
        forced_paged=toggle.on,
        deterministic=options.deterministic,
        multimodal=options.multimodal,
        multi_item_scoring=options.multi_item_scoring,
        backend=SGLANG if options.backend is None else options.backend,
        kernels=kernels,
        phases=parse_phases(options.phases),
        pad_mode=pad_mode,
        bitwise=options.bitwise,
        batch=options.batch,
        new=options.new,
        context=options.context,
        calls=options.calls,
    )
    return ask, [toggle.warning] if toggle.warning else []


def _one_of(what: str, known: tuple[Name, ...], text: str) -> Name:
    """Raises :class:`UnknownName` for a text that is none of them."""
    from autotune_cli.errors import UnknownName

    for name in known:
        if name == text:
            return name
    raise UnknownName(what, text, known)


def _run(spec: PathSpec, folder: str, settings: Any, gpu: str, timeout_s: float, errors: Console) -> LiveRun:
    """Runs the path in a worker, as a fault of a kernel ends the process that it happens in.

    Raises:
        PathFailed: it crashed or took too long.
        CannotRun: torch sees no GPU.
    """
    from rich.text import Text

    from autotune_cli.errors import NoDevice
    from autotune_cli.plain_text import shown
    from autotune_cli.profiling.errors import CannotRun, PathFailed
    from autotune_cli.recording.job import RunPath
    from autotune_cli.worker.process import Worker, WorkerDied, WorkerRaised, WorkerTimeout

    worker = Worker(settings, gpu)
    try:
        with errors.status("starting") as status:
            run: LiveRun = worker.ask(
                RunPath(spec, folder), timeout_s, lambda name, subject: status.update(Text(shown(f"{name} {subject}")))
            )
            return run
    except (WorkerDied, WorkerTimeout) as error:
        where = " ".join(worker.phase).strip()
        raise PathFailed(detail=f"{where}: {error}" if where else str(error)) from error
    except NoDevice as error:
        raise CannotRun(detail=str(error)) from error
    except WorkerRaised as error:
        raise PathFailed(detail=str(error).splitlines()[0]) from error
    finally:
        worker.kill()


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
    from autotune_cli.results.files import cannot_write

    try:
        if target.name.endswith(".gz"):
            shutil.copyfile(recorded, target)
            return
        with gzip.open(recorded) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except OSError as error:
        cannot_write(target, error)
