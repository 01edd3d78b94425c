"""The scorer's predictions as a tenant has seen them come true: what implements `Calibration`."""

from collections.abc import Iterable

import msgspec

from gateway.scoring.calibration import sigmoid
from gateway.scoring.levels import Learnt, learn
from gateway.values import OutcomeRow, Score


class TenantCalibration:
    """It never changes: `refreshed` makes another, which takes its place."""

    def __init__(self, *, since_ms: int = 0, learnt: Learnt | None = None) -> None:
        """`since_ms`: when the artefact in use began to predict."""
        self._since_ms = since_ms
        self._learnt = learnt

    def adjust(self, tenant: str, score: Score) -> Score:
        """A default that stands for a score is left as it is."""
        learnt = self._learnt
        if learnt is None or score.is_degraded:
            return score
        category = score.category
        p_good = {
            candidate: sigmoid(
                learnt.curve(tenant, candidate).logit(p) + learnt.rates.shift(tenant, candidate, category)
            )
            for candidate, p in score.p_good.items()
        }
        return msgspec.structs.replace(score, p_good=p_good, raw=score.p_good)

    def refreshed(self, rows: Iterable[OutcomeRow], now_ms: int) -> "TenantCalibration":
        """From all outcomes that may count. Takes some 10 us for each row: not for the event loop."""
        return TenantCalibration(since_ms=self._since_ms, learnt=learn(rows, now_ms, self._since_ms))
