"""One process that `weighbridge up` runs: it ends when we end, writes into a log of its own, and is stopped in time."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.cli.knock import Door, NoAnswerError, get
from gateway.cli.supervisor import Health
from gateway.clock import Clock
from gateway.config import environment
from gateway.limits.embedded import die_with_parent

MAX_LOG_BYTES = 20_000_000
_POLL_S = 0.05
_PROBE_S = 1.0
_TAIL_BYTES = 8_000
_WRONG_SET_UP = 2
"""With this exit code a part of ours says that its last line tells what to change."""


class Child:
    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        door: Door,
        stop_s: float,
        clock: Clock,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Behind the door, /readyz answers 200 once it is ready. `settings` are added to its environment."""
        self.name = name
        self.log = log
        self._command = command
        self._door = door
        self._settings = settings or {}
        self._stop_s = stop_s
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and before it was started."""
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int | None:
        """None unless it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        self.rotate_log()
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment(), **self._settings},
                start_new_session=True,  # Ctrl-C is for us: parts are stopped in order.
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - it makes two system calls and takes no lock
            )

    def health(self) -> Health:
        try:
            status, body = get(self._door, "/readyz", clock=self._clock, limit_s=_PROBE_S)
        except NoAnswerError:
            return "silent"
        if status == 200:
            return "ready"
        return "leaving" if b'"draining"' in body else "unready"

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def stop(self, is_hurried: Callable[[], bool]) -> None:
        self.terminate()
        self.end(is_hurried)

    def end(self, is_hurried: Callable[[], bool]) -> None:
        """After `terminate`: waits, and kills what has not ended in time, or when somebody is in a hurry."""
        process = self._process
        if process is None:
            return
        deadline = self._clock.monotonic() + self._stop_s
        while process.poll() is None and self._clock.monotonic() < deadline and not is_hurried():
            time.sleep(_POLL_S)
        process.kill()
        process.wait()

    def complaint(self) -> str:
        """What has to be changed before it can run, if it ended for that; else empty."""
        lines = self.last_lines(1) if self.exit_code == _WRONG_SET_UP else []
        return lines[0].partition(": ")[2] if lines else ""

    def last_lines(self, count: int) -> list[str]:
        """Of what it wrote in this run."""
        with self.log.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(self._log_start if self._log_start <= size else 0, size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def rotate_log(self) -> None:
        """One older piece is kept. The process appends, so that it writes on in the emptied file."""
        with suppress(OSError):  # a disk that is full is no reason to stop the process
            if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                with self.log.open("r+b") as log:
                    log.truncate()
