"""A suite: the workloads of a model on a device, a grid of batch shapes for each kind of its layers."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, SkipValidation

from autotune_cli.errors import BadField, EmptySuite
from autotune_cli.fields import Field, Message, joined
from autotune_cli.kernels.base import CapturedScores, DeviceKind
from autotune_cli.kernels.family import SuiteRequest, family
from autotune_cli.kernels.models.catalog import load_model
from autotune_cli.kernels.models.config import read_config
from autotune_cli.kernels.models.lengths import parse_lengths
from autotune_cli.kernels.models.model import LayerKind, Model
from autotune_cli.kernels.models.options import (
    Names,
    Numbers,
    check_tp,
    operations_for,
    parse_dtype,
    parse_modes,
    parse_numbers,
    parse_operations,
    parse_q_dtype,
    parse_scores,
    parse_spread,
)
from autotune_cli.kernels.shapes import Wanted
from autotune_cli.kernels.workload import AnyWorkload, Workload

# The embedded default on a CPU: what one of eight GPUs has of Llama-3.1-8B, and DeepSeek-V3.2's top-k.
CPU_MODEL = Model(
    name="cpu",
    source="embedded: Llama-3.1-8B's attention at --tp 8, DeepSeek-V3.2's top-k",
    dtype="float32",
    num_attention_heads=4,
    layers=(LayerKind(count=32, num_qo_heads=4, num_kv_heads=1, head_dim=128),),
    topk=2048,
)


class Suite(BaseModel):
    """A named list of workloads, no two alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """``<model>`` or ``<model>-tp<N>``: safe in a file name."""
    workloads: tuple[Workload, ...]
    model_type: str = ""
    """Of the model's config.json."""
    notes: tuple[SkipValidation[str], ...] = ()
    """For people: what of the model or the request is left out, and why."""


def choose_model(
    name: str | None, config: str | Path | None, device_kind: DeviceKind, operations: Names = None
) -> Model:
    """The model of that name or config.json, or the default of the device when neither is given.

    The default is ``cpu`` on a CPU; on a GPU that of the first family of which an operation is asked for.

    Raises:
        UnknownName: a model or an operation that isn't known.
        BadConfig: see :func:`.config.read_config`.
        BadField: both are given.
    """
    if name is not None and config is not None:
        raise BadField(field="config", detail=Message("give {fields.model} or {fields.config}, not both"))
    if config is not None:
        return read_config(config)
    if name is None:
        if device_kind == "cpu":
            return CPU_MODEL
        return load_model(family(parse_operations(operations)[0]).default_model)
    if name.strip().lower() != CPU_MODEL.name:
        return load_model(name)
    if device_kind != "cpu":
        raise BadField(field="model", detail="'cpu' is the embedded suite for machines without a GPU")
    return CPU_MODEL


