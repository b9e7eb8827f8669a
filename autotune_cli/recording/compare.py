"""What came out of the phases: right, the same bits, the same rows with and without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune_cli.kernels.registry import Device, prepared
from autotune_cli.profiling.live.records import Check, PathSpec, PhasePlan, PhaseRun
from autotune_cli.profiling.padding import padding_faults
from autotune_cli.recording.inputs import part
from autotune_cli.recording.step import Pieces, choose, split_policy


@dataclass(frozen=True)
class Outputs:
    """Of a phase, one a kind of layer: ``out``, or ``(out, lse)``."""

    values: tuple[Any, ...]

    @classmethod
    def of(cls, outputs: Sequence[Any]) -> Outputs:
        """Copies: the next phase may write into the same tensors."""
        return cls(tuple(_copied(output) for output in outputs))

    def first_rows(self, rows: Sequence[int]) -> Outputs:
        """Without the padding behind them."""
        return Outputs(tuple(_out(value)[:count] for value, count in zip(self.values, rows, strict=True)))


def _copied(output: Any) -> Any:
    if isinstance(output, tuple | list):
        return tuple(_copied(value) for value in output)
    return output.clone() if isinstance(output, torch.Tensor) else output


def _out(output: Any) -> torch.Tensor:
    value = output[0] if isinstance(output, tuple) else output
    assert isinstance(value, torch.Tensor)
    return value


def compare_phases(
    spec: PathSpec,
    problems: Sequence[Any],
    outputs: Mapping[str, Outputs],
    runs: Mapping[str, PhaseRun],
    policies: Mapping[str, Sequence[str]],
    device: Device,
) -> list[Check]:
    """All comparisons of what the phases left behind.

    Args:
        outputs, runs, policies: by phase; ``policies`` are how each kind of layer's work was split.
    """
    checks: list[Check] = []
    for name, found in outputs.items():
        if name == "piecewise":
            found = found.first_rows([problem.q.shape[0] for problem in problems])
            checks.append(_against_unpadded(spec, runs[name].plan, problems, found, policies[name], device))
        checks.append(_right(name, problems, found))
    if not spec.bitwise:
        return checks
    if "eager" in outputs and "replay" in outputs:
        both = zip(outputs["eager"].values, outputs["replay"].values, strict=True)
        pairs = [(_out(a), _out(b)) for a, b in both]
        checks.append(_same_bits("replay", pairs, "eager and replay", policies["eager"], policies["replay"]))
    eager = runs.get("eager")
    if eager is not None and "eager" in outputs and eager.plan.shape == "paged" and eager.plan.planned:
        checks.append(_other_composition(spec, eager.plan, problems, outputs["eager"], policies["eager"], device))
    return checks


def _right(name: str, problems: Sequence[Any], found: Outputs) -> Check:
    """Against the exact attention (or selection) that `tune` judges by."""
    verdicts = [problem.check(output) for problem, output in zip(problems, found.values, strict=True)]
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    if wrong:
        return Check(name, "wrong_output", False, f"the output is wrong: {wrong[0].message}")
    worst = max(verdicts, key=lambda verdict: verdict.error)
    return Check(name, "wrong_output", True, f"output right: {worst.measure} {worst.error:.2g} (limit {worst.limit:g})")


def _against_unpadded(
    spec: PathSpec,
    plan: PhasePlan,
    problems: Sequence[Any],
    found: Outputs,
    policies: Sequence[str],
    device: Device,
) -> Check:
    """Real rows as of a batch without padding: bit for bit, unless padding has the work split otherwise.

    Then they must be as close as the judge asks; see :func:`_right`.
    """
    pairs, plain = [], []
    for layer, problem, output in zip(spec.layers, problems, found.values, strict=True):
        ready = prepared(choose(plan.wanted, layer.workload, device), problem)
        pairs.append((output, _out(ready.run())))
        plain.append(split_policy(ready))
    torch.cuda.synchronize()
    must = list(policies) == plain
    what = "real rows padded and not"
    return _same_bits(plan.name, pairs, what, policies, plain, code="padding_changes_rows", must=must)


def _other_composition(
    spec: PathSpec,
    plan: PhasePlan,
    problems: Sequence[Any],
    whole: Outputs,
    policies: Sequence[str],
    device: Device,
) -> Check:
    """Every second request in a batch of its own gives the same bits as beside the others."""
    pairs, halved = [], []
    for layer, problem, output in zip(spec.layers, problems, whole.values, strict=True):
        half = range(0, len(problem.lengths.qo), 2)
        view, rows = part(problem, half, spec.page_size)
        ready = prepared(choose(plan.wanted, layer.workload, device), view)
        pairs.append((_out(output)[rows], _out(ready.run())))
        halved.append(split_policy(ready))
    torch.cuda.synchronize()
    return _same_bits(plan.name, pairs, "the batch and every second request of it alone", policies, halved)


def _same_bits(
    phase: str,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    what: str,
    first: Sequence[str],
    second: Sequence[str],
    code: str = "bits_differ",
    must: bool = True,
) -> Check:
    """Are they equal bit for bit?

    Args:
        first, second: how the work of each was split.
        must: a difference is a violation.
    """
    differing = [(a, b) for a, b in pairs if not torch.equal(_bits(a), _bits(b))]
    if not differing:
        return Check(phase, code, True, f"{what}: bit-equal")
    most = max(float((a.float() - b.float()).abs().max()) for a, b in differing)
    rows = sum(int((_bits(a) != _bits(b)).flatten(1).any(1).sum()) for a, b in differing)
    total = sum(len(a) for a, _ in pairs)
    split = next((f" ({a}; {b})" for a, b in zip(first, second, strict=True) if a != b), "")
    return Check(phase, code, not must, f"{what}: {rows} of {total} rows differ, by up to {most:.2g}{split}")


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(kinds[tensor.element_size()])


def padding_checks(spec: PathSpec, pieces: Sequence[Pieces]) -> list[Check]:
    """Metadata of the padded batch, and what is left in the padded rows."""
    faults: list[str] = []
    for piece in pieces:
        if piece.padded is not None:
            plain, padded = piece.padded.metadata()
            faults += padding_faults(plain, padded, spec.static_tokens, spec.pad_mode)
        elif bool((piece.output[piece.real :] != 0).any()):
            faults.append("rows beyond the real tokens are not zero")
    if faults:
        return [Check("piecewise", "bad_padding", False, f"padding: {'; '.join(dict.fromkeys(faults))}")]
    real, tokens = pieces[0].real, spec.static_tokens
    if spec.pad_mode == "narrow":
        detail = f"narrowed to {real} of {tokens} tokens, the other rows are zero"
    elif real == tokens:
        detail = f"{tokens} tokens fit exactly: no fake request"
    else:
        padded_by = f"{tokens - real} tokens of a fake request on scratch slot 0"
        detail = f"{real} tokens and {padded_by}; metadata of the real rows bit-identical"
    return [
        Check("piecewise", "bad_padding", True, detail),
        Check("piecewise", "plan_waits", True, "planned without waiting for the device"),
    ]
