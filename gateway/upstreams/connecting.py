"""The way to an endpoint: its socket, its one address, or whatever its host's name resolves to."""

import socket
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.fleet.contract import Endpoint

KEEP_ALIVE_S = 15.0


def connector(endpoint: Endpoint, *, limit: int) -> aiohttp.BaseConnector:
    """Of at most so many connections. Belongs to the loop that runs it."""
    if endpoint.socket:
        return aiohttp.UnixConnector(endpoint.socket, limit=limit, keepalive_timeout=KEEP_ALIVE_S)
    resolver = _OneAddress(endpoint.address) if endpoint.address else None
    return aiohttp.TCPConnector(
        limit=limit, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=30, resolver=resolver
    )


class _OneAddress(AbstractResolver):
    """Resolves every name to the address that it was given: the URL keeps the name, for Host and TLS."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the address has one
    ) -> list[ResolveResult]:
        is_v6 = ip_address(self._address.partition("%")[0]).version == 6
        return [
            {
                "hostname": host,
                "host": self._address,
                "port": port,
                "family": socket.AF_INET6 if is_v6 else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
        ]

    async def close(self) -> None:
        """There is nothing to close."""
