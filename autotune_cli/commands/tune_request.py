"""From the options of ``autotune tune`` to the engine's request."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from autotune_cli.commands.baselines import chosen_baselines
from autotune_cli.commands.clusters import chosen_cluster, device_of_cluster
from autotune_cli.commands.devices import DeviceKind, choose_device, require_torch
from autotune_cli.commands.flags import with_flags
from autotune_cli.commands.names import backends
from autotune_cli.commands.options.tune import TuneOptions
from autotune_cli.commands.traffic import TrafficSuite, traffic_suite
from autotune_cli.errors import BadField
from autotune_cli.fields import Message
from autotune_cli.kernels.family import families, family
from autotune_cli.kernels.models import build_suite, choose_model
from autotune_cli.kernels.models.options import parse_operations
from autotune_cli.kernels.models.suite import Suite
from autotune_cli.kernels.properties import TIE_BREAKS, Property, parse_properties
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.measure.timers import check_timer
from autotune_cli.plain_text import shown
from autotune_cli.render.console import Console
from autotune_cli.render.traffic import traffic_lines
from autotune_cli.results.default_name import default_name
from autotune_cli.results.runs import check_name
from autotune_cli.results.toggles import cache_toggle
from autotune_cli.tuning.focus import MINE, Focus, focus_on
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.request import Request
from autotune_cli.tuning.scores_file import read_scores
from autotune_cli.worker.guard import refuse_slow_builds
from autotune_cli.worker.protocol import WorkerSettings

# Options that mean something with logs only.
_OF_TRAFFIC = ("max_running_requests", "chunked_prefill_size", "max_total_tokens", "cuda_graph_bs", "step_ms")


def tune_request(options: TuneOptions, errors: Console) -> tuple[Request, str | None]:
    """The request, and the name of the baseline to show (None: the default). Notes go to ``errors``.

    Raises:
        AutotuneError: something in the options makes no sense here.
    """
    cluster = chosen_cluster(options.executor, options.ray_address)
    if cluster is None:
        kind, gpus = choose_device(options.device, options.gpus)
        refuse_slow_builds(os.environ, kind)
    else:
        kind, gpus = device_of_cluster(options.device, options.gpus), (None,)
    chosen = chosen_suite(options, kind, gpus[0])
    suite = chosen.suite
    use_cache = cache_toggle(options.cache, os.environ).on
    for note in chosen.notes:
        say_note(errors, note)
    for line in () if chosen.served is None else traffic_lines(chosen.served.traffic):
        errors.say(line, style="dim")
    name = options.name
    if name is None:
        name, beside = default_name(options.root, suite.name, kind) if use_cache else (suite.name, None)
        if beside is not None:
            say_note(errors, beside)
    check_name(name)
    files = tuple(str(path.resolve()) for path in options.kernels or ())
    if options.timer is not None:
        check_timer(options.timer, kind)
    if cluster is None:
        require_torch(kind)
    held, column = chosen_baselines(options.engine, options.baseline, kind, os.environ)
    request = Request(
        name=name,
        workloads=suite.workloads,
        worker=WorkerSettings(kind, options.timer, "warm" if options.warm_l2 else "cold", options.seed, files),
        policy=_policy(options, kind),
        root=options.root,
        use_cache=use_cache,
        gpus=gpus,
        cluster=cluster,
        backends=backends(options.backend, has_own=bool(files)),
        baselines=held,
        asked=column,
        model_type=suite.model_type,
        focus=_focus(options, name, use_cache, [workload.key for workload in suite.workloads]),
        required=required_properties(options, suite.workloads),
        page_sizes=options.page_size or (),
        timeout_s=options.timeout,
        budget_s=options.budget,
        resume=options.resume,
        explain_miss=options.explain_miss,
        keep_noisy=options.keep_noisy,
        command=("autotune", *sys.argv[1:]),
        traffic=None if chosen.served is None else chosen.served.traffic,
        stands_for={} if chosen.served is None else chosen.served.weighted.stands_for,
    )
    return request, column


@dataclass(frozen=True)
class ChosenSuite:
    """What is tuned, and where it comes from."""

    suite: Suite
    served: TrafficSuite | None = None
    """None: a grid."""

    @property
    def notes(self) -> tuple[str, ...]:
        """For people."""
        return (*(() if self.served is None else self.served.notes), *self.suite.notes)


def chosen_suite(options: TuneOptions, kind: DeviceKind, gpu: str | None) -> ChosenSuite:
    """The workloads of a grid, or of the user's traffic.

    Args:
        gpu: CUDA_VISIBLE_DEVICES of the first worker.

    Raises:
        AutotuneError: something in the options makes no sense here.
    """
    if options.traffic:
        model = choose_model(options.model, options.config, kind, options.op)
        found = traffic_suite(options, model, kind, gpu)
        return ChosenSuite(found.suite, found)
    for name in _OF_TRAFFIC:
        if getattr(options, name) is not None:
            raise BadField(name, Message("is of a server's {fields.traffic}"))
    return ChosenSuite(_grid(options, kind))


def _grid(options: TuneOptions, kind: DeviceKind) -> Suite:
    operations: str | tuple[str, ...] | None = options.op
    captured = None
    if options.scores_file is not None:
        operations = _with_scores(options)
        require_torch(kind)
        captured = read_scores(operations[0], str(options.scores_file))
    return build_suite(
        choose_model(options.model, options.config, kind, operations),
        kind,
        tp=options.tp,
        operations=operations,
        modes=options.mode,
        batches=options.batch,
        contexts=options.context,
        new=options.new,
        eagle_topk=options.eagle_topk,
        dtype=options.dtype,
        kv_dtype=options.kv_dtype,
        q_dtype=options.q_dtype,
        scores=options.scores,
        captured=captured,
        spread=options.spread,
        lengths=options.lengths,
    )


def _with_scores(options: TuneOptions) -> tuple[str, ...]:
    """The operations that are tuned on a file of scores.

    Raises:
        BadField: an option that the file decides, or an operation that takes no scores.
    """
    for name in ("batch", "context", "spread"):
        if getattr(options, name) is not None:
            raise BadField(name, Message("{fields.scores_file} has the shape"))
    taking = tuple(each.operations[0] for each in families().values() if each.takes_scores)
    if options.op is None:
        return taking
    operations = parse_operations(options.op)
    for operation in operations:
        if not family(operation).takes_scores:
            raise BadField("scores_file", f"{operation} takes no scores; {', '.join(taking)} does")
    return operations


def _policy(options: TuneOptions, kind: DeviceKind) -> RacePolicy:
    policy = RacePolicy(exhaustive=options.exhaustive)
    if kind == "cpu":
        policy = RacePolicy.for_cpu(options.exhaustive)
    return policy if options.rounds is None else policy.with_rounds(options.rounds)


def _focus(options: TuneOptions, name: str, use_cache: bool, workloads: list[str]) -> Focus | None:
    """The candidates that are raced beside the baselines; None: all.

    Raises:
        BadField: a focus goes neither with the cache nor, as ``mine``, without files of kernels.
    """
    if options.focus is None:
        return None
    wanted = options.focus.strip()
    if not wanted:
        raise BadField("focus", "is empty")
    if use_cache:
        raise BadField("focus", "goes with --no-cache: the cache keeps whole races")
    if wanted == MINE and not options.kernels:
        raise BadField("focus", f"{MINE} means what --kernels registers, and there is none")
    return focus_on(wanted, options.root, name, workloads)


def required_properties(options: TuneOptions, workloads: Sequence[AnyWorkload]) -> tuple[Property, ...]:
    """What a kernel must be shown to keep.

    Raises:
        BadField: an operation of the suite knows no such property.
    """
    required = parse_properties(options.require or ())
    for operation in dict.fromkeys(workload.operation for workload in workloads):
        for name in required:
            if name not in family(operation).properties:
                ties = "; it selects nothing, so it has no ties: name a selection with {fields.op}"
                tail = ties if name in TIE_BREAKS else ""
                raise BadField(
                    "require", Message("{operation} can't be shown to be {name}" + tail, operation=operation, name=name)
                )
    return required


def say_note(errors: Console, text: str) -> None:
    """A note on stderr; fields in it are named by their options."""
    errors.print(Text(f"note: {shown(with_flags(text))}", style="yellow"), soft_wrap=True)
