"""Fits calibration curves to outcomes. A fit starts from a curve that is held true and moves as far as outcomes carry
it: none leave it as it is, and a few move it little.

Plain Python, so that a gateway without numpy calibrates too: outcomes are counted into bins first, and a fit over bins
takes a millisecond however many there were.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gateway.scoring.calibration import IDENTITY, LEAST, MOST, Beta, Calibrator, Isotonic, logit_of, sigmoid
from gateway.scoring.logistic import Peak, Row, most_probable

BIN = 0.2
"""Width in logits: within one, the sigmoid is straight enough for its centre of mass to stand for all in it."""

NOTHING = Beta(a=0.0, b=0.0)
"""What is added to a curve that stays as it is."""

_GRID = tuple(BIN * n for n in range(-35, 36))
_FOLDS = 5
_NONE = 1e-9


class Sample(NamedTuple):
    """What was predicted of an answer, and what it was worth, both 0 to 1."""

    p: float
    value: float
    weight: float = 1.0


class Cell(NamedTuple):
    """Outcomes whose predictions are alike."""

    p: float
    weight: float
    good: float
    """The part of the weight that was good."""


class Spread(NamedTuple):
    """How far curves lie from the one they start from: standard deviations of a normal prior."""

    shift: float
    """In logits at the mean prediction. 1 weighs as much as four outcomes of an even chance."""
    slope: float
    """Of (a + b) / 2."""
    bend: float
    """Of (a - b) / 2; 0 keeps Platt's form."""


UNSEEN = Spread(shift=1.0, slope=0.75, bend=0.25)
"""Between a head and a source that it has not seen. On public data the best shifts have a root mean square of 0.2 to
0.5 where the model was measured elsewhere and 0.9 to 1.9 where only its size is known; the slopes lie 0.2 to 0.8 about
means of 0.5 to 2.3, by source. Of shifts 0.7 to 2 and slopes 0.25 to 1, this is best or near it from 10 to 500
outcomes."""

WIDTHS = (0.1, 1.0)
"""Parts of a spread: a curve is either nearly right as it is, or off by so much. Both are fitted, and count by how well
they explain the outcomes. With ten outcomes of a head that is right, the error rises to 0.084 instead of 0.112; with
ten of one that is off by a logit, it falls to 0.112 instead of 0.103."""


class Tally:
    """Counts outcomes by what was predicted of them."""

    def __init__(self) -> None:
        self._bins: dict[int, list[float]] = {}

    def add(self, p: float, value: float, weight: float) -> None:
        logit = logit_of(p)
        self._sum(math.floor(logit / BIN), weight, weight * value, weight * logit)

    def absorb(self, other: "Tally", share: float = 1.0) -> None:
        for key, sums in other._bins.items():  # noqa: SLF001 - of its own class
            self._sum(key, *(share * term for term in sums))

    @property
    def weight(self) -> float:
        return sum(weight for weight, _, _ in self._bins.values())

    def cells(self) -> list[Cell]:
        """In the order of their predictions."""
        return [
            Cell(sigmoid(logits / weight), weight, good)
            for _, (weight, good, logits) in sorted(self._bins.items())
            if weight > _NONE
        ]

    def _sum(self, key: int, *terms: float) -> None:
        sums = self._bins.setdefault(key, [0.0, 0.0, 0.0])
        for n, term in enumerate(terms):
            sums[n] += term


def merged(parts: Iterable[tuple[Tally, float]]) -> Tally:
    """Each with the share of it that counts."""
    whole = Tally()
    for part, share in parts:
        whole.absorb(part, share)
    return whole


def cells(sample: Iterable[Sample]) -> list[Cell]:
    tally = Tally()
    for one in sample:
        tally.add(*one)
    return tally.cells()


def fit(sample: Sequence[Sample]) -> Calibrator:
    """The simplest family that others do not clearly beat on outcomes kept aside.

    Outcomes beside each other should be independent: folds are made of every fifth.
    """
    families = [family for family, least in _FAMILIES if sum(one.weight for one in sample) >= least]
    losses = [_losses(family, sample) for family in families]
    best = 0
    for n in range(1, len(families)):
        if _is_clearly_less(losses[n], losses[best], sample):
            best = n
    return families[best](cells(sample))


def fit_platt(found: Sequence[Cell], start: Beta = IDENTITY) -> Beta:
    return fit_beta(found, start, UNSEEN._replace(bend=0.0))


def fit_beta(found: Sequence[Cell], start: Beta = IDENTITY, spread: Spread = UNSEEN) -> Beta:
    """The most probable curve, given the outcomes and how far curves lie from `start`."""
    return moved(start, step([(start, found)], spread), found)


