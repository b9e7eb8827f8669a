"""``autotune kernels``: every backend, and what makes it unavailable here; with ``--check``, whether each is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autotune_cli.commands.devices import DeviceKind
    from autotune_cli.commands.options.kernels import KernelsOptions
    from autotune_cli.kernels.workload import AnyWorkload

EXAMPLES = """
autotune kernels --kernels mine.py --device cpu
autotune kernels --check topk --kernels mine.py --backend mine
"""


def kernels(options: KernelsOptions) -> None:
    """List every backend with its operations, its knobs and, where it can't run here, why and how to get it.

    With --check each backend runs on every kind of input that its operation has, and its outputs are judged.

    Exit code: 0 fine, 1 a checked backend is wrong somewhere, 2 bad usage or input, 4 the device could not be asked or
    nothing could be checked, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.devices import choose_device, require_torch
    from autotune_cli.commands.printing import READ, check_format, check_no_input, check_writable

    check_format("kernels" if options.check is None else "check", options.format, options.output)
    check_writable(options.output)
    check_no_input(options.output, *(options.kernels or ()), what=READ)
    kind, gpus = choose_device(options.device, None)
    if options.check is None:
        _refuse_check_options(options)
        require_torch(kind)
        _list(options, kind, gpus[0])
    else:
        _check(options, options.check, kind, gpus[0])


def _list(options: KernelsOptions, kind: DeviceKind, gpu: str | None) -> None:
    from autotune_cli.commands.printing import write_result
    from autotune_cli.render.kernels_formats import KernelsView
    from autotune_cli.tuning.jobs import ListBackends
    from autotune_cli.worker.process import Worker
    from autotune_cli.worker.protocol import WorkerSettings

    worker = Worker(WorkerSettings(kind, kernel_files=_files(options)), gpu)
    try:
        name = worker.start().environment.device
        found = worker.ask(ListBackends(), timeout_s=60.0)
    finally:
        worker.kill()
    write_result("kernels", options.format, KernelsView(name, kind, found), options.output)


def _check(options: KernelsOptions, wanted: str, kind: DeviceKind, gpu: str | None) -> None:
    import os

    from autotune_cli.commands.devices import require_torch
    from autotune_cli.commands.names import backends
    from autotune_cli.commands.printing import write_result
    from autotune_cli.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK
    from autotune_cli.render.check_formats import CheckView
    from autotune_cli.render.console import Console
    from autotune_cli.tuning.check_process import CheckProcess
    from autotune_cli.tuning.matrix import check_matrix
    from autotune_cli.worker.guard import refuse_slow_builds
    from autotune_cli.worker.protocol import WorkerSettings

    files, only = _files(options), backends(options.backend, has_own=bool(options.kernels))
    workloads = checked_workloads(wanted, kind)
    refuse_slow_builds(os.environ, kind)
    require_torch(kind)
    errors = Console(stderr=True)

    def tell(workload: AnyWorkload) -> None:
        if errors.is_terminal:
            errors.say(f"checking {workload.operation} {workload.shape}", style="dim")

    worker = CheckProcess(WorkerSettings(kind, seed=options.seed, kernel_files=files), gpu)
    try:
        name = worker.start().environment.device
        cells = check_matrix(worker, workloads, options.timeout, only, files, tell)
    finally:
        worker.kill()
    is_wrong, is_right = any(cell.is_wrong for cell in cells), any(cell.status == "ok" for cell in cells)
    code = EXIT_FAILED if is_wrong else EXIT_OK if is_right else EXIT_INCOMPLETE
    write_result("check", options.format, CheckView(name, cells, code), options.output)
    if code != EXIT_OK:
        raise typer.Exit(code)


def checked_workloads(wanted: str, kind: DeviceKind) -> list[AnyWorkload]:
    """What ``--check`` asks for: operations, or a family's name, which means those that suites leave out too, and of
    all these the ones that have kinds of input.

    Raises:
        BadField: an operation that was named has none, or all of a family have none.
        UnknownName: there is no such operation.
    """
    from autotune_cli.errors import BadField
    from autotune_cli.kernels.family import families, family
    from autotune_cli.kernels.models.options import parse_operations
    from autotune_cli.kernels.workload import OPERATIONS

    if not wanted.strip():
        raise BadField("check", "is empty")
    named = families().get(wanted.strip().lower())
    operations = parse_operations(wanted) if named is None else named.operations
    found = {operation: family(operation).checks(operation, kind) for operation in operations}
    without = [operation for operation, workloads in found.items() if not workloads]
    if without and (named is None or len(without) == len(found)):
        what = without[0] if named is None else wanted.strip()
        having = [name for name in OPERATIONS if family(name).checks(name, kind)]
        raise BadField("check", f"{what} has no kinds of input to check; those that have: {', '.join(having)}")
    return [workload for workloads in found.values() for workload in workloads]


def _files(options: KernelsOptions) -> tuple[str, ...]:
    return tuple(str(path.resolve()) for path in options.kernels or ())


def _refuse_check_options(options: KernelsOptions) -> None:
    """Options that mean nothing without ``--check``.

    Raises:
        BadField: one was given.
    """
    from autotune_cli.errors import BadField
    from autotune_cli.fields import Message

    if options.backend is not None:
        raise BadField("backend", Message("goes with {fields.check}"))
