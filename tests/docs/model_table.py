"""The table of models in docs/models.md, made from their files: ``python tests/docs/model_table.py`` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from autotune_cli.kernels.models import LayerKind, Model, load_model, model_names

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
HEAD = "| name | heads | layers | notes | read from |\n|---|---|---|---|---|\n"
TABLE = re.compile(re.escape(HEAD) + r"(\|[^\n]*\|\n)*")


def table() -> str:
    """The header and a row for each model, by name."""
    return HEAD + "".join(_row(load_model(name)) for name in model_names())


def page_with(text: str, made: str) -> str:
    """The page with its table replaced.

    Raises:
        ValueError: it has no such table, or several.
    """
    replaced, count = TABLE.subn(lambda match: made, text)
    if count != 1:
        raise ValueError(f"{count} tables of models on the page")
    return replaced


def _row(model: Model) -> str:
    heads = dict.fromkeys(f"{layer.num_qo_heads}/{layer.num_kv_heads}/{layer.head_dim}" for layer in model.layers)
    if model.latent is not None:
        heads[f"{model.latent.num_heads} on {model.latent.kv_lora_rank}+{model.latent.qk_rope_head_dim}"] = None
    notes = "; ".join([*_facts(model), *model.notes])
    cells = (f"`{model.name}`", ", ".join(heads), ", ".join(_layers(model)), notes, f"`{model.source}`")
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n"


def _layers(model: Model) -> list[str]:
    if len(model.layers) == 1 and model.layers[0].window is None:
        return [str(model.layers[0].count)]
    return [f"{layer.count} {_sees(layer)}" for layer in model.layers]


def _sees(layer: LayerKind) -> str:
    return "full" if layer.window is None else f"window {layer.window}"


def _facts(model: Model) -> list[str]:
    found = [f"softcap {layer.softcap:g}" for layer in model.layers if layer.softcap is not None]
    found += ["attention sinks" for layer in model.layers if layer.sinks]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
