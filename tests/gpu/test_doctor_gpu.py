"""``autotune doctor`` on a real GPU."""

from __future__ import annotations

import json

import pytest
import torch
from running import Autotune

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def test_what_a_tuning_needs_is_there(autotune: Autotune) -> None:
    document = json.loads(autotune("doctor", "--device", "cuda", "--format", "json").out)
    found = {finding["name"]: finding for finding in document["findings"]}
    for name in ("driver", "device", "torch", "CUPTI"):
        assert found[name]["state"] == "ok", found[name]
    assert found["load"]["text"].startswith("SM ")
    assert torch.cuda.get_device_name(0) in found["torch"]["text"]


def test_a_gpu_that_is_hidden_is_a_problem(autotune: Autotune) -> None:
    hidden = autotune.with_variables(CUDA_VISIBLE_DEVICES="")
    document = json.loads(hidden("doctor", "--device", "cuda", "--format", "json", code=1).out)
    states = {finding["name"]: finding["state"] for finding in document["findings"]}
    assert (states["devices"], states["torch"]) == ("problem", "problem")
