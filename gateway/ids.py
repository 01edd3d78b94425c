"""Request ids: sortable by time, unguessable after it."""

import secrets
from collections.abc import Callable

from gateway.clock import Clock


class RequestIds:
    def __init__(self, clock: Clock, random_hex: Callable[[int], str] = secrets.token_hex) -> None:
        self._clock = clock
        self._random_hex = random_hex

    def __call__(self) -> str:
        return f"req_{self._clock.now_ms():012x}{self._random_hex(8)}"
