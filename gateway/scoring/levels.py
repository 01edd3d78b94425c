"""From outcomes to a curve for each tenant and candidate.

Four levels, each fitted around the one above, so that whoever has few outcomes borrows from those who have more: all
outcomes; a candidate's with all tenants; a tenant's with all candidates; a tenant's with a candidate. On top of them
stand the shifts by category.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from gateway.scoring.calibration import IDENTITY, Beta
from gateway.scoring.calibration_fit import NOTHING, Spread, Tally, fit_beta, merged, moved, step
from gateway.scoring.rates import CategoryRates, Counted, category_rates
from gateway.values import OutcomeRow

HALF_LIFE_MS = 30 * 86_400_000
"""After a month an outcome counts for half."""
ENOUGH = 200.0
"""Of a candidate's outcomes, no user's and no source's within a tenant, and no tenant's among all, count for more than
all others together or for so many, whichever is more."""
OTHER_ARTEFACT = 0.25
"""What an outcome counts for whose prediction an earlier artefact made: it tells of the level, less of the shape."""
FIRST = Spread(shift=0.7, slope=0.5, bend=0.2)
"""Between the heads and all outcomes together."""
NEAR = Spread(shift=0.4, slope=0.3, bend=0.1)
"""Between a level and the one above it. The four together are as wide as the prior of a fit by itself: the outcomes of
a tenant alone go through all four."""

OWN = Spread(shift=0.7, slope=0.5, bend=0.2)
"""Between what others say and a tenant's own outcomes of a candidate: as wide as a fit by itself, since what is borrowed
is bounded."""
BORROWED_OF_ALL, BORROWED = 0.35, 0.7
"""Logits by which the outcomes of others may move a prediction: those of other candidates, and of the same one. A tenant
who calls everything bad makes the same model look worse to others, and cannot take it from them."""

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")
_LOOKED_AT = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What outcomes say. As it stands here: nothing."""

    everyone: Beta = IDENTITY
    candidates: Mapping[str, Beta] = {}
    tenants: Mapping[str, Beta] = {}
    """What to add to the curve of a candidate that the tenant has no outcomes of."""
    pairs: Mapping[tuple[str, str], Beta] = {}
    """By tenant and candidate."""
    rates: CategoryRates = CategoryRates()

    def curve(self, tenant: str, candidate: str) -> Beta:
        found = self.pairs.get((tenant, candidate))
        if found is None:
            found = self.candidates.get(candidate, self.everyone)
            added = self.tenants.get(tenant)
            if added is not None:
                found = moved(found, added)
        return found


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of a tenant and a candidate."""

    tenant: str
    candidate: str
    categories: Mapping[str, Tally]
    whole: Tally
    share: float
    """How much of its weight counts among all tenants."""


def learn(rows: Iterable[OutcomeRow], now_ms: int, since_ms: int) -> Learnt:
    """`since_ms`: when the artefact in use began to predict; what was told before that was predicted by another."""
    pairs = _pairs(rows, now_ms, since_ms)
    by_candidate = _grouped(pairs, lambda pair: pair.candidate)
    shared = {
        candidate: merged((pair.whole, pair.share) for pair in those if pair.tenant)
        for candidate, those in by_candidate.items()
    }
    all_cells = merged((tally, 1.0) for tally in shared.values()).cells()
    everyone = held(fit_beta(all_cells, spread=FIRST), BORROWED_OF_ALL)
    # What an operator measured is nobody's in particular: he may say what he likes of his models.
    measured = {
        pair.candidate: fit_beta(pair.whole.cells(), everyone, FIRST) for pair in pairs if not pair.tenant
    }
    candidates = {}
    for candidate, tally in shared.items():
        around = measured.get(candidate, everyone)
        candidates[candidate] = held(fit_beta(tally.cells(), around, NEAR), BORROWED, around)
    tenants = {
        tenant: step([(candidates[pair.candidate], pair.whole.cells()) for pair in those], NEAR)
        for tenant, those in _grouped(pairs, lambda pair: pair.tenant).items()
        if tenant  # outcomes of nobody in particular are no tenant's
    }
    curves = {
        (pair.tenant, pair.candidate): _own(
            pair, candidates[pair.candidate], tenants.get(pair.tenant, NOTHING)
        )
        for pair in pairs
    }
    return Learnt(
        everyone=everyone, candidates=candidates, tenants=tenants, pairs=curves, rates=_rates(pairs, curves)
    )


def held(curve: Beta, most: float, around: Beta = IDENTITY) -> Beta:
    """The curve, drawn towards another until no prediction is further from that one's than so many logits."""
    moves = max(abs(curve.logit(p) - around.logit(p)) for p in _LOOKED_AT)
    share = min(1.0, most / moves) if moves else 1.0
    return Beta(
        a=around.a + (curve.a - around.a) * share,
        b=around.b + (curve.b - around.b) * share,
        c=around.c + (curve.c - around.c) * share,
    )


