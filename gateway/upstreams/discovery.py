"""Where the list of an upstream's servers comes from, when it is not in the configuration."""

import asyncio
import socket
from pathlib import Path
from typing import Protocol

import anyio.to_thread
from yarl import URL

from gateway.fleet import roster
from gateway.fleet.contract import Endpoint

_ROSTER_EVERY_S = 0.25
_LOOK_UP_EVERY_S = 5.0
_LOOK_UP_S = 5.0


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
        """All that there are now; None: as before, as far as one can tell."""
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

    def __init__(self, url: str) -> None:
        self._url = url
        parsed = URL(url)
        self._host = parsed.host or ""
        self._port = parsed.port or 0

    async def look(self) -> tuple[Endpoint, ...] | None:
        """An error keeps what there was: a name server that fails says nothing of the servers."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return None
        # A server with an address of either kind is one server.
        addresses = {str(at[0]) for family, _, _, _, at in found if family == found[0][0]}
        return tuple([self._endpoint(address) for address in sorted(addresses)]) or None

    def _endpoint(self, address: str) -> Endpoint:
        host = f"[{address}]" if ":" in address else address
        return Endpoint(name=f"{host}:{self._port}", url=self._url, address=address)
