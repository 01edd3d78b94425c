"""Whose the engine's time was: every moment is shared out evenly among the answers that run in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Meter:
    """All shares together are the time in which the engine had anything to do."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._read_at_s = now_s()
        self._running = 0
        self._each_s = 0.0
        """What an answer would have had by now that has run from the beginning."""

    @contextmanager
    def running(self, answers: int) -> Iterator[Callable[[], float]]:
        """Gives what tells these answers' share up to now, in seconds."""
        began_s = self._read()
        self._running += answers
        try:
            yield lambda: answers * (self._read() - began_s)
        finally:
            self._read()
            self._running -= answers

    def _read(self) -> float:
        now_s = self._now_s()
        if self._running:
            self._each_s += (now_s - self._read_at_s) / self._running
        self._read_at_s = now_s
        return self._each_s
