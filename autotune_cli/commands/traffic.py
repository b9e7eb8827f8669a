"""``--traffic``: from the options to a suite that stands for what a server did."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.commands.devices import DeviceKind, gpu_memory
from autotune_cli.commands.options.tune import TuneOptions
from autotune_cli.errors import BadField, EmptySuite
from autotune_cli.fields import Message
from autotune_cli.kernels.engines import load_engine
from autotune_cli.kernels.family import families
from autotune_cli.kernels.models import Model, Suite, build_suite
from autotune_cli.kernels.models.options import operations_for
from autotune_cli.results.schema import Traffic
from autotune_cli.traffic.prepare import layers_of, served, token_bytes
from autotune_cli.traffic.scheduler import Given, engine_names, scheduler_of
from autotune_cli.traffic.shapes import ServedShape
from autotune_cli.traffic.suite import WeightedSuite, weighted_suite

# What the traffic decides.
_DECIDED = ("batch", "new", "eagle_topk", "spread", "lengths", "scores_file")
# Of an engine that doesn't schedule.
_STAND_IN = "sglang"


@dataclass(frozen=True)
class TrafficSuite:
    """A suite with what its workloads stand for."""

    traffic: Traffic
    weighted: WeightedSuite
    notes: tuple[str, ...]

    @property
    def suite(self) -> Suite:
        return self.weighted.suite


def traffic_suite(options: TuneOptions, model: Model, kind: DeviceKind, gpu: str | None) -> TrafficSuite:
    """The suite of ``options.traffic``.

    Args:
        gpu: CUDA_VISIBLE_DEVICES of the GPU whose memory decides what the engine takes; None: not known.

    Raises:
        BadTraffic: a log that can't be read.
        BadField: an option that the traffic decides.
        EmptySuite: the model has nothing of what the server ran.
        UnknownName: an operation or an engine that doesn't exist.
    """
    for name in _DECIDED:
        if getattr(options, name) is not None:
            raise BadField(name, Message("{fields.traffic} has the batches"))
    if options.mode not in (None, "eager"):
        raise BadField("mode", Message("{fields.traffic} decides what is captured; eager: nothing is"))
    if options.context is not None and len(options.context) > 1:
        raise BadField("context", Message("with {fields.traffic} it is one number, for traces that tell no lengths"))
    operations = operations_for(model, options.op)
    engine = load_engine(options.engine.strip().lower()).name
    notes: list[str] = []
    if engine not in engine_names():
        notes.append(
            f"{engine} has no scheduler of its own that is known here: batches are made as {_STAND_IN} makes them"
        )
        engine = _STAND_IN
    given = Given(
        max_running=options.max_running_requests,
        chunk=options.chunked_prefill_size,
        max_tokens=options.max_total_tokens,
        captured=options.cuda_graph_bs,
        step_s=None if options.step_ms is None else options.step_ms / 1e3,
    )
    memory = gpu_memory(gpu) if kind == "cuda" else None
    if kind == "cuda" and memory is None and None in (given.chunk, given.captured):
        said = "the GPU's memory is not known: {engine}'s numbers for that ({fields.chunked_prefill_size} ...)"
        notes.append(Message(said, engine=engine))
    scheduler = scheduler_of(
        engine,
        given,
        memory,
        options.tp,
        token_bytes(model, options.tp, options.dtype, options.kv_dtype),
        graphs=kind == "cuda" and options.mode is None,
    )
    found = served(options.traffic or (), scheduler, options.context[0] if options.context else None)

    def make(shape: ServedShape) -> Suite:
        wanted = []
        for each in families().values():
            usual = each.served.get(shape.kind)
            run = () if usual is None else dict.fromkeys((each.run_for(model, usual), usual))
            wanted += [name for name in run if name in operations][:1]
        found: list[Suite] = []
        refused = EmptySuite(detail=f"{shape.kind} steps run none of what was asked for")
        for operation in wanted:
            try:
                found.append(_suite(options, model, kind, shape, operation))
            except EmptySuite as error:
                refused = error
        if not found:
            raise refused
        workloads = tuple(workload for suite in found for workload in suite.workloads)
        return found[0].model_copy(update={"workloads": workloads})

    weighted = weighted_suite(
        found.steps, options.traffic_workloads, make, lambda workloads: layers_of(model, workloads, options.tp)
    )
    if weighted.left_out:
        notes.append(f"{weighted.left_out:,} steps of kinds without a workload are left out")
    suite = weighted.suite.model_copy(update={"name": f"{weighted.suite.name}-traffic"})
    weighted = WeightedSuite(suite, weighted.stands_for, weighted.left_out, weighted.spread)
    return TrafficSuite(found.traffic, weighted, (*found.notes, *notes))


def _suite(options: TuneOptions, model: Model, kind: DeviceKind, shape: ServedShape, operation: str) -> Suite:
    """The workloads of one operation, one for each kind of layers."""
    eager = kind == "cuda" and shape.kind == "decode" and not shape.graph
    return build_suite(
        model,
        kind,
        tp=options.tp,
        operations=operation,
        modes="eager" if eager else None,
        batches=shape.batch,
        contexts=shape.context,
        new=shape.new if shape.kind == "extend" else None,
        dtype=options.dtype,
        kv_dtype=options.kv_dtype,
        q_dtype=options.q_dtype,
        scores=options.scores,
    )
