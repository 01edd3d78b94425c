"""Which scorer serves: the model where its runtime is installed, else words and length."""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.config import Scoring
from gateway.errors import ConfigError
from gateway.scoring.contract import Scorer
from gateway.scoring.lexical import LexicalScorer
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.scoring.explain import Explainer


class Opened(msgspec.Struct, frozen=True):
    scorer: Scorer
    version: str
    """The artefact's, or `lexical`."""
    since_ms: int
    """When it was made: what was told of predictions before that was told of others."""
    explainer: "Explainer | None" = None
    """Of the model, if that is what serves."""


def open_scorer(settings: Scoring, metrics: Metrics, log: Logger) -> Opened:
    """Raises ConfigError when the model is asked for by name and cannot be had."""
    if settings.engine == "lexical":
        return _lexical()
    try:
        return _model(settings.artefact, settings.threads)
    except ConfigError as exc:
        if settings.engine == "model" or settings.artefact:
            raise
        metrics.degraded("scorer_model")
        log.warning("score.model_unavailable", error=str(exc), instead="lexical")
        return _lexical()


def _lexical() -> Opened:
    return Opened(LexicalScorer(), "lexical", 0)


@lru_cache(maxsize=2)
def _model(folder: str, threads: int) -> Opened:
    """Once in a process, however many gateways it runs: nothing in it changes."""
    try:
        # Those who do without need neither numpy nor onnxruntime.
        from gateway.scoring.artefact import SHIPPED
        from gateway.scoring.explain import open_explainer
    except ImportError as exc:
        raise ConfigError(f"the scorer's model needs {exc.name}: install weighbridge[onnx-cpu]") from exc
    explainer = open_explainer(Path(folder).expanduser() if folder else SHIPPED, threads=threads)
    manifest = explainer.artefact.manifest
    made = datetime.fromisoformat(manifest.created).replace(tzinfo=UTC)
    return Opened(explainer.scorer, manifest.version, round(made.timestamp() * 1000), explainer)
