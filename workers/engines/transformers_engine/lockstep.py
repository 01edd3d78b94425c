"""Several ranks compute each step of one model together: what the first of them decides, told to the others."""

from typing import Any

import torch
from torch import distributed


class Lockstep:
    """Two short messages a step, over the CPU: what is new or closed, before it, and the tokens that were picked."""

    def __init__(self, group: Any, *, is_first: bool, slots: int) -> None:
        """Called by all ranks at the same time. `slots`: rows of one step, at most."""
        self.is_first = is_first
        self._group = group
        self._state = torch.zeros(3, dtype=torch.int64)
        self._tokens = torch.zeros(1 + slots, dtype=torch.int64)
        self.mark = 0
        """Of the step that is computed: ranks that have another one are no longer in step."""

    def state(self, payload_size: int, stop_status: int, pause_requested: int = 0) -> tuple[int, int, int]:
        """In the place of the library's own, in which every rank has a say and each waits for all."""
        self._state.copy_(torch.tensor((payload_size, stop_status, pause_requested)))
        self._broadcast(self._state)
        payload_size, stop_status, pause_requested = self._state.tolist()
        return payload_size, stop_status, pause_requested

    def tell(self, tokens: list[int]) -> None:
        self._tokens[: 1 + len(tokens)] = torch.tensor([self.mark, *tokens])
        self._broadcast(self._tokens)

    def hear(self, count: int) -> list[int]:
        """Raises RuntimeError if this rank was to compute something else than the first."""
        self._broadcast(self._tokens)
        heard: list[int] = self._tokens[: 1 + count].tolist()
        mark, *tokens = heard
        if mark != self.mark:
            raise RuntimeError(f"the ranks are out of step: {self.mark} here, {mark} on the first")
        return tokens

    def _broadcast(self, message: torch.Tensor) -> None:
        distributed.broadcast(message, src=0, group=self._group)
