from __future__ import annotations

import pytest
from diff_builders import FAST, SLOW, candidate, env, noisy, report, result, run, session, settings

from autotune_cli.comparing.environment import NOT_RECORDED, Effect, allowed_fields, file_fields
from autotune_cli.comparing.exit_status import exit_status
from autotune_cli.comparing.records import Report
from autotune_cli.errors import UnknownName
from autotune_cli.render.diff_model import environment_lines
from autotune_cli.results.identity import identity, shown_value
from autotune_cli.results.schema import BaselineResult, Ceilings, Environment, RunFile, Settings

TIMES = candidate(FAST, noisy(40, 1))


def made(environment: Environment | None = None, how: Settings | None = None, mode: str = "graph") -> RunFile:
    environment, how = environment or env(), how or settings()
    return run(result((TIMES,), environment=environment, how=how, mode=mode), environment=environment, settings=how)


def code(report: Report) -> int:
    return exit_status(report, ()).exit_code


@pytest.mark.parametrize(
    ("b", "field", "name"),
    [
        (made(env(device="NVIDIA B200")), "device", "gpu"),
        (made(env(multiprocessors=60)), "device", "gpu"),  # a MIG slice
        (made(env(device_kind="cpu", threads=4)), "device", "gpu"),
        (made(how=settings(l2="warm")), "l2", "l2"),
        (made(how=settings(timer="events")), "timer", "timer"),
        (made(mode="eager"), "mode", "mode"),
    ],
)
def test_another_environment_is_not_comparable_unless_it_is_named(b: RunFile, field: str, name: str) -> None:
    refused = report(made(), b)
    assert refused.refusal is not None
    assert f"allow_different={name}" in refused.refusal
    assert code(refused) == 3
    assert not refused.comparisons
    (blocked,) = [item for item in refused.environment if item.effect == Effect.BLOCKS]
    assert blocked.field == field
    assert refused.environment[0] == blocked
    allowed = report(made(), b, [name])
    assert allowed.refusal is None
    assert len(allowed.comparisons) == 1
    assert {item.effect for item in allowed.environment if item.field in (field, "multiprocessors", "threads")} == {
        Effect.ALLOWED
    }
    assert code(allowed) == 0


def test_ceilings_are_no_part_of_the_environment() -> None:
    """They are measured anew in each run, and differ a little each time."""
    compared = report(made(), made(env(**dict.fromkeys(Ceilings.model_fields, 1234.0))))
    assert compared.refusal is None
    assert not compared.environment


def test_other_versions_are_shown_and_compared() -> None:
    other = env(driver="580.2", libraries={"torch": "2.11.0", "flashinfer": "0.7.2"}, variables={"SGLANG_X": ""})
    compared = report(made(), made(other, settings(iterations=50)))
    assert compared.refusal is None
    rows = {item.field: (*item.a, *item.b) for item in compared.environment}
    assert rows == {
        "driver": ("580.1", "580.2"),
        "library flashinfer": ("0.6.18", "0.7.2"),
        "variable SGLANG_X": ("not set", "''"),
        "iterations": ("25", "50"),
    }
    assert {item.effect for item in compared.environment} == {Effect.SHOWN}


def test_two_reasons_are_both_named() -> None:
    refused = report(made(), made(env(device="NVIDIA B200"), settings(l2="warm")), ["l2"])
    assert refused.refusal is not None
    assert "allow_different=gpu " in refused.refusal
    both = report(made(how=settings(timer="events")), made(how=settings(l2="warm")))
    assert both.refusal is not None
    assert "allow_different=l2,timer" in both.refusal


def test_a_cache_with_two_devices_is_compared_on_the_common_one() -> None:
    other = env(device="NVIDIA B200")
    mixed = run(
        result((TIMES,)),
        result((candidate(FAST, noisy(20, 2)),), environment=other),
        environments={**made().environments, **made(other).environments},
        kind="cache",
    )
    compared = report(made(), mixed)
    assert compared.refusal is None
    assert len(compared.comparisons) == 1
    assert compared.comparisons[0].decision.ratio == 1.0


