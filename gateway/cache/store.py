"""The reply cache's store: GET and SET over whatever client reaches a Redis or Valkey."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol


class Commands(Protocol):
    def execute(self, *args: bytes | str | int) -> asyncio.Future[Any]:
        """On its way before it is awaited, which raises ConnectionError when the store does not answer in time."""
        ...


class RedisReplyStore:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def get(self, key: bytes) -> Awaitable[bytes | None]:
        return self._commands.execute("GET", key)

    def put(self, key: bytes, value: bytes, ttl_s: int) -> asyncio.Future[Any]:
        return self._commands.execute("SET", key, value, "EX", ttl_s)