def shares(weights: Mapping[_K, float]) -> dict[_K, float]:
    """The part of each one's weight that counts, by `ENOUGH`."""
    total = sum(weights.values())
    return {
        one: min(1.0, max(ENOUGH, total - weight) / weight) if weight else 1.0
        for one, weight in weights.items()
    }


def _own(pair: _Pair, candidate: Beta, tenant: Beta) -> Beta:
    found = pair.whole.cells()
    return fit_beta(found, moved(candidate, tenant, found), OWN)


def _rates(pairs: Iterable[_Pair], curves: Mapping[tuple[str, str], Beta]) -> CategoryRates:
    return category_rates(
        Counted(
            tenant=pair.tenant,
            candidate=pair.candidate,
            category=category,
            cells=tally.cells(),
            curve=curves[pair.tenant, pair.candidate],
            share=pair.share,
        )
        for pair in pairs
        for category, tally in pair.categories.items()
    )


def _pairs(rows: Iterable[OutcomeRow], now_ms: int, since_ms: int) -> list[_Pair]:
    usable = [row for row in rows if _is_usable(row)]
    tallies = {
        pair: _tallies(those, now_ms, since_ms)
        for pair, those in _grouped(usable, lambda row: (row.tenant, row.candidate)).items()
    }
    wholes = {pair: merged((tally, 1.0) for tally in those.values()) for pair, those in tallies.items()}
    among_all = {
        (tenant, candidate): share
        for candidate, those in _grouped(wholes, lambda pair: pair[1]).items()
        for (tenant, _), share in shares({pair: wholes[pair].weight for pair in those}).items()
    }
    return [
        _Pair(
            tenant=pair[0],
            candidate=pair[1],
            categories=tallies[pair],
            whole=wholes[pair],
            share=among_all[pair],
        )
        for pair in tallies
    ]


def _tallies(rows: Sequence[OutcomeRow], now_ms: int, since_ms: int) -> dict[str, Tally]:
    """By category."""
    weights = [_weight(row, now_ms, since_ms) for row in rows]
    # Without a user a machine judged: the bound on its source is enough.
    weights = _bounded(weights, [row.user or None for row in rows])
    weights = _bounded(weights, [row.source for row in rows])
    tallies: dict[str, Tally] = {}
    for row, weight in zip(rows, weights, strict=True):
        if row.p_good is not None:
            tallies.setdefault(row.category, Tally()).add(row.p_good, row.value, weight)
    return tallies


def _is_usable(row: OutcomeRow) -> bool:
    """Comparisons with NaN are false. A row without a prediction says nothing of predictions."""
    p = row.p_good
    return bool(row.candidate) and row.weight > 0 and p is not None and 0 <= p <= 1 and 0 <= row.value <= 1


def _weight(row: OutcomeRow, now_ms: int, since_ms: int) -> float:
    share = OTHER_ARTEFACT if row.created_ms < since_ms else 1.0
    age = max(now_ms - row.created_ms, 0) / HALF_LIFE_MS
    return float(row.weight * share * 0.5**age)


def _bounded(weights: Sequence[float], whose: Sequence[str | None]) -> list[float]:
    sums: dict[str | None, float] = defaultdict(float)
    for who, weight in zip(whose, weights, strict=True):
        sums[who] += weight
    share = shares(sums) | {None: 1.0}
    return [weight * share[who] for who, weight in zip(whose, weights, strict=True)]


def _grouped(items: Iterable[_T], by: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    groups: dict[_K, list[_T]] = defaultdict(list)
    for item in items:
        groups[by(item)].append(item)
    return groups
