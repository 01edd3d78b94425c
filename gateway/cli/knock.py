"""One question to a server on this machine, at its port or its Unix socket, within a deadline."""

import http.client
import socket
from typing import NamedTuple

from gateway.clock import Clock

_PIECE = 65_536


class Door(NamedTuple):
    host: str = "worker"
    port: int = 0
    socket: str = ""
    """Path of a Unix socket; the host is only a name then."""


class NoAnswerError(Exception):
    pass


def get(
    door: Door, path: str, *, clock: Clock, limit_s: float, key: str = "", max_bytes: int = _PIECE
) -> tuple[int, bytes]:
    """Status and body. Raises NoAnswerError, also for a body that is too long or not whole in time."""
    deadline = clock.monotonic() + limit_s
    connection = _UnixConnection(door, limit_s) if door.socket else _connection(door, limit_s)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        body = b""
        while piece := response.read1(_PIECE):
            body += piece
            if len(body) > max_bytes or clock.monotonic() > deadline:
                raise NoAnswerError
    except (OSError, http.client.HTTPException) as exc:
        raise NoAnswerError from exc
    finally:
        connection.close()
    return response.status, body


def _connection(door: Door, limit_s: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(door.host, door.port, timeout=limit_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, door: Door, limit_s: float) -> None:
        super().__init__(door.host, timeout=limit_s)
        self._path = door.socket
        self._limit_s = limit_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._limit_s)
        self.sock.connect(self._path)
