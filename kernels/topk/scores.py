"""Scores to select from, by the name of their distribution: what a sparse indexer gives, and what breaks kernels.

A kernel that sorts scores into the bins of a histogram fails where one bin holds too many of them; others fail at ties
on the boundary, at the ends of the number range, or where the best lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import torch

_OUTLIER = 1e37
_CLUSTERS = (-8.0, 8.0)
_CLUSTER_WIDTH = 1e-3
# Above all normal scores, below what lies behind a row's end.
_END = 1e20
# The share of an indexer's scores that is below zero, in rows that have such.
_BELOW = 1 / 16
# Bits of 1.0 as a float32, of which the lower ones are drawn.
_ONE = 0x3F800000
_SIGN = -(1 << 31)


def draw(
    case: str, out: torch.Tensor, k: int, first: int, lengths: tuple[int, ...], generator: torch.Generator
) -> None:
    """Fill float32 ``out`` [n, width], rows ``first`` and on of a problem, with the scores of a case.

    Args:
        case: a name of :data:`autotune_cli.kernels.base.Distribution`, or any other for the one of ``infinite``
            without +inf, with the best scores at both ends of a row.
        lengths: valid scores of each of the rows.
    """
    simple = _SIMPLE.get(case)
    if simple is not None:
        simple(out, generator)
    elif case == "tie_free":
        _draw_tie_free(out, lengths, generator)
    elif case == "relu":
        _draw_relu(out, k, first, lengths, generator)
    elif case == "outlier":
        _draw_outlier(out, first, lengths, generator)
    elif case == "plateau":
        _draw_plateau(out, k, lengths, generator)
    elif case == "zeros":
        _draw_zeros(out, k, first, lengths, generator)
    elif case == "clusters":
        chance = torch.rand(out.shape, generator=generator, device=out.device)
        out.normal_(generator=generator).mul_(_CLUSTER_WIDTH).add_(_CLUSTERS[0])
        out.add_((chance < _column(_kept(k, first, lengths), out)) * (_CLUSTERS[1] - _CLUSTERS[0]))
    else:
        _draw_ends(case, out, k, first, lengths, generator)


def rounded(case: str, scores: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Drawn scores in the type that the workload has; the largest stay finite."""
    if case == "largest":
        end = torch.finfo(dtype).max
        return scores.clamp(-end, end).to(dtype)
    return scores.to(dtype)


def _kept(k: int, first: int, lengths: tuple[int, ...]) -> list[float]:
    """The fraction of each row to keep: half of k scores in rows 0, 2 ..., more than k but not all in the others."""
    fractions = []
    for i, length in enumerate(lengths, start=first):
        count = min(2 * k, (k + length) // 2) if i % 2 else k // 2
        fractions.append(min(1.0, count / max(1, length)))
    return fractions


def _cut(fraction: float) -> float:
    """Where to cut a normal distribution so that this fraction of it lies above."""
    if fraction <= 0.0:
        return math.inf
    return NormalDist().inv_cdf(1.0 - fraction) if fraction < 1.0 else -10.0


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]


