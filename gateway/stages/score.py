"""Stage 4: how hard is it, and who would get it right. A scorer that fails costs its score, never the request."""

from collections.abc import Sequence

from gateway.catalogue import Offer
from gateway.clock import Clock
from gateway.scoring.contract import Calibration, Scorable, Scorer
from gateway.scoring.deep import Deep
from gateway.scoring.prompt import prompt_of
from gateway.scoring.quality import p_good
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request
from gateway.values import Score


class ScoreStage:
    def __init__(
        self,
        scorer: Scorer,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        *,
        fallback: float,
        timeout_s: float,
        deep: Deep | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._scorer = scorer
        self._deep = deep
        self._calibration = calibration
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._fallback = fallback
        self._timeout_s = timeout_s
        self._scorables: dict[tuple[Offer, ...], tuple[Scorable, ...]] = {}

    def __call__(self, request: Request, offers: tuple[Offer, ...]) -> Score:
        scorables = self._scorables_of(offers)
        if request.kind != "chat":
            return _by_configuration(scorables)
        began = self._clock.monotonic()
        try:
            score = self._scorer.score([prompt_of(request.body)], scorables)[0]
            is_sane = _is_sane(score, scorables)
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            self._metrics.degraded("scorer")
            self._log.warning("score.failed", error=type(exc).__name__)
            return self._default(scorables)
        if self._clock.monotonic() - began > self._timeout_s:
            self._metrics.degraded("scorer_slow")
        if not is_sane:
            self._metrics.degraded("scorer")
            self._log.warning("score.made_no_sense", complexity=str(score.complexity))
            return self._default(scorables)
        return score

    def is_near(self, score: Score) -> bool:
        """Whether to look again. Without a deeper stage nothing is ever near, and scoring stays synchronous."""
        return self._deep is not None and self._deep.is_near(score)

    async def look_again(self, request: Request, score: Score) -> Score:
        """For scores that are near. Takes milliseconds; gives the same score back if nothing comes of it in time."""
        return await self._deep.refine(prompt_of(request.body), score) if self._deep else score

    def for_tenant(self, tenant: str, score: Score) -> Score:
        """With each P(good) as that tenant has seen it come true."""
        return self._calibration.adjust(tenant, score) if self._calibration else score

    def _default(self, scorables: Sequence[Scorable]) -> Score:
        return Score(
            complexity=self._fallback,
            p_good={scorable.id: p_good(self._fallback, scorable) for scorable in scorables},
            is_degraded=True,
        )

    def _scorables_of(self, offers: tuple[Offer, ...]) -> tuple[Scorable, ...]:
        found = self._scorables.get(offers)
        if found is None:
            found = tuple(_scorable(offer) for offer in offers)
            self._scorables[offers] = found
        return found


def _scorable(offer: Offer) -> Scorable:
    return Scorable(
        id=offer.id,
        size=offer.size,
        model=offer.model,
        upstream_model=offer.upstream_model,
        p_good=offer.p_good,
    )


def _by_configuration(scorables: Sequence[Scorable]) -> Score:
    """What is turned into a vector or a verdict is not hard or easy, so only what is known of the models counts."""
    return Score(complexity=0.0, p_good={scorable.id: p_good(0.0, scorable) for scorable in scorables})


def _is_sane(score: Score, scorables: Sequence[Scorable]) -> bool:
    """Comparisons with NaN are false, so NaN fails here too."""
    return 0.0 <= score.complexity <= 1.0 and all(
        0.0 <= score.p_good.get(s.id, -1.0) <= 1.0 for s in scorables
    )
