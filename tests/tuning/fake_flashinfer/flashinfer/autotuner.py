"""Of ``flashinfer.autotuner`` 0.6.18, what this program sees: when its files are read and written, and when not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator


class AutoTuner:
    """One a process."""

    _one: AutoTuner | None = None

    def __init__(self) -> None:
        self.chosen: dict[str, list[object]] = {}
        self.loaded: dict[str, list[object]] = {}
        self.is_tuning_mode = False
        self.dirty = False

    @classmethod
    def get(cls) -> AutoTuner:
        cls._one = cls._one or cls()
        return cls._one

    def choose_one(self, operation: str, tactics: int) -> int:
        """The last tactic, once it was measured; -1, the fallback, outside of a context that tunes."""
        key = f"({operation!r}, 'FakeRunner', ((1, 2),), (torch.bfloat16,))"
        if self.is_tuning_mode and key not in self.loaded and key not in self.chosen:
            self.chosen[key] = ["FakeRunner", tactics - 1]
            self.dirty = True
        return int(str({**self.loaded, **self.chosen}.get(key, ["", -1])[1]))

    def load_configs(self, path: str) -> bool:
        with open(path) as file:
            document = json.load(file)
        document.pop("_generation", None)
        if document.pop("_metadata") != metadata():
            return False
        self.loaded.update(document)
        return True

    def save_configs(self, path: str) -> None:
        """Not over a file of another environment."""
        document = {"_metadata": metadata(), **self.loaded, **self.chosen, "_generation": "sum"}
        if os.path.exists(path):
            with open(path) as file:
                if json.load(file)["_metadata"] != metadata():
                    return
        with open(path, "w") as file:
            json.dump(document, file)
        self.dirty = False


def metadata() -> dict[str, str]:
    return {"flashinfer_version": "0.6.18", "gpu": os.environ.get("FAKE_GPU", "a card")}


@contextlib.contextmanager
def autotune(tune_mode: bool = True, cache: str | None = None) -> Iterator[None]:
    tuner = AutoTuner.get()
    if cache is not None:
        tuner.loaded.clear()
        if os.path.isfile(cache):
            tuner.load_configs(cache)
    tuner.is_tuning_mode = tune_mode
    try:
        yield
    finally:
        tuner.is_tuning_mode = False
        if cache is not None and tune_mode and tuner.dirty:
            tuner.save_configs(cache)
