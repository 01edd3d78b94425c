"""The signals that ask a supervisor to stop, counted instead of raised: no start and no stop is cut in half."""

import signal
from types import FrameType
from typing import Self


class Signals:
    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        heard = [signal.SIGINT, signal.SIGTERM]
        # Whoever started us with nohup wants us to outlive the terminal. Started with `&` by a script we ignore SIGINT
        # at first, and whoever sends it then all the same means it.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            heard.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
