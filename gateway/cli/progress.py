"""What a person sees while things start: on standard error, so that standard output holds the result alone."""

import sys
from contextlib import suppress
from datetime import UTC, datetime

from gateway.clock import Clock


class Progress:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()

    def done(self, what: str) -> None:
        self.say(f"{self._clock.monotonic() - self._began:5.1f} s  {what}")

    def event(self, what: str) -> None:
        """What happens when all is up, perhaps days later."""
        at = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        self.say(f"{at:%Y-%m-%dT%H:%M:%SZ}  {what}")

    def say(self, *lines: str) -> None:
        # A terminal that is gone is no reason to stop what goes on.
        with suppress(OSError):
            for line in lines:
                print(f"weighbridge: {line}", file=sys.stderr, flush=True)
