"""The optional second look: an encoder reads the prompts whose complexity lies near the policies' steps.

Off unless a folder is configured, because on public data it does not pay: see bench/routing. Whatever goes wrong here,
the first stage's score stands.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from gateway.config import DeepScoring
from gateway.errors import ConfigError
from gateway.scoring.batcher import MicroBatcher, Vector
from gateway.scoring.contract import Prompt
from gateway.scoring.quality import SLOPE
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.values import Score

MOST = 1.0
"""Logits by which an encoder may move a difficulty, whatever the text: nobody knows what gadgets it falls for."""

_SURE = 1e-6
_TOGETHER_ON_GPU = 16


class Deep:
    def __init__(
        self,
        batcher: MicroBatcher,
        head: Callable[[float, Vector], float],
        metrics: Metrics,
        *,
        band: tuple[float, float],
    ) -> None:
        """`head` gives the refined difficulty, from the first one and the encoder's vector."""
        self._batcher = batcher
        self._head = head
        self._metrics = metrics
        self._low, self._high = band

    def is_near(self, score: Score) -> bool:
        """Whether a second look may change the route: a caller who names his model has chosen."""
        has_choice = len(score.p_good) > 1
        return has_choice and self._low <= score.complexity <= self._high and not score.is_degraded

    async def refine(self, prompt: Prompt, score: Score) -> Score:
        """The score with a complexity that the encoder has had its say in, or the same score. Never raises."""
        if not prompt.user:
            return score
        vector = await self._batcher(prompt.user)
        if vector is None:
            return score
        first = _logit(score.complexity)
        refined = self._head(first, vector)
        if not math.isfinite(refined):
            self._metrics.degraded("deep_failed")
            return score
        return moved(score, _sigmoid(min(max(refined, first - MOST), first + MOST)))

    async def run(self) -> None:
        """The encoder at work, until cancelled."""
        await self._batcher.run()


def open_deep(settings: DeepScoring, metrics: Metrics, log: Logger) -> Deep:
    """Loads the encoder and its head, and runs the one to see that the other fits. Raises ConfigError."""
    # Those who leave it off need none of the packages that it needs.
    from gateway.scoring.deep_head import PROBE, load
    from gateway.scoring.encoder import Encoder

    folder = Path(settings.folder).expanduser()
    encoder = Encoder(folder, threads=settings.threads, max_tokens=settings.max_tokens)
    head = load(folder / "head.json")
    try:
        probe = encoder([PROBE])[0]
    except Exception as exc:  # the runtime's errors share no class but this one
        raise ConfigError(f"{folder}: its encoder does not run: {type(exc).__name__}") from exc
    head.check(probe)
    on_gpu = encoder.provider != "CPUExecutionProvider"
    batcher = MicroBatcher(
        encoder,
        metrics,
        log,
        timeout_s=settings.timeout_ms / 1000,
        max_batch=settings.max_batch or (_TOGETHER_ON_GPU if on_gpu else 1),
        max_waiting=settings.max_waiting,
    )
    log.info("score.encoder_loaded", provider=encoder.provider, folder=str(folder))
    return Deep(batcher, head, metrics, band=settings.band)


def moved(score: Score, complexity: float) -> Score:
    """The same score at another complexity: each model's odds fall by SLOPE per unit of it, as in `quality.p_good`."""
    shift = SLOPE * (complexity - score.complexity)
    return msgspec.structs.replace(score, complexity=complexity, p_good=_shifted(score.p_good, shift))


def _shifted(p_good: Mapping[str, float], shift: float) -> dict[str, float]:
    return {id_: _sigmoid(_logit(chance) - shift) for id_, chance in p_good.items()}


def _logit(share: float) -> float:
    share = min(max(share, _SURE), 1 - _SURE)
    return math.log(share / (1 - share))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
