"""Who is computed in a step: what decodes before what is read, and within each who goes first by rank.

A request begins when there is memory for its whole prompt, and nobody passes one that waits for that. When running
answers outgrow the memory, the one that goes last is put back into the line, to be read again later.
"""

from collections.abc import Sequence
from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus
from transformers.generation.continuous_batching.scheduler import FIFOScheduler

from workers.engines.transformers_engine.blocks import Blocks, Needs
from workers.engines.transformers_engine.pace import Pace
from workers.engines.transformers_engine.row import Row
from workers.engines.transformers_engine.steps import StepSize


class RankScheduler(FIFOScheduler):  # type: ignore[misc]  # the library has no types
    cache: Blocks
    active_requests: dict[str, Any]

    def __init__(self, base: FIFOScheduler, step: StepSize, pace: Pace | None) -> None:
        super().__init__(base.cache, base.safety_margin, base.max_requests_per_batch)
        self.step = step
        self.pace = pace
        self.put_back = 0
        """Times that a running answer had to give its memory away."""
        self._budget = 0
        self._steps = 0

    def schedule_batch(self, token_budget: int, cache_budget: int) -> Any:
        self._budget = min(token_budget, self.step.tokens)
        if self.pace is not None:
            decoding = sum(state.status == RequestStatus.DECODING for state in self.active_requests.values())
            waiting = len(self.active_requests) - decoding + len(self.waiting_requests)
            self._budget = min(self._budget, decoding + self.pace.piece(decoding, waiting=waiting))
        self._make_room()
        self._line_up()
        batch = super().schedule_batch(self._budget, cache_budget)
        self.starved_requests.sort(key=lambda starved: row_of(starved[0]).rank)
        self._steps += 1
        for request in batch[0] or ():
            row_of(request.state).served_at = self._steps
        return batch

    def clear_cancelled_requests(self) -> list[Any]:
        cancelled: list[Any] = super().clear_cancelled_requests()
        if cancelled:
            self.block_new_requests = False  # the library thinks of this only when an answer ends by itself
        return cancelled

    def _infer_request_tokens(self, state: Any, request_ids_to_remove_from_waiting: set[str]) -> list[int]:
        self.cache.reader = row_of(state)
        tokens: list[int] = super()._infer_request_tokens(state, request_ids_to_remove_from_waiting)
        return tokens

    def _get_waiting_candidates(self) -> list[Any]:
        """As many as the step has tokens for, if the memory has."""
        begun: list[Any] = []
        running = self.active_requests.values()
        owed = [self._owed(state) for state in running]
        tokens = sum(_next_tokens(state) for state in running)
        for state in sorted(self.waiting_requests.values(), key=lambda state: row_of(state).rank):
            owed.append(self.cache.needs_at_first(state, row_of(state)))
            is_alone = not running and not begun
            if tokens >= self._budget or not (self.cache.make_room(owed) or is_alone):
                break
            begun.append(state)
            tokens += _next_tokens(state)
        return begun

    def _owed(self, state: Any) -> Needs:
        """The rest of a prompt; and to who decodes a block, so that it can go on for a while."""
        if state.status == RequestStatus.DECODING:
            return dict.fromkeys(self.cache.cache_allocators, 1)
        return self.cache.needs(state, _next_tokens(state) + 1)

    def _make_room(self) -> None:
        """For what runs to take its next step, the first in rank first."""
        states = sorted(self.active_requests.values(), key=lambda state: row_of(state).rank)
        needs = self._next_needs(states)
        while len(states) > 1 and not self.cache.make_room(needs):
            self._put_back(states.pop())
            needs.pop()

    def _next_needs(self, states: Sequence[Any]) -> list[Needs]:
        left = self._budget - sum(state.status == RequestStatus.DECODING for state in states)
        needs = []
        for state in states:
            tokens = 1
            if state.status != RequestStatus.DECODING:
                tokens = min(_next_tokens(state), max(left, 0))
                left -= tokens
            needs.append(self.cache.needs(state, tokens))
        return needs

    def _put_back(self, state: Any) -> None:
        again = state.create_equivalent_initial_request()
        state._status = RequestStatus.FINISHED  # noqa: SLF001 - its setter keeps a diary
        self.finish_request(state.request_id)
        self.add_waiting_request(again)
        self.block_new_requests = True
        self.put_back += 1

    def _line_up(self) -> None:
        """By rank; but if not even every answer gets a token in this step, those first that were longest without."""
        is_short = len(self.active_requests) > self._budget

        def turn(item: tuple[str, Any]) -> tuple[int, float]:
            row = row_of(item[1])
            return (row.served_at if is_short else 0, row.rank)

        self.active_requests = dict(sorted(self.active_requests.items(), key=turn))


def row_of(state: Any) -> Row:
    row: Row = state.logit_processor_kwargs["row"]
    return row


def _next_tokens(state: Any) -> int:
    return len(state.remaining_prefill_tokens) or 1
