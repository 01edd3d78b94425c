"""A step that finds no memory: how it is taken back, and how much smaller the next ones are."""

from collections.abc import Sequence
from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus

GROW_AFTER = 1_000
"""Steps. One that fails again costs its own time and no more, so growing may be tried often enough to be worth it."""


class StepSize:
    """Tokens of a step, of prompts and answers together: halved when there was no memory for them, and doubled again
    each time that `GROW_AFTER` steps in a row had enough."""

    def __init__(self, most: int) -> None:
        self.tokens = most
        self.failures = 0
        self._most = most
        self._passed = 0

    def passed(self) -> None:
        if self.tokens == self._most:
            return
        self._passed += 1
        if self._passed == GROW_AFTER:
            self.tokens = min(2 * self.tokens, self._most)
            self._passed = 0

    def failed(self, tokens: int) -> bool:
        """`tokens`: how many it had. False if they cannot be fewer."""
        self.failures += 1
        self._passed = 0
        self.tokens = max(min(tokens, self.tokens) // 2, 1)
        return tokens > 1


def take_back(batch: Sequence[Any]) -> None:
    """The requests of a step that was not computed are as they were before it. They keep their memory, and what the
    step has written there is written again."""
    for request in batch:
        state = request.state
        state.position_offset -= request.query_length
        if state.generated_tokens:
            state.tokens_to_process = state.generated_tokens[-1:]
        else:
            state.remaining_prefill_tokens = state.initial_tokens[state.position_offset :]
            state._status = RequestStatus.PREFILLING  # noqa: SLF001 - its setter keeps a diary