def _ends(lengths: tuple[int, ...], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 [n, 1]: the column of each row's last valid score (of an empty row, the first), and of its first one."""
    last = torch.tensor([max(0, length - 1) for length in lengths], device=like.device)[:, None]
    return last, torch.zeros_like(last)


def _draw_normal(out: torch.Tensor, generator: torch.Generator) -> None:
    out.normal_(generator=generator)


def _draw_equal(out: torch.Tensor, generator: torch.Generator) -> None:
    out.fill_(0.75)


def _draw_narrow(out: torch.Tensor, generator: torch.Generator) -> None:
    """All in one bin of a half-precision histogram: what broke sgl-kernel's fast_topk."""
    out.uniform_(1.0, 1.245, generator=generator)


def _draw_tie_free(out: torch.Tensor, lengths: tuple[int, ...], generator: torch.Generator) -> None:
    """A permutation, row by row, of distinct values evenly spaced in their exponent, from -1024 to 1024. The two
    largest are a row's first and last score, which a kernel that begins too late or ends too early doesn't see.

    Neighbours differ by 28 / width of their size, 200 float32 steps or more at a width of 2**20; half are negative.
    """
    width = out.shape[1]
    t = (torch.arange(width, dtype=torch.float64, device=out.device) + 0.5) * (2.0 / width) - 1.0
    values = (t.sign() * torch.exp2(20.0 * t.abs() - 10.0)).float()
    order = torch.rand(out.shape, generator=generator, device=out.device).argsort(dim=1)
    for rank, end in enumerate(_ends(lengths, out), start=1):
        here = (order == width - rank).int().argmax(1, keepdim=True)
        order.scatter_(1, here, order.gather(1, end)).scatter_(1, end, max(0, width - rank))
    torch.take(values, order, out=out)


def _draw_denormal(out: torch.Tensor, generator: torch.Generator) -> None:
    """Numbers from 1.8e-40 to 1.18e-38, where normal ones begin, of both signs: a kernel that flushes them to zero
    can't tell them apart. In a bfloat16 they are no zeros either.
    """
    bits = torch.randint(2 << 16, 1 << 23, out.shape, generator=generator, device=out.device, dtype=torch.int32)
    negative = torch.rand(out.shape, generator=generator, device=out.device) < 0.5
    out.copy_(torch.where(negative, bits | _SIGN, bits).view(torch.float32))


def _sharing(low_bits: int) -> Callable[[torch.Tensor, torch.Generator], None]:
    """Scores from 1.0 on that differ in their ``low_bits`` lowest bits only; of few of these many are ties."""

    def draw_sharing(out: torch.Tensor, generator: torch.Generator) -> None:
        low = torch.randint(0, 1 << low_bits, out.shape, generator=generator, device=out.device, dtype=torch.int32)
        out.copy_((low | _ONE).view(torch.float32))

    return draw_sharing


def _rounded(dtype: torch.dtype) -> Callable[[torch.Tensor, torch.Generator], None]:
    """Normal scores of an indexer that computes in this type: ties at every boundary."""

    def draw_rounded(out: torch.Tensor, generator: torch.Generator) -> None:
        out.copy_(out.normal_(generator=generator).to(dtype))

    return draw_rounded


def _draw_exponential(out: torch.Tensor, generator: torch.Generator) -> None:
    out.exponential_(generator=generator)


def _sorted(descending: bool) -> Callable[[torch.Tensor, torch.Generator], None]:
    """The best lie side by side, at the row's end or its beginning: where rows are shared out, one block has all."""

    def draw_sorted(out: torch.Tensor, generator: torch.Generator) -> None:
        out.copy_(out.normal_(generator=generator).sort(dim=1, descending=descending).values)

    return draw_sorted


_SIMPLE: dict[str, Callable[[torch.Tensor, torch.Generator], None]] = {
    "normal": _draw_normal,
    "equal": _draw_equal,
    "narrow": _draw_narrow,
    "denormal": _draw_denormal,
    "shared16": _sharing(16),
    "shared24": _sharing(8),
    "bf16": _rounded(torch.bfloat16),
    "fp8": _rounded(torch.float8_e4m3fn),
    "exponential": _draw_exponential,
    "ascending": _sorted(descending=False),
    "descending": _sorted(descending=True),
}


def _draw_relu(out: torch.Tensor, k: int, first: int, lengths: tuple[int, ...], generator: torch.Generator) -> None:
    """Zeros, and some scores above: in rows 0, 2 ... fewer than k, in the others more. In rows 0, 4 ... the zeros are
    -0.0 and a sixteenth of the scores lie below, as an indexer's are whose heads have negative weights.
    """
    cut = _column([_cut(fraction) for fraction in _kept(k, first, lengths)], out)
    out.normal_(generator=generator)
    weighted = slice(-first % 4, None, 4)
    below = out[weighted].clone()
    out.sub_(cut).clamp_min_(0.0)
    zero = torch.where(below < _cut(1.0 - _BELOW), below, -0.0)
    out[weighted] = torch.where(out[weighted] > 0.0, out[weighted], zero)


def _draw_outlier(out: torch.Tensor, first: int, lengths: tuple[int, ...], generator: torch.Generator) -> None:
    """Normal scores with one huge one in each row, below zero in rows 1, 3 ...: bins between the ends hold all others
    in one.
    """
    out.normal_(generator=generator)
    where = torch.rand((out.shape[0], 1), generator=generator, device=out.device) * (
        _column([*map(float, lengths)], out)
    )
    huge = [-_OUTLIER if i % 2 else _OUTLIER for i in range(first, first + len(lengths))]
    out.scatter_(1, where.long().clamp_max_(out.shape[1] - 1), _column(huge, out))


def _draw_plateau(out: torch.Tensor, k: int, lengths: tuple[int, ...], generator: torch.Generator) -> None:
    """k - 1 scores from 1.0 to 2.0 anywhere in a row whose other scores are all equal: one of those must be taken."""
    chance = torch.rand(out.shape, generator=generator, device=out.device)
    beyond = torch.arange(out.shape[1], device=out.device) >= _column([*map(float, lengths)], out)
    places = chance.masked_fill_(beyond, 2.0).argsort(dim=1)[:, : k - 1]
    above = torch.linspace(1.0, 2.0, places.shape[1], device=out.device)
    out.fill_(0.5).scatter_(1, places, above.expand(places.shape))


def _draw_zeros(out: torch.Tensor, k: int, first: int, lengths: tuple[int, ...], generator: torch.Generator) -> None:
    """0.0 and -0.0 at random, which are equal, some scores above and an eighth of the others below: in rows 0, 2 ...
    k / 2 zeros must be taken, in the others none.
    """
    chance = torch.rand(out.shape, generator=generator, device=out.device)
    kept = _column(_kept(k, first, lengths), out)
    out.normal_(generator=generator)
    zero = out.sign().mul_(0.0)
    size = out.abs() + 1e-3
    out.copy_(torch.where(chance < kept, size, torch.where(chance > 0.875 + 0.125 * kept, -size, zero)))


def _draw_ends(
    case: str, out: torch.Tensor, k: int, first: int, lengths: tuple[int, ...], generator: torch.Generator
) -> None:
    """Normal scores, most of them -inf: fewer than k others in rows 0, 2 ..., so that some -inf must be selected.

    The case ``infinite`` also has +inf: about k / 8 of them, more than k in rows 2, 6 ... The case ``largest`` has the
    largest finite numbers instead of infinite ones. In any other case a row's first and last score are the best.
    """
    end = torch.finfo(torch.float32).max if case == "largest" else torch.inf
    out.normal_(generator=generator)
    chance = torch.rand(out.shape, generator=generator, device=out.device)
    kept = _column(_kept(k, first, lengths), out)
    out.masked_fill_(chance >= kept, -end)
    if case not in ("infinite", "largest"):
        for column in _ends(lengths, out):
            out.scatter_(1, column, _END)
    else:
        high = [(2 * k if i % 4 == 2 else k / 8) / max(1, length) for i, length in enumerate(lengths, start=first)]
        out.masked_fill_(chance < _column(high, out), end)
