"""The shipped scorer as a plain function, for evaluators: `gateway.scoring.evaluate_entry:needs_strong`."""

from collections.abc import Sequence
from functools import cache

import splintr

from gateway.scoring.artefact import SHIPPED, load
from gateway.scoring.model import GraphScorer
from gateway.scoring.prompt import prompt_of


def needs_strong(prompts: Sequence[str]) -> list[float]:
    """For each prompt, as a single user turn, a number that is higher the more it gains from a strong model."""
    scorer = _scorer()
    return [
        scorer.view(prompt_of({"messages": [{"role": "user", "content": text}]})).need for text in prompts
    ]


@cache
def _scorer() -> GraphScorer:
    artefact = load(SHIPPED)
    return GraphScorer(artefact, splintr.Tokenizer.from_pretrained(artefact.manifest.tokenizer).encode_flat)
