"""Request ids: sortable by time, and never twice, whichever gateway made them. They are names, not secrets."""

import random
from collections.abc import Callable

from gateway.clock import Clock


class RequestIds:
    def __init__(self, clock: Clock, random_bits: Callable[[int], int] | None = None) -> None:
        """Without `random_bits`, a generator of its own that the system's randomness has seeded: asking the system
        for each id is a system call, 1.4 % of a request's CPU."""
        self._clock = clock
        self._random_bits = random_bits or random.Random().getrandbits  # noqa: S311 - a name, not a secret

    def __call__(self) -> str:
        return f"req_{self._clock.now_ms():012x}{self._random_bits(64):016x}"
