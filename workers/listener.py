"""Where the worker listens: a TCP port, or a Unix socket that only its own user may open."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from workers.errors import ConfigError

CONNECT_TIMEOUT_S = 2.0


class Listener(NamedTuple):
    sock: socket.socket
    url: str
    """Up to and including `/v1`. On a Unix socket the host is just a name."""
    path: Path | None = None
    """Of the Unix socket."""
    inode: int = 0

    def close(self) -> None:
        """Takes the Unix socket's file away, unless another process has put its own in the place."""
        self.sock.close()
        if self.path is not None and _inode(self.path) == self.inode:
            self.path.unlink(missing_ok=True)


def listen(host: str, port: int) -> Listener:
    """Raises ConfigError if the port is taken. Port 0 takes a free one."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as exc:
        raise ConfigError(f"--host {host}: {exc.strerror}") from exc
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {exc.strerror}; choose another --port") from exc
    shown = f"[{host}]" if ":" in host else host
    return Listener(sock, f"http://{shown}:{sock.getsockname()[1]}/v1")


def listen_unix(path: Path) -> Listener:
    """Raises ConfigError if somebody listens there. What a dead process left behind is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(path)
        sock.bind(str(path))
        path.chmod(0o600)  # nobody can have connected: it does not listen yet
        sock.listen()
    except (OSError, ConfigError) as exc:
        sock.close()
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(f"cannot listen on --uds {path}: {exc.strerror or exc}") from exc
    return Listener(sock, "http://worker/v1", path, _inode(path))


def _make_room(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigError(f"--uds {path} is there already, and is no socket")
    if _is_listening(path):
        raise ConfigError(f"another process listens on --uds {path}")
    path.unlink(missing_ok=True)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError as exc:
            # Anything else, as a full backlog, is a sign of life.
            return exc.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def _inode(path: Path) -> int:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0
