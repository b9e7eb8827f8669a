"""What families of models mean by the fields of their config.json, as publishers and transformers write them."""

from __future__ import annotations

import pytest
from family_configs import LAYERS, NAMES, Case
from hybrid_configs import HYBRIDS, NESTED, SPARSE, WINDOWS
from refused_configs import REFUSED

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models import Model
from autotune_cli.kernels.models.config import model_from_config

TABLES = {"names": NAMES, "layers": LAYERS, "hybrids": HYBRIDS, "windows": WINDOWS, "nested": NESTED, "sparse": SPARSE}
CASES = [pytest.param(case, id=f"{table}-{name}") for table, cases in TABLES.items() for name, case in cases.items()]


def read(config: object) -> Model:
    return model_from_config(config, name="m", where="config.json", source="test")  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES)
def test_family(case: Case) -> None:
    model = read(case.config)
    kinds = [(k.count, k.num_qo_heads, k.num_kv_heads, k.head_dim, k.window) for k in model.layers]
    assert tuple(kinds) == case.kinds
    for words in case.notes:
        assert any(words in note for note in model.notes), model.notes
    assert len(model.notes) >= len(case.notes)
    assert bool(model.notes) == bool(case.notes), model.notes


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_with_the_real_reason(name: str) -> None:
    config, reason = REFUSED[name]
    with pytest.raises(BadConfig) as error:
        read(config)
    assert reason in str(error.value)
    assert "look like" not in str(error.value)


def test_the_windows_of_gemma_2_have_a_softcap_unless_it_is_off() -> None:
    off = WINDOWS["a softcap that is off"].config
    assert {layer.softcap for layer in read(off).layers} == {None}
    assert {layer.softcap for layer in read(off | {"attn_logit_softcapping": 30}).layers} == {30.0}
    default = {name: value for name, value in off.items() if name != "attn_logit_softcapping"}
    assert {layer.softcap for layer in read(default).layers} == {50.0}
