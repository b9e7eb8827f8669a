"""What the program knows of a model: its attention layers before tensor parallelism, and its top-k."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt, SkipValidation

from autotune_cli.errors import BadGeometry
from autotune_cli.fields import Field, Message, joined
from autotune_cli.kernels.base import DType, Frozen
from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.models.options import check_tp


class LayerKind(Frozen):
    """Attention layers of one shape in a model; heads are those of the whole model."""

    count: PositiveInt
    """Layers of this kind."""
    num_qo_heads: PositiveInt
    num_kv_heads: PositiveInt
    head_dim: PositiveInt
    window: PositiveInt | None = None
    """Tokens a query sees, itself included (Hugging Face's ``sliding_window``); None: all of them."""
    softcap: PositiveFloat | None = None
    sinks: bool = False
    """Does each query head have a learned logit in the softmax's denominator?"""

    def geometry(
        self, dtype: DType, kv_dtype: DType | None, tp: int, where: str, q_dtype: DType | None = None
    ) -> Geometry:
        """The layer on one of ``tp`` GPUs: heads are shared out, KV heads replicated when there are too few.

        ``q_dtype``: what queries are rounded to; only float8_e4m3fn, over a cache of the same dtype.

        Raises:
            BadGeometry: the heads can't be shared out evenly; the message begins with ``where``.
        """
        queries, keys = self.num_qo_heads, self.num_kv_heads
        if queries % tp:
            raise BadGeometry(where=where, detail=f"{queries} query heads don't divide by {tp}")
        if tp <= keys and keys % tp:
            raise BadGeometry(where=where, detail=f"{keys} KV heads don't divide by {tp}")
        if tp > keys and tp % keys:
            detail = f"{keys} KV heads can't be replicated evenly: {tp} is no multiple of {keys}"
            raise BadGeometry(where=where, detail=detail)
        return Geometry(
            num_qo_heads=queries // tp,
            num_kv_heads=max(1, keys // tp),
            head_dim=self.head_dim,
            dtype=dtype,
            kv_dtype=None if kv_dtype == dtype else kv_dtype,
            window_left=None if self.window is None else self.window - 1,
            softcap=self.softcap,
            q_dtype=q_dtype,
            sinks=self.sinks,
        )


class LatentLayers(Frozen):
    """A model's layers of multi-head latent attention, which are alike; heads are those of the whole model."""

    count: PositiveInt | None = None
    """How many they are; None: the file doesn't tell them from layers of other kinds."""
    num_heads: PositiveInt
    kv_lora_rank: PositiveInt
    qk_rope_head_dim: PositiveInt
    qk_nope_head_dim: PositiveInt
    v_head_dim: PositiveInt


class Model(Frozen):
    """A model's kinds of attention layers, and the top-k of its sparse indexer if it has one."""

    name: str
    source: str
    """Where the numbers come from: a Hugging Face repository or a path."""
    model_type: str = ""
    """Hugging Face's name of the architecture, by which some engines choose their kernels."""
    checked: str = ""
    """What the numbers were checked against."""
    dtype: DType = "bfloat16"
    kv_dtype: DType | None = None
    """What the checkpoint's quantisation makes of the KV cache; None: as ``dtype``."""
    num_attention_heads: PositiveInt
    layers: tuple[LayerKind, ...] = ()
    """Full attention first. Empty: the attention is ``latent``, or isn't tuned, see ``notes``."""
    latent: LatentLayers | None = None
    topk: PositiveInt | None = None
    """Keys that a sparse indexer selects for each query; None: the model has none."""
    index_heads: PositiveInt | None = None
    """Query heads of that indexer; None: there is none, or the config.json doesn't say."""
    index_dim: PositiveInt | None = None
    """Numbers of its queries and keys."""
    max_context: PositiveInt | None = None
    """``max_position_embeddings``, in tokens."""
    notes: tuple[SkipValidation[str], ...] = ()
    """For people: what is left out, or differs from the file."""

    @property
    def has_full_layers(self) -> bool:
        """Does any layer see the whole context?"""
        return any(layer.window is None for layer in self.layers)

    def geometries(
        self, tp: int = 1, dtype: DType | None = None, kv_dtype: DType | None = None, q_dtype: DType | None = None
    ) -> tuple[Geometry, ...]:
        """One geometry for each kind of layer, in the order of ``layers``, on one of ``tp`` GPUs.

        ``dtype`` is of queries and outputs (None: the model's), ``kv_dtype`` of the cache (None: the model's too),
        ``q_dtype`` what queries are rounded to.

        Raises:
            BadField: ``tp`` is no positive whole number.
            BadGeometry: the heads don't divide by it.
        """
        tp, where = self._shared_by(tp)
        compute, cache = dtype or self.dtype, kv_dtype or self.kv_dtype
        return tuple(layer.geometry(compute, cache, tp, where, q_dtype) for layer in self.layers)

    def latent_geometry(
        self, tp: int = 1, dtype: DType | None = None, kv_dtype: DType | None = None
    ) -> LatentGeometry | None:
        """Of the layers of latent attention on one of ``tp`` GPUs, each with the whole cache; None: no such layer.

        Raises as :meth:`geometries`.
        """
        tp, _ = self._shared_by(tp)
        if self.latent is None:
            return None
        compute, cache = dtype or self.dtype, kv_dtype or self.kv_dtype
        return LatentGeometry(
            num_heads=self.latent.num_heads // tp,
            kv_lora_rank=self.latent.kv_lora_rank,
            qk_rope_head_dim=self.latent.qk_rope_head_dim,
            qk_nope_head_dim=self.latent.qk_nope_head_dim,
            v_head_dim=self.latent.v_head_dim,
            dtype=compute,
            kv_dtype=None if cache == compute else cache,
        )

    def _shared_by(self, tp: int) -> tuple[int, Message]:
        """The checked number of GPUs, and what leads messages on heads."""
        tp = check_tp(tp)
        where = joined(" ", (self.name, Message("{tp}", tp=Field("tp", tp))))
        if self.num_attention_heads % tp:
            raise BadGeometry(where=where, detail=f"{self.num_attention_heads} query heads don't divide by {tp}")
        return tp, where
