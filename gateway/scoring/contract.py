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
    size: Size
    p_good: float | None
    """Its known accuracy on prompts of middling difficulty, if somebody measured it."""


class Scorer(Protocol):
    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Scorable]) -> Sequence[Score]:
        """One Score per prompt: complexity in 0..1 and P(good) for each candidate. Never raises on any text."""
        ...
