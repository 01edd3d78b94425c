"""The reply cache's store: GET and SET over whatever client reaches a Redis or Valkey."""

from collections.abc import Awaitable
from typing import Any, Protocol

from gateway.cache.exact import CacheUnavailableError


class Commands(Protocol):
    def execute(self, *args: bytes | str | int) -> Awaitable[Any]:
        """Raises ConnectionError when the store does not answer in time."""
        ...


class RedisReplyStore:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def get(self, key: bytes) -> bytes | None:
        try:
            found: bytes | None = await self._commands.execute("GET", key)
        except ConnectionError as exc:
            raise CacheUnavailableError(str(exc)) from exc
        return found

    async def put(self, key: bytes, value: bytes, ttl_s: int) -> None:
        try:
            await self._commands.execute("SET", key, value, "EX", ttl_s)
        except ConnectionError as exc:
            raise CacheUnavailableError(str(exc)) from exc
