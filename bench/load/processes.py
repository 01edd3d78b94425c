"""Starting and stopping what is measured, and reading what it costs from /proc. Linux only."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from errors import BenchError

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STORE_NAMES = ("valkey", "redis")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process tree has used, its key-value stores apart."""

    cpu_s: float
    store_cpu_s: float
    rss_mib: float
    store_rss_mib: float


class Process:
    """A program in a process group of its own, so that its whole tree can be stopped. Its output goes to a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in stop()
        # It makes Python programs that retry a failing import compile on each request: unfair to them.
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self.popen = subprocess.Popen(
            command,
            env={**inherited, **(env or {})},
            cwd=cwd,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def last_words(self) -> str:
        self.log.seek(0)
        return self.log.read()[-2000:].strip()

    def wait_for_port(self, port: int, *, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if not self.is_running():
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise BenchError(f"{self.name} does not listen on port {port}:\n{self.last_words()}")

    def cost(self) -> Cost:
        cpu = {True: 0.0, False: 0.0}
        rss = {True: 0.0, False: 0.0}
        for pid in descendants(self.pid):
            # A process may end between the listing and the reading.
            with suppress(OSError, IndexError):
                name, fields = _stat(pid)
                is_store = name.startswith(STORE_NAMES)
                cpu[is_store] += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
                rss[is_store] += int(fields[21]) * PAGE_BYTES / 2**20
                if not is_store:
                    cpu[False] += (
                        int(fields[13]) + int(fields[14])
                    ) / TICKS_PER_S  # children that have ended
        return Cost(cpu_s=cpu[False], store_cpu_s=cpu[True], rss_mib=rss[False], store_rss_mib=rss[True])

    def stop(self) -> None:
        for number, patience_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(patience_s)
        self.log.close()


def descendants(pid: int) -> list[int]:
    """The process and all that came from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed, many times a second
        if entry.isdigit():
            with suppress(OSError, IndexError):
                children.setdefault(int(_stat(int(entry))[1][1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def thread_cpu_s(pid: int) -> dict[int, float]:
    """What each living thread of a process has used."""
    used = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError, IndexError):
            fields = _stat(f"{pid}/task/{task.name}")[1]
            used[int(task.name)] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return used


def _stat(process: int | str) -> tuple[str, list[str]]:
    """The name of a process or thread, and the fields of its stat file from the third (state) on."""
    name, _, rest = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(")")
    return name, rest.split()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_priority(nice: int) -> None:
    """For this process and what it will start, also where Linux shares time among sessions. Below 0: root only."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        Path("/proc/self/autogroup").write_text(str(nice))
