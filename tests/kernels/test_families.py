"""Families: what the program knows of an operation it asks of its family, and names none itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.kernels import workload as workloads
from autotune_cli.kernels.base import BaseWorkload
from autotune_cli.kernels.family import Family, families, family, short_names, step_modes, with_step
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.models import build_suite, load_model, model_names
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.kernels.steps import StepRequest
from autotune_cli.kernels.workload import OPERATIONS, family_names, operations_of, workload_model
from autotune_cli.sglang.resolve import MODES

ROOT = Path(__file__).parents[2]
SUITES = [
    build_suite(name, kind, operations=operations)  # type: ignore[arg-type]
    for kind in ("cuda", "cpu")
    for name, operations in (
        *((name, None) for name in model_names()),
        ("llama-3.1-8b", OPERATIONS),
        ("deepseek-v3.2", OPERATIONS),
    )
]
WORKLOADS = {workload.operation: workload for suite in SUITES for workload in suite.workloads}


def named(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a module that name an operation, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in documents else None
        if isinstance(text, str) and any(operation in text for operation in OPERATIONS):
            yield node.lineno, text


def test_nothing_outside_of_a_familys_folder_names_an_operation() -> None:
    own = tuple(ROOT / "kernels" / name for name in family_names())
    files = [*(ROOT / "autotune_cli").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]
    outside = [path for path in files if not any(path.is_relative_to(folder) for folder in own)]
    assert len(outside) > 150
    assert [(str(path), *found) for path in sorted(outside) for found in named(path)] == []
    # The look-out sees: a family's own files do name them.
    assert list(named(own[0] / "workload.py"))


def test_operations_are_their_familys_and_in_its_order() -> None:
    assert tuple(families()) == family_names() == tuple(sorted(family_names()))
    assert tuple(operation for each in families().values() for operation in each.operations) == OPERATIONS
    for operation in OPERATIONS:
        assert operation in family(operation).operations
        assert REGISTRY.of(operation), "an operation without a backend"


def test_short_names_name_one_thing_each() -> None:
    found = short_names()
    assert len(found) == sum(1 + len(each.short_names) for each in families().values())
    assert all(operation in OPERATIONS for names in found.values() for operation in names)
    for each in families().values():
        assert found[each.name] == each.usual


def test_every_operation_is_in_a_suite_of_a_known_model() -> None:
    assert set(WORKLOADS) == set(OPERATIONS)
    for each in families().values():
        suite = build_suite(each.default_model, "cuda", operations=each.name)
        assert {workload.operation for workload in suite.workloads} == set(each.usual)
        assert set(each.usual) == set(each.operations) - set(each.on_request)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_a_workload_says_of_itself(operation: str) -> None:
    workload = WORKLOADS[operation]
    assert isinstance(workload, workload_model(family(operation).name))
    assert workload.title.startswith(operation)
    assert workload.key.startswith(f"{operation} {workload.shape}")
    assert all(cell and cell.strip("≤").replace("+", "").replace(" on ", "").isdigit() for cell in workload.cells)
    made = family(operation)
    assert made.cost(workload).bytes > 0
    assert made.memory_bytes(workload) > made.cost(workload).bytes / 2
    assert made.default_mode(operation) in ("eager", "graph")


@pytest.mark.parametrize("name", family_names())
def test_what_decides_the_inputs_is_hashed_and_what_describes_is_not(name: str) -> None:
    """Another grid makes no result of before worthless, another judge all of them."""
    names = {path.name for path in families()[name].sources()}
    assert "problem.py" in names
    assert not names & {"family.py", "workload.py", "cost.py", "grids.py"}


def test_every_forward_mode_is_of_a_family_and_a_new_word_is_of_one_alone() -> None:
    """``idle`` runs nothing."""
    assert {mode for mode in MODES if not with_step(mode)} == {"idle"}
    own = [mode for mode in step_modes() if mode not in MODES]
    assert "topk" in own
    assert all(len(with_step(mode)) == 1 for mode in own)


def test_a_profile_asks_families_for_its_layers_and_imports_none() -> None:
    """What records a path handles tensors, of attention's pages too."""
    files = [path for path in (ROOT / "autotune_cli" / "profiling").rglob("*.py") if path.parent.name != "recording"]
    assert len(files) > 25
    packages = tuple(f"autotune_cli.kernels.{name}" for name in family_names())
    imported = [
        (path.name, node.module)
        for path in [*files, ROOT / "autotune_cli" / "commands" / "profile_live.py"]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(packages)
    ]
    assert imported == []