def build_suite(
    model: Model | str | None,
    device_kind: DeviceKind,
    *,
    tp: int = 1,
    operations: Names = None,
    modes: Names = None,
    batches: Numbers = None,
    contexts: Numbers = None,
    new: Numbers = None,
    eagle_topk: Numbers = None,
    dtype: str | None = None,
    kv_dtype: str | None = None,
    q_dtype: str | None = None,
    scores: Names = None,
    captured: CapturedScores | None = None,
    spread: str | None = None,
    lengths: str | Path | None = None,
) -> Suite:
    """The workloads of ``model`` on a ``cuda`` or ``cpu`` device; options take text as typed or sequences.

    ``batches`` and ``contexts`` narrow the grid, or replace it where it lacks them; for an extend, ``contexts`` are
    all keys (prefix and new), ``new`` the new tokens; to verify, ``new`` are the drafts of a request, and
    ``eagle_topk`` the most of a level of their tree; for a top-k they are rows and width. ``dtype`` is of queries
    and outputs, ``kv_dtype`` of the cache, ``q_dtype`` what queries are rounded to (:func:`.options.parse_q_dtype`),
    ``scores`` the distributions on which a top-k must be right, ``captured`` scores from a file, which have the shape,
    ``spread`` whether requests of a batch (rows of a top-k) are equally long. ``lengths`` has decode steps measured
    over a distribution of lengths, one workload a batch size (:func:`.lengths.parse_lengths`).

    Raises:
        BadField, UnknownName: an option that makes no sense.
        BadGeometry: heads that can't be shared out.
        EmptySuite: nothing is left.
    """
    chosen_modes = parse_modes(modes, device_kind)
    wanted = Wanted(
        parse_numbers("batch", batches),
        parse_numbers("context", contexts),
        parse_numbers("new", new),
        parse_numbers("eagle_topk", eagle_topk),
    )
    compute, cache, distributions = parse_dtype("dtype", dtype), parse_dtype("kv_dtype", kv_dtype), parse_scores(scores)
    spread_of = parse_spread(spread)
    distribution = parse_lengths(lengths)
    if distribution is not None and distribution.kind == "file" and contexts is not None:
        raise BadField(field="lengths", detail=Message("a file has the contexts; leave {fields.context} out"))
    tp = check_tp(tp)
    if not isinstance(model, Model):
        model = choose_model(model, None, device_kind, operations)
    # Over lengths a step is measured that reads all keys: one that reads a selection takes about the same at each.
    chosen = operations_for(model, operations) if distribution is None else parse_operations(operations)
    notes = list(model.notes)
    has_attention = bool(model.layers) or model.latent is not None
    if compute is None and device_kind == "cpu" and has_attention and model.dtype != "float32":
        compute = "float32"
        slow = "float32 instead of {dtype}, which is slow on most CPUs ({fields.dtype} changes that)"
        notes.append(Message(slow, dtype=model.dtype))
    cache = cache or model.kv_dtype
    rounded = parse_q_dtype(q_dtype, compute or model.dtype, cache, device_kind)
    if rounded is not None and q_dtype is None and model.layers:
        said = "queries are rounded to {rounded}, as SGLang's fa3 does over such a cache ({keep} keeps them)"
        notes.append(Message(said, rounded=rounded, keep=Field("q_dtype", compute or model.dtype)))
    geometries = model.geometries(tp, compute, cache, rounded)

    latent = model.latent_geometry(tp, compute, cache)

    request = SuiteRequest(device_kind, wanted, geometries, spread_of, distributions, latent, captured, distribution)
    workloads: dict[str, AnyWorkload] = {}
    for operation in chosen:
        of = family(operation)
        default = of.default_mode(operation) if device_kind == "cuda" else "eager"
        found = [each for mode in chosen_modes or (default,) for each in of.workloads(model, operation, mode, request)]
        if not found and operations is not None:
            notes.append(joined(": ", (operation, of.why_none(model, operation))))
        workloads.update((workload.key, workload) for workload in found)
    if not workloads:
        reasons = dict.fromkeys(family(operation).why_none(model, operation) for operation in chosen)
        raise EmptySuite(detail=joined(": ", (model.name, joined("; ", reasons))))
    if distribution is not None:
        several = {workload.operation for workload in workloads.values() if workload.length_points}
        if not several:
            raise BadField(field="lengths", detail="is for decode steps, of which no workload is left")
        if several != {workload.operation for workload in workloads.values()}:
            measured = ", ".join(sorted(several))
            notes.append(f"only {measured} is measured over several lengths, the rest at lengths of its own")
        longest, most = max(distribution.lengths, default=0), model.max_context
        if most is not None and longest > most:
            notes.append(f"the longest of these lengths, {longest}, is beyond the model's {most} positions")
    return Suite(
        name=model.name if tp == 1 else f"{model.name}-tp{tp}",
        workloads=tuple(workloads.values()),
        model_type=model.model_type,
        notes=tuple(dict.fromkeys(notes)),
    )
