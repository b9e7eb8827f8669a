"""What came out of the phases: right, the same bits, the same rows with and without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.registry import Device, prepared
from autotune_cli.profiling.path import PathSpec, PhasePlan
from autotune_cli.profiling.recording.batches import part
from autotune_cli.profiling.recording.recorded import Check, PhaseRun
from autotune_cli.profiling.recording.step import Pieces, choose, split_policy
from autotune_cli.sglang.padding import padding_faults


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
        if runs[name].plan.in_pieces:
            found = found.first_rows([problem.q.shape[0] for problem in problems])
            checks.append(_against_unpadded(spec, runs[name].plan, problems, found, policies[name], device))
        checks.append(_right(name, problems, found))
    if not spec.bitwise:
        return checks
    if "eager" in outputs and "replay" in outputs:
        both = zip(outputs["eager"].values, outputs["replay"].values, strict=True)
        pairs = [(_out(a), _out(b)) for a, b in both]
        # Another kernel explains more than another split.
        ways = {name: list(runs[name].candidates) for name in ("eager", "replay")}
        if ways["eager"] == ways["replay"]:
            ways = {name: list(policies[name]) for name in ways}
        names = [row_names(problem) for problem in problems]
        checks.append(_same_bits("replay", pairs, "eager and replay", ways["eager"], ways["replay"], names))
    eager = runs.get("eager")
    if eager is not None and "eager" in outputs and eager.plan.shape in ("paged", "cascade") and eager.plan.planned:
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
        ready = prepared(choose(plan.wanted_of(layer.workload), layer.workload, device), problem)
        pairs.append((output, _out(ready.run())))
        plain.append(split_policy(ready))
    torch.cuda.synchronize()
    must = list(policies) == plain
    what = "real rows padded and not"
    names = [row_names(problem) for problem in problems]
    return _same_bits(plan.name, pairs, what, policies, plain, names, code="padding_changes_rows", must=must)


def _other_composition(
    spec: PathSpec,
    plan: PhasePlan,
    problems: Sequence[Any],
    whole: Outputs,
    policies: Sequence[str],
    device: Device,
) -> Check:
    """Every second request in a batch of its own gives the same bits as beside the others."""
    pairs, halved, names = [], [], []
    for layer, problem, output in zip(spec.layers, problems, whole.values, strict=True):
        half = range(0, len(problem.lengths.qo), 2)
        batch, rows = part(problem, half, spec.page_size)
        ready = prepared(choose(plan.wanted_of(layer.workload), layer.workload, device), batch)
        pairs.append((_out(output)[rows], _out(ready.run())))
        halved.append(split_policy(ready))
        names.append(row_names(problem, half))
    torch.cuda.synchronize()
    what = "the batch and every second request of it alone"
    return _same_bits(plan.name, pairs, what, policies, halved, names)


def row_names(problem: Any, requests: Sequence[int] | None = None) -> list[str]:
    """Of each row of an output, whose it is: a token's of a request, with its sizes; of a selection just the row.

    Args:
        requests: whose rows there are; None: all requests'.
    """
    if not isinstance(problem.lengths, Lengths):
        return [f"row {number}" for number in range(problem.workload.rows)]
    sizes = list(zip(*problem.lengths, strict=True))
    return [
        f"token {token} of request {number} ({new} new of {keys} keys)"
        for number in (range(len(sizes)) if requests is None else requests)
        for new, keys in [sizes[number]]
        for token in range(new)
    ]


def _same_bits(
    phase: str,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    what: str,
    first: Sequence[str],
    second: Sequence[str],
    names: Sequence[Sequence[str]],
    code: str = "bits_differ",
    must: bool = True,
) -> Check:
    """Are they equal bit for bit? If not, the text says how many rows differ, which one is the first, and the cause.

    Args:
        pairs: the outputs of each kind of layer.
        first, second: how each was computed: by which candidate, or how its work was split.
        names: of each kind of layer's rows.
        must: a difference is a violation.
    """
    rows = [(_bits(a) != _bits(b)).flatten(1).any(1).nonzero().flatten().tolist() for a, b in pairs]
    if not any(rows):
        return Check(phase, code, True, f"{what}: bit-equal")
    most = max(float((a.float() - b.float()).abs().max()) for (a, b), wrong in zip(pairs, rows, strict=True) if wrong)
    count, total = sum(map(len, rows)), sum(len(a) for a, _ in pairs)
    layer = next(number for number, wrong in enumerate(rows) if wrong)
    where = names[layer][rows[layer][0]] + (f" in layer {layer}" if len(pairs) > 1 else "")
    ways = next((f" ({a}; {b})" for a, b in zip(first, second, strict=True) if a != b), "")
    text = f"{what}: {count} of {total} rows differ, by up to {most:.2g}, first {where}{ways}"
    return Check(phase, code, not must, text)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(kinds[tensor.element_size()])


def padding_checks(plan: PhasePlan, pieces: Sequence[Pieces]) -> list[Check]:
    """Metadata of the padded batch, and what is left in the padded rows."""
    faults: list[str] = []
    for piece in pieces:
        if piece.padded is not None:
            plain, padded = piece.padded.metadata()
            faults += padding_faults(plain, padded, plan.static_tokens, plan.pad_mode)
        elif bool((piece.output[piece.real :] != 0).any()):
            faults.append("rows beyond the real tokens are not zero")
    if faults:
        return [Check(plan.name, "bad_padding", False, f"padding: {'; '.join(dict.fromkeys(faults))}")]
    real, tokens = pieces[0].real, plan.static_tokens
    if plan.pad_mode == "narrow":
        detail = f"narrowed to {real} of {tokens} tokens, the other rows are zero"
    elif real == tokens:
        detail = f"{tokens} tokens fit exactly: no fake request"
    else:
        padded_by = f"{tokens - real} tokens of a fake request on scratch slot 0"
        detail = f"{real} tokens and {padded_by}; metadata of the real rows bit-identical"
    waits = "planned without waiting for the device"
    if any(piece.is_masked for piece in pieces):
        waits = "planned under a custom mask, which FlashInfer packs: it waits for the device"
    return [Check(plan.name, "bad_padding", True, detail), Check(plan.name, "plan_waits", True, waits)]