@pytest.mark.parametrize("name", family_names())
def test_a_step_of_a_familys_default_model(name: str) -> None:
    made = families()[name]
    for mode in made.step_modes:
        # A sparse step is of a model that has an indexer.
        model = load_model("deepseek-v3.2" if mode == "sparse_decode" else made.default_model)
        asked = StepRequest(mode, geometries=model.geometries(), latent=model.latent_geometry())
        layers = made.step_layers(model, asked)
        assert layers, mode
        assert all(family(layer.workload.operation) is made for layer in layers)
        assert mode.endswith("decode") or not layers[0].lengths or layers[0].new_tokens > 1


def test_a_step_of_a_family_without_any() -> None:
    made = families()["topk"]
    model = load_model("llama-3.1-8b")
    assert made.step_layers(model, StepRequest("topk")) == []
    assert made.why_no_step(model) == "it has no sparse indexer, so no top-k"
    # One that says nothing of steps: the reason is that of its first operation.
    assert Family.step_layers(made, model, StepRequest("topk")) == ()
    assert Family.why_no_step(made, model) == made.why_none(model, "topk.select")


def test_a_model_without_mla_is_pointed_to_one_that_runs_the_operation() -> None:
    made, model = families()["mla"], load_model("llama-3.1-8b")
    sparse = "it has no multi-head latent attention (MLA); deepseek-v3.2 has"
    assert made.why_no_step(model) == made.why_none(model, "attention.mla_sparse_decode") == sparse
    assert made.why_none(model, "attention.mla_decode").endswith("; deepseek-v3 has")
    assert "no sparse indexer" in made.why_no_step(load_model("deepseek-v3"))


def test_the_inputs_of_a_step_have_its_own_lengths_and_trees() -> None:
    made = families()["attention"]
    geometry = Geometry(num_qo_heads=2, num_kv_heads=1, head_dim=64)
    asked = StepRequest("target_verify", geometries=(geometry,), batch=3, new=6, context=20, eagle_topk=4)
    (layer,) = made.step_layers(load_model("llama-3.1-8b"), asked)
    problem = made.step_problem(layer, "cpu", 3)
    assert (problem.lengths, problem.trees) == (layer.lengths, layer.trees)  # type: ignore[attr-defined]
    assert layer.new_tokens == 18
    (selection,) = families()["topk"].step_layers(load_model("deepseek-v3.2"), StepRequest("topk", batch=2, context=99))
    assert selection.new_tokens == 0
    assert families()["topk"].step_problem(selection, "cpu", 3).device == "cpu"


def test_a_family_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    other: type[BaseWorkload] = workload_model("topk")
    monkeypatch.setattr(workloads, "workload_model", lambda name: other)
    with pytest.raises(TypeError, match=r"operation 'topk.select' of the family 'made' must be called made.<name>"):
        operations_of("made")


@pytest.mark.parametrize("problem", ["attention.decode", "topk.select"])
def test_a_view_for_graphs_has_the_same_tensors(problem: str) -> None:
    fields: dict[str, Any] = {"operation": problem, "mode": "eager"}
    if problem == "topk.select":
        fields |= {"rows": 2, "width": 32, "k": 4}
    else:
        fields |= {"geometry": {"num_qo_heads": 2, "num_kv_heads": 1, "head_dim": 64}, "batch": 2, "context": 20}
    workload = workload_model(family(problem).name).model_validate(fields)
    made = family(problem).make_problem(workload, family(problem).cases(workload)[0], "cpu", 3)
    view = made.for_graphs()
    assert (made.graph, view.graph) == (False, True)
    assert all(a is b for a, b in zip(made.inputs().values(), view.inputs().values(), strict=True))
