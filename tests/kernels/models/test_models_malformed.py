"""Values that no model has: one line that names the field, whatever family's file they stand in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from family_configs import LAYERS, NAMES
from hybrid_configs import HYBRIDS, NESTED, SPARSE, WINDOWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models import Model
from autotune_cli.kernels.models.config import model_from_config

TABLES = (NAMES, LAYERS, HYBRIDS, WINDOWS, NESTED, SPARSE)
FILES = {name: case.config for table in TABLES for name, case in table.items()}


def set_field(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of ``config`` with another value under ``path``."""
    changed = copy.deepcopy(config)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def paths(config: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in config.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += paths(value, (*before, key))
    return found


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("falcon-40b of 2023", "n_head_kv", "8", "n_head_kv must be a whole number, not '8'"),
        ("falcon-40b of 2023", "n_head_kv", 7, "n_head_kv is 7, which doesn't divide 128 (n_head)"),
        ("falcon-40b of 2023", "n_head_kv", -8, "n_head_kv is -8, which no model has"),
        ("falcon-40b of 2023", "n_head", 10**9, "n_head is 1000000000, which no model has"),
        ("falcon-40b", "multi_query", "yes", "multi_query must be true or false, not 'yes'"),
        ("dbrx", "attn_config", 12, "attn_config must be an object, not 12"),
        ("dbrx", "attn_config.kv_n_heads", [8], "attn_config.kv_n_heads must be a whole number, not [8]"),
        ("dbrx", "attn_config.kv_n_heads", 5, "attn_config.kv_n_heads is 5, which doesn't divide 48 (n_heads)"),
        ("glm-4-9b-chat", "multi_query_group_num", 5, "multi_query_group_num is 5, which doesn't divide 32"),
        ("glm-4-9b-chat", "num_layers", 10**8, "num_layers is 100000000, which no model has"),
        ("mpt-7b", "n_layers", None, "num_hidden_layers is missing, and so are its other names"),
        ("nemotron-nas", "block_configs", {}, "block_configs must be a list of blocks"),
        ("nemotron-nas", "block_configs", [1], "block_configs[0] must be an object"),
        (
            "nemotron-nas",
            "block_configs",
            [{"attention": {"n_heads_in_group": 7}}],
            "block_configs[0].attention.n_heads_in_group is 7, which doesn't divide 64 query heads",
        ),
        ("deci-lm-7b", "num_key_value_heads_per_layer", [4, 2], "has 2 entries for 4 layers"),
        ("deci-lm-7b", "num_key_value_heads_per_layer", [4, 4, 4, 5], "gives 5 KV heads, which doesn't divide 32"),
        ("deci-lm-7b", "num_key_value_heads_per_layer", [4, 4, 4, "x"], "must be a whole number, not 'x'"),
        ("deci-lm-7b", "num_key_value_heads_per_layer", [0] * 4, "has no number above zero"),
        ("gemma-4-26b saved again", "per_layer_config", {"x": {}}, "per_layer_config has 'x', which is no number of a"),
        ("gemma-4-26b saved again", "per_layer_config", {"5": 1}, "per_layer_config.5 must be an object"),
        ("gemma-4-26b saved again", "per_layer_config", [], "per_layer_config must be an object"),
        ("gemma-4-26b", "global_head_dim", "512", "global_head_dim must be a whole number"),
        ("exaone-4.0-32b", "sliding_window_pattern", "LXG", "sliding_window_pattern must be text of the letters L, G"),
        ("nemotron-h", "hybrid_override_pattern", "M?", "hybrid_override_pattern must be text of the letters"),
        ("jamba", "attn_layer_period", -1, "attn_layer_period is -1"),
        ("gemma-4-26b", "layer_types", ["a\nb"], "layer_types has no softmax attention that is tuned, only 'a\\nb'"),
        ("gemma-4-26b saved again", "per_layer_config", {"\n": {}}, "per_layer_config has '\\n', which is no"),
        ("bamba", "attn_layer_indices", [99], "attn_layer_indices has no softmax attention that is tuned"),
        ("bamba", "attn_layer_indices", "9", "attn_layer_indices must be a list of whole numbers"),
        ("gpt-neo-1.3b", "attention_types", [[["global"], 10**9]], "attention_types must be a list of"),
        ("gemma-3-4b", "text_config.num_attention_heads", 0, "text_config.num_attention_heads is 0"),
        ("qwen2.5-omni", "thinker_config", [], "thinker_config must be an object"),
        (
            "qwen2.5-omni",
            "thinker_config.text_config.hidden_size",
            {},
            "thinker_config.text_config.hidden_size must be a whole number",
        ),
        ("mistral-7b-v0.1", "sliding_window", "4096", "sliding_window must be a whole number, not '4096'"),
        ("mistral-7b-v0.1", "sliding_window", -1, "sliding_window is -1, which no model has"),
        ("step3", "num_attention_groups", 3, "num_attention_groups is 3, which doesn't divide 64"),
        ("baichuan-m1-14b", "num_swa_key_value_heads", 7, "gives 7 KV heads, which doesn't divide 40 query heads"),
    ],
)
def test_a_wrong_field_of_a_family_is_named(name: str, path: str, value: Any, message: str) -> None:
    config = set_field(FILES[name], tuple(path.split(".")), value)
    with pytest.raises(BadConfig) as error:
        model_from_config(config, name="m", where="config.json", source="test")
    assert message in str(error.value)
    assert str(error.value).startswith("config.json: ")
    assert len(str(error.value)) < 250
    assert "\n" not in str(error.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2, 8, 10**9, 10**400, 0.0, -1, 8.0, float("nan"), float("inf"), "8", "", "\ud800"])
    | st.text("abfl_\n16'", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab05", max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_value_anywhere_gives_a_model_or_a_clear_line(name: str, data: st.DataObject) -> None:
    config = FILES[name]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(config)))
        config = set_field(config, path, data.draw(json_values))
    model = read(config)
    if isinstance(model, BadConfig):
        assert len(str(model)) < 400
        assert "\n" not in str(model)
    else:
        assert model.layers or model.topk
        assert len(model.geometries()) == len(model.layers)


def read(config: dict[str, Any]) -> Model | BadConfig:
    """The model, or the one kind of error that a file may lead to."""
    try:
        return model_from_config(config, name="m", where="config.json", source="x")
    except BadConfig as error:
        return error
