"""The signals that ask a supervisor for something, noted instead of raised: no start and no stop is cut in half."""

import os
import signal
from types import FrameType
from typing import Self


class Signals:
    """SIGINT and SIGTERM ask it to stop; SIGHUP asks it to read its configuration again."""

    def __init__(self) -> None:
        self.count = 0
        self._is_hung_up = False

    def __enter__(self) -> Self:
        # Whoever started us with nohup wants us to outlive the terminal. Started with `&` by a script we ignore SIGINT
        # at first, and whoever sends it then all the same means it.
        outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._ends_with_terminal = not outlives and _has_terminal()
        self._before = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._stop),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._stop),
            signal.SIGHUP: signal.signal(signal.SIGHUP, self._hang_up),
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take_reload(self) -> bool:
        """Whether SIGHUP came since the last time. One that comes because our terminal was closed is a wish to stop."""
        if not self._is_hung_up:
            return False
        self._is_hung_up = False
        if self._ends_with_terminal and not _has_terminal():
            self.count += 1
            return False
        return True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._is_hung_up = True


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
