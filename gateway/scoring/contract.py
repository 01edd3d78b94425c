"""The scorer's seam: synchronous and batched; the stage owns time and failure."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.values import Score
from policies.contract import Size


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request a scorer may look at."""

    system: str
    user: str
    """The last user turn."""
    history: str
    """All earlier turns."""
    turns: int
    has_tools: bool
    has_images: bool
    wants_json: bool


class Scorable(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate as the scorer knows it."""

    id: str
    """`upstream/model`, unique."""
    size: Size
    model: str = ""
    """The name that callers use."""
    upstream_model: str = ""
    """The upstream's own name of it, by which measured models are known."""
    p_good: float | None = None
    """Its known accuracy on prompts of middling difficulty, if somebody measured it."""


class Scorer(Protocol):
    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Scorable]) -> Sequence[Score]:
        """One Score per prompt: complexity in 0..1 and P(good) for each candidate. Never raises on any text."""
        ...


class Calibration(Protocol):
    """What the tenant's own outcomes say of the scorer's predictions. In memory; takes microseconds; never raises."""

    def adjust(self, tenant: str, score: Score) -> Score:
        """The same score with each P(good) as that tenant has seen it come true."""
        ...