def fit_isotonic(found: Sequence[Cell], start: Beta = IDENTITY, *, prior: float = 10.0) -> Isotonic:
    """Pools adjacent violators. Each bin begins with `prior` outcomes as the beta curve has them, so where nothing was
    seen it follows that curve."""
    curve = fit_beta(found, start)
    imagined = [Cell(p, prior, prior * curve(p)) for p in map(sigmoid, _GRID)]
    blocks: list[Cell] = []  # the first field holds the sum of weight * p
    for p, weight, good in sorted([*found, *imagined]):
        block = Cell(weight * p, weight, good)
        while blocks and blocks[-1].good * block.weight >= block.good * blocks[-1].weight:
            last = blocks.pop()
            block = Cell(last.p + block.p, last.weight + block.weight, last.good + block.good)
        blocks.append(block)
    return Isotonic(
        x=tuple(block.p / block.weight for block in blocks),
        y=tuple(min(max(block.good / block.weight, LEAST), MOST) for block in blocks),
    )


_FAMILIES: tuple[tuple[Callable[[Sequence[Cell]], Calibrator], float], ...] = (
    (fit_platt, 0),
    (fit_beta, 200),
    (fit_isotonic, 500),
)
"""From the simplest, with the outcomes from which each is tried. The mean log loss on public data at 200, 500, 1,000
outcomes: 0.6061, 0.6004, 0.6007 for Platt's and beta's, 0.6065, 0.6003, 0.6004 for isotonic."""


def _losses(family: Callable[[Sequence[Cell]], Calibrator], sample: Sequence[Sample]) -> list[float]:
    """Log loss of each outcome by a curve that was fitted without it."""
    losses = [0.0] * len(sample)
    for fold in range(_FOLDS):
        curve = family(cells(one for n, one in enumerate(sample) if n % _FOLDS != fold))
        for n in range(fold, len(sample), _FOLDS):
            q, value = min(max(curve(sample[n].p), LEAST), MOST), sample[n].value
            losses[n] = -value * math.log(q) - (1 - value) * math.log1p(-q)
    return losses


def _is_clearly_less(those: Sequence[float], these: Sequence[float], sample: Sequence[Sample]) -> bool:
    """By more than one standard error of the mean difference."""
    total = sum(one.weight for one in sample)
    differences = [(this - that, one.weight) for this, that, one in zip(these, those, sample, strict=True)]
    mean = sum(difference * weight for difference, weight in differences) / total
    error = math.sqrt(sum((weight * (difference - mean)) ** 2 for difference, weight in differences)) / total
    return mean > error


def moved(start: Beta, by: Beta, found: Sequence[Cell] = ()) -> Beta:
    """Their sum; where it would fall anywhere, the nearest that does not, level with it on the outcomes."""
    a, b, c = start.a + by.a, start.b + by.b, start.c + by.c
    sum_ = Beta(a=max(a, 0.0), b=max(b, 0.0), c=c)
    weight = sum(cell.weight for cell in found)
    if (a >= 0 and b >= 0) or not weight:
        return sum_
    lost = sum(
        cell.weight * ((a - sum_.a) * math.log(cell.p) - (b - sum_.b) * math.log1p(-cell.p)) for cell in found
    )
    return Beta(a=sum_.a, b=sum_.b, c=c + lost / weight)


def step(groups: Iterable[tuple[Beta, Sequence[Cell]]], spread: Spread) -> Beta:
    """What to add to the curves of all groups in common, to bring them nearer to the groups' outcomes."""
    found = [
        (cell, curve.logit(cell.p), logit_of(cell.p), math.log(cell.p) + math.log1p(-cell.p))
        for curve, those in groups
        for cell in those
    ]
    weight = sum(cell.weight for cell, *_ in found)
    if not weight:
        return NOTHING
    logit_0 = sum(cell.weight * logit for cell, _, logit, _ in found) / weight
    bend_0 = sum(cell.weight * bend for cell, *_, bend in found) / weight

    def fitted(width: float) -> Peak:
        wide = [width * one for one in spread]
        return most_probable(
            [
                Row(
                    (wide[0], wide[1] * (logit - logit_0), wide[2] * (bend - bend_0)),
                    offset,
                    cell.weight,
                    cell.good,
                )
                for cell, offset, logit, bend in found
            ]
        )

    peaks = [(width, fitted(width)) for width in WIDTHS]
    highest = max(peak.evidence for _, peak in peaks)
    votes = [math.exp(peak.evidence - highest) for _, peak in peaks]
    shift, slope, bend = (
        one
        * sum(vote * width * peak.at[n] for vote, (width, peak) in zip(votes, peaks, strict=True))
        / sum(votes)
        for n, one in enumerate(spread)
    )
    return Beta(a=slope + bend, b=slope - bend, c=shift - slope * logit_0 - bend * bend_0)
