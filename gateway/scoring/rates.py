"""How often answers of a kind are good, beside how often they were predicted to be: what is learned between trainings.

Beta-binomial rates whose prior is the mean prediction itself, turned into shifts in logits: first of a category with all
candidates, then of a candidate in it; first with all tenants, then of each. How much weight the prior has is told by
the outcomes: where categories differ no more than by chance, next to nothing shifts.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from gateway.scoring.calibration import Beta, logit_of, sigmoid
from gateway.scoring.calibration_fit import Cell

MOST = 2.0
"""The largest shift in logits, either way: it makes 0.88 of 0.5."""

MOST_SHARED = 0.5
"""The same for what is shared by tenants, at each of its two levels: nobody's outcomes move others' further."""

_SPREAD = 0.05
"""The variance between categories, in squared logits, while nobody knows it: a prior of 80 outcomes of an even chance.
Twice that would learn a little sooner, and four bad answers would halve what is believed of a category."""
_SPREAD_WEIGHT = 200.0
"""What that counts for, in outcomes' information, which is p(1-p) of each: 800 outcomes of an even chance."""
_LEAST_PRIOR, _MOST_PRIOR = 4.0, 400.0
_NONE = 1e-9
_STEPS = 8

_K = TypeVar("_K", bound=Hashable)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of one tenant, candidate and category."""

    tenant: str
    candidate: str
    category: str
    cells: Sequence[Cell]
    curve: Beta
    """What predictions go through before they are shifted."""
    share: float
    """How much of its weight counts among all tenants."""


class CategoryRates(msgspec.Struct, frozen=True, kw_only=True):
    """Shifts in logits. What is known of a tenant's candidate stands for itself; the other three add up."""

    categories: Mapping[str, float] = {}
    candidates: Mapping[tuple[str, str], float] = {}
    """By candidate and category."""
    tenants: Mapping[tuple[str, str], float] = {}
    """By tenant and category."""
    pairs: Mapping[tuple[str, str, str], float] = {}
    """By tenant, candidate and category: all levels together."""

    def shift(self, tenant: str, candidate: str, category: str) -> float:
        known = self.pairs.get((tenant, candidate, category))
        if known is not None:
            return known
        return _bounded(
            self.categories.get(category, 0.0)
            + self.candidates.get((candidate, category), 0.0)
            + self.tenants.get((tenant, category), 0.0)
        )


def category_rates(counted: Iterable[Counted]) -> CategoryRates:
    """What has no category tells nothing of one."""
    kinds = [_Kind(one) for one in counted]
    _level_out(kinds)
    kinds = [kind for kind in kinds if kind.counted.category]
    categories = _level(kinds, lambda one: one.category, shared=True)
    candidates = _level(kinds, lambda one: (one.candidate, one.category), shared=True)
    # Outcomes of nobody in particular are no tenant's.
    kinds = [kind for kind in kinds if kind.counted.tenant]
    tenants = _level(kinds, lambda one: (one.tenant, one.category))
    _level(kinds, lambda one: (one.tenant, one.candidate, one.category))
    pairs = {
        (kind.counted.tenant, kind.counted.candidate, kind.counted.category): _bounded(kind.shift)
        for kind in kinds
    }
    return CategoryRates(categories=categories, candidates=candidates, tenants=tenants, pairs=pairs)


class _Kind:
    """Outcomes, and by how much the levels so far shift them."""

    def __init__(self, counted: Counted) -> None:
        self.counted = counted
        self.shift = 0.0
        self._rows = [(counted.curve.logit(p), weight, good) for p, weight, good in counted.cells]

    def lift(self, by: float) -> None:
        self._rows = [(logit + by, weight, good) for logit, weight, good in self._rows]

    def sums(self, shift: float, share: float = 1.0) -> "_Sums":
        sums = _Sums()
        for logit, weight, good in self._rows:
            sums.add(share * weight, share * good, sigmoid(logit + shift))
        return sums


class _Sums:
    __slots__ = ("good", "information", "predicted", "weight")

    def __init__(self) -> None:
        self.weight = self.good = self.predicted = self.information = 0.0

    def add(self, weight: float, good: float, p: float) -> None:
        self.weight += weight
        self.good += good
        self.predicted += weight * p
        self.information += weight * p * (1 - p)

    def absorb(self, other: "_Sums") -> None:
        self.weight += other.weight
        self.good += other.good
        self.predicted += other.predicted
        self.information += other.information

    def shift(self, spread: float, most: float) -> float:
        mean = self.predicted / self.weight
        prior = min(max(1 / (spread * mean * (1 - mean)), _LEAST_PRIOR), _MOST_PRIOR)
        rate = (prior * mean + self.good) / (prior + self.weight)
        return _bounded(logit_of(rate) - logit_of(mean), most)


def _level_out(kinds: Iterable[_Kind]) -> None:
    """A candidate that is better or worse than predicted in everything is the curve's business: that part is taken out
    first, or what the curve held back for want of outcomes would come in here."""
    pairs: dict[tuple[str, str], list[_Kind]] = {}
    for kind in kinds:
        pairs.setdefault((kind.counted.tenant, kind.counted.candidate), []).append(kind)
    for those in pairs.values():
        lift = _lift(those)
        for kind in those:
            kind.lift(lift)


def _lift(kinds: Sequence[_Kind]) -> float:
    """What brings all predictions together to what was seen, by Newton's method."""
    lift = 0.0
    for _ in range(_STEPS):
        whole = _Sums()
        for kind in kinds:
            whole.absorb(kind.sums(lift))
        if whole.information < _NONE:
            break
        lift += _bounded((whole.good - whole.predicted) / whole.information)
    return lift


def _level(kinds: Sequence[_Kind], key: Callable[[Counted], _K], *, shared: bool = False) -> dict[_K, float]:
    groups: dict[_K, _Sums] = {}
    for kind in kinds:
        share = kind.counted.share if shared else 1.0
        groups.setdefault(key(kind.counted), _Sums()).absorb(kind.sums(kind.shift, share))
    groups = {one: sums for one, sums in groups.items() if sums.information > _NONE}
    spread = _spread(groups.values())
    most = MOST_SHARED if shared else MOST
    shifts = {one: sums.shift(spread, most) for one, sums in groups.items()}
    for kind in kinds:
        kind.shift += shifts.get(key(kind.counted), 0.0)
    return shifts


def _spread(groups: Iterable[_Sums]) -> float:
    """The variance of true shifts between groups, by moments: by chance alone a squared residual is its information."""
    beyond_chance, information = _SPREAD_WEIGHT * _SPREAD, _SPREAD_WEIGHT
    for sums in groups:
        beyond_chance += (sums.good - sums.predicted) ** 2 / sums.information - 1
        information += sums.information
    return max(beyond_chance / information, 1 / _MOST_PRIOR)


def _bounded(shift: float, most: float = MOST) -> float:
    return min(max(shift, -most), most)
