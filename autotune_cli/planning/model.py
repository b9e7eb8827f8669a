"""The model of a result, as far as the result says: its layers, of which each workload is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.errors import AutotuneError
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import BaseWorkload
from autotune_cli.kernels.models.catalog import load_model, model_names
from autotune_cli.kernels.models.config import read_config
from autotune_cli.kernels.models.model import LayerKind, Model
from autotune_cli.kernels.models.suite import CPU_MODEL
from autotune_cli.results.schema import RunFile

# Of a number of GPUs.
_MOST_DIGITS = 6


@dataclass(frozen=True)
class ModelOfResult:
    """A model, and over how many GPUs it is served."""

    model: Model
    tp: int = 1
    config: str = ""
    """The file that describes it, where it isn't one of the catalog's."""

    @property
    def path(self) -> str:
        """What a server is told to load: a repository, or the folder of a config.json; empty: not known.

        A config.json whose folder can't stand in a script as it is, or another file, says nothing of where weights are.
        """
        if self.config:
            file = Path(self.config)
            folder = str(file.parent)
            known = file.name == "config.json" and folder.isprintable() and not folder.startswith("-")
            return folder if known else ""
        source = self.model.source
        return "" if "/" not in source or " " in source else source

    def layers(self, workload: BaseWorkload) -> int | None:
        """How many of the model's layers call the workload once a step; None: not known."""
        if isinstance(workload, AttentionWorkload):
            return next((kind.count for kind in self.model.layers if self._is_of(kind, workload)), None)
        if self.model.latent is not None:
            # A sparse indexer selects in each layer of latent attention.
            return self.model.latent.count
        return sum(kind.count for kind in self.model.layers) or None

    def _is_of(self, kind: LayerKind, workload: AttentionWorkload) -> bool:
        geometry = workload.geometry
        try:
            own = kind.geometry(geometry.dtype, geometry.kv_dtype, self.tp, "", geometry.q_dtype)
        except AutotuneError:
            return False
        return own.model_copy(update={"dtype": geometry.dtype, "kv_dtype": geometry.kv_dtype}) == geometry


def model_of(run: RunFile) -> ModelOfResult | None:
    """The model that a run tuned, by its command line, or else by its name; None: neither says."""
    options = _options(run.command)
    tp = _number_of_gpus(options.get("tp", ""))
    name = options.get("model", "")
    config = options.get("config", "")
    try:
        if config and _is_file(config):
            return ModelOfResult(read_config(config), tp, config)
        if name.strip().lower() == CPU_MODEL.name:
            return ModelOfResult(CPU_MODEL, tp)
        if name:
            return ModelOfResult(load_model(name), tp)
    except AutotuneError:
        pass
    known = [
        model for model in (*model_names(), CPU_MODEL.name) if run.name == model or run.name.startswith(f"{model}-")
    ]
    if config or not known:
        return None
    longest = max(known, key=len)
    rest = run.name.removeprefix(longest)
    if rest.startswith("-tp"):
        tp = _number_of_gpus(rest[3:])
    return ModelOfResult(CPU_MODEL if longest == CPU_MODEL.name else load_model(longest), tp)


def _number_of_gpus(text: str) -> int:
    """As a command line has it; what can't be one is taken for 1."""
    return max(1, int(text)) if text.isdecimal() and len(text) <= _MOST_DIGITS else 1


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        # Too long for a name, a NUL in it.
        return False


def _options(command: Sequence[str]) -> dict[str, str]:
    """Values of a command line's long options."""
    found: dict[str, str] = {}
    words = list(command)
    # A file that was put together by a program may have no command line.
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            found[name] = value if equals else following
    return found
