"""Named places where a test may kill the process, so that crash tests are exact instead of lucky."""

import os
import signal


class Failpoints:
    """Does nothing unless armed: `crash_at` names the one place at which the process kills itself."""

    __slots__ = ("_crash_at",)

    def __init__(self, crash_at: str | None = None) -> None:
        self._crash_at = crash_at

    def reach(self, name: str) -> None:
        if self._crash_at == name:
            os.kill(os.getpid(), signal.SIGKILL)
