"""From a request and a model to kinds of layers, as the families make them."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.fields import Field, Message
from autotune_cli.kernels.family import with_step
from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.models.model import Model
from autotune_cli.kernels.steps import StepLayer, StepRequest
from autotune_cli.profiling.errors import NothingToRun
from autotune_cli.profiling.request import PathRequest


def layers_of(
    request: PathRequest, model: Model, geometries: Sequence[Geometry], latent: LatentGeometry | None
) -> tuple[StepLayer, ...]:
    """The layers of the first family that has any of the model's in this mode.

    Raises:
        BadField: sizes that don't fit the mode.
        NothingToRun: the mode runs nothing, or the model has no such layer.
    """
    found = with_step(request.mode)
    if not found:
        text = "{mode}: no request, so no attention runs"
        raise NothingToRun(detail=Message(text, mode=Field("mode", request.mode)))
    asked = StepRequest(
        mode=request.mode,
        geometries=tuple(geometries),
        latent=latent,
        prefix=request.prefix,
        batch=request.batch,
        new=request.new,
        context=request.context,
        eagle_topk=request.eagle_topk,
        seed=request.seed,
    )
    for family in found:
        if layers := family.step_layers(model, asked):
            return tuple(layers)
    reasons = dict.fromkeys(family.why_no_step(model) for family in found)
    raise NothingToRun(detail=f"{model.name}: {'; '.join(reasons)}")
