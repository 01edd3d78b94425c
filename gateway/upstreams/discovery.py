"""Where the list of an upstream's servers comes from, when it is not in the configuration."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol

import anyio.to_thread
from yarl import URL

from gateway.fleet import roster
from gateway.fleet.contract import Endpoint

_ROSTER_EVERY_S = 0.25
_LOOK_UP_EVERY_S = 5.0
_LOOK_UP_S = 5.0


LookUp = Callable[[str, int], Awaitable[Iterable[str]]]
"""Of a host and a port: addresses, or an OSError."""


async def look_up(host: str, port: int) -> list[str]:
    """As the machine resolves names. A server may have an address of either kind: those of one kind are told."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise OSError(f"{host!r} is no name of a host") from exc
    return [str(at[0]) for family, _, _, _, at in found if family == found[0][0]]


class Source(Protocol):
    @property
    def every_s(self) -> float:
        """How often to look."""
        ...

    @property
    def nothing(self) -> str:
        """What it means that there are no servers."""
        ...

    async def look(self) -> tuple[Endpoint, ...] | None:
        """All that there are now; None: as before. Raises OSError if it cannot be told."""
        ...


class RosterFile:
    """Of a worker that `weighbridge up` runs on this machine."""

    every_s = _ROSTER_EVERY_S

    def __init__(self, path: Path, worker: str) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = ()
        self.nothing = f"no process of the worker {worker!r} is ready"

    async def look(self) -> tuple[Endpoint, ...] | None:
        return await anyio.to_thread.run_sync(self._look)

    def _look(self) -> tuple[Endpoint, ...] | None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return None
        self._seen = seen
        listed = roster.read(self._path)
        return listed.endpoints if listed is not None else ()


class Addresses:
    """All that a host's name resolves to, as of the pods of a headless service."""

    every_s = _LOOK_UP_EVERY_S
    nothing = "its host name has no address"

    def __init__(self, url: str, look_up: LookUp) -> None:
        self._url = url
        parsed = URL(url)
        self._host = parsed.host or ""
        self._port = parsed.port or 0
        self._look_up = look_up
        self._seen: list[str] = []

    async def look(self) -> tuple[Endpoint, ...] | None:
        async with asyncio.timeout(_LOOK_UP_S):
            found = sorted(set(await self._look_up(self._host, self._port)))
        if found == self._seen:
            return None
        self._seen = found
        return tuple(map(self._endpoint, found))

    def _endpoint(self, address: str) -> Endpoint:
        host = f"[{address}]" if ":" in address else address
        return Endpoint(name=f"{host}:{self._port}", url=self._url, address=address)
