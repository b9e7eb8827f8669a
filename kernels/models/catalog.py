"""The models that come with the program: one TOML file each, with the fields of its config.json and their source."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from autotune_cli.errors import BadConfig, UnknownName
from autotune_cli.kernels.models.config import model_from_config
from autotune_cli.kernels.models.model import Model

_FOLDER = Path(__file__).parent


@cache
def model_names() -> tuple[str, ...]:
    """The known models' names, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_model(name: str) -> Model:
    """A model by name, in any case, or by its Hugging Face repository id.

    Raises:
        UnknownName: there is none.
    """
    wanted = name.strip().lower()
    if "/" in wanted:
        wanted = next((known for known in model_names() if _read(known).source.lower() == wanted), wanted)
    if wanted not in model_names():
        raise UnknownName("model", name, model_names())
    return _read(wanted)


@cache
def _read(name: str) -> Model:
    path = _FOLDER / f"{name}.toml"
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        repo, checked, note, config = data["repo"], data["checked"], data.get("note"), data["config"]
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(path=str(path), detail=f"a model needs repo, checked and [config]: {error}") from error
    model = model_from_config(config, name=name, where=str(path), source=repo)
    # A note written by hand says what the reader would say, and better.
    notes = (note,) if note else model.notes
    return model.model_copy(update={"checked": checked, "notes": notes})