def test_no_workload_in_common() -> None:
    refused = report(session(1, batches=(1,)), session(2, batches=(2,)))
    assert code(refused) == 3
    assert refused.refusal is not None
    assert "no workload in common (A has 'attention.decode 1 x" in refused.refusal
    assert report(session(1), run()).refusal == "B has no workloads"


def test_an_incomplete_run_and_another_suite_are_said() -> None:
    compared = report(session(1), session(2, name="qwen3", complete=False))
    assert [item.field for item in compared.environment] == ["suite"]
    assert compared.notes == ("B: b0.json is not complete",)


def test_names_for_allow_different() -> None:
    assert allowed_fields(["gpu,driver", "cache"]) == {"gpu", "l2"}
    with pytest.raises(UnknownName, match="did you mean 'timer'"):
        allowed_fields(["timr"])


def test_a_default_is_one_only_where_it_is_that_of_both_sides() -> None:
    """Files of two versions may hold winners to two baselines: neither side's default is the other's."""

    def side(default: str) -> RunFile:
        times = (
            candidate(FAST, noisy(40, 1), default=default == FAST),
            candidate(SLOW, noisy(48, 2), default=default == SLOW),
        )
        return run(result(times))

    def defaults(a: str, b: str) -> set[str]:
        return {comparison.candidate for comparison in report(side(a), side(b)).comparisons if comparison.default}

    assert defaults(SLOW, SLOW) == {SLOW}
    assert defaults(SLOW, FAST) == set()


def test_another_baseline_is_another_environment() -> None:
    """An older file names its baseline in the result only, a newer one in its identity."""

    def side(*names: str) -> RunFile:
        made = result((TIMES,))
        held = tuple(BaselineResult(name=name, engine="sglang", candidate=FAST) for name in names)
        return run(made.model_copy(update={"baselines": held}))

    found = {(d.field, d.a, d.b) for d in report(side("sglang"), side("sglang", "vllm")).environment}
    assert ("baseline vllm", ("not measured",), (FAST,)) in found
    assert not any(field == "baseline sglang" for field, _, _ in found)


def test_backends_of_one_side_are_one_line() -> None:
    def of(*backends: str) -> RunFile:
        sources = dict.fromkeys(("lib", *backends), "aaaa")
        entry = result((candidate("lib.slow", noisy(50, 1)),))
        return run(entry.model_copy(update={"identity": identity(entry.workload, env(), settings(), sources, [])}))

    compared = report(of(*(f"old{n}" for n in range(20))), of("new"))
    (item,) = compared.environment
    assert (item.field, len(item.a), item.b) == ("backends", 20, ("new",))
    assert environment_lines(compared.environment) == ["backends old0 / old1 / old10 / 17 more -> new"]
    assert environment_lines(report(of("old"), of()).environment) == ["backends old -> none"]


def test_the_fields_of_a_file_are_those_of_an_identity() -> None:
    """A field under two names would be two differences."""
    of = made(env(variables={"SGLANG_X": ""}))
    held = of.workloads[0].identity
    fields = file_fields(of, of.environment)
    both = set(held) & set(fields)
    assert both >= {
        "device",
        "capability",
        "driver",
        "library torch",
        "variable SGLANG_X",
        "timer",
        "rounds",
        "timeout",
    }
    assert {name: held[name] for name in both} == {name: fields[name] for name in both}
    assert set(fields) - both == {"python", "traffic"}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("variable X", "not set"),
        ("baseline sglang", "not measured"),
        ("source lib", "absent"),
        ("card", NOT_RECORDED),
    ],
)
def test_what_a_side_lacks_has_a_word(field: str, words: str) -> None:
    assert shown_value(field, None, NOT_RECORDED) == words
    assert shown_value(field, "", NOT_RECORDED) == "''"
    assert shown_value(field, "a\nb", NOT_RECORDED) == "'a\\nb'"
