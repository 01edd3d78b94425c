"""Replies to the very same request of the very same tenant. The tenant is in the key and again in the value."""

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from gateway.values import Usage

_IGNORED = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key"})
"""Fields that do not change an answer."""


class CachedReply(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    key: str
    model: str
    upstream: str
    size: str
    policy: str
    reason: str
    complexity: float
    usage: Usage
    chunks: tuple[bytes, ...]
    """One body, or the events of a stream without the final `[DONE]`."""
    p_good: float | None = None
    category: str = ""


class ReplyStore(Protocol):
    """A key-value store with expiry."""

    def get(self, key: bytes) -> Awaitable[bytes | None]:
        """Asked at once, awaited later. Raises ConnectionError."""
        ...

    def put(self, key: bytes, value: bytes, ttl_s: int) -> asyncio.Future[Any]:
        """On its way at once. The future raises ConnectionError."""
        ...


class ExactCache:
    def __init__(self, store: ReplyStore, *, ttl_s: int, max_entry_bytes: int) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._max_entry_bytes = max_entry_bytes
        self._decoder = msgspec.msgpack.Decoder(CachedReply)
        self._encoder = msgspec.msgpack.Encoder()
        self._canonical = msgspec.json.Encoder(order="deterministic")

    def key(
        self, tenant: str, body: dict[str, Any], *, variant: str, ignored: frozenset[str] = _IGNORED
    ) -> str:
        """SHA-256 over the canonical request; `variant` names what else decides the answer (policy, tier)."""
        relevant = {name: value for name, value in body.items() if name not in ignored}
        return hashlib.sha256(self._canonical.encode((tenant, variant, relevant))).hexdigest()

    def ask(self, tenant: str, key: str) -> Awaitable[bytes | None]:
        """Awaiting it raises ConnectionError."""
        return self._store.get(_store_key(tenant, key))

    def read(self, raw: bytes | None, tenant: str, key: str) -> CachedReply | None:
        """A value that is not this tenant's and this key's is not given out."""
        if raw is None:
            return None
        try:
            found = self._decoder.decode(raw)
        except msgspec.DecodeError:
            return None
        return found if found.tenant == tenant and found.key == key else None

    def put(self, reply: CachedReply) -> asyncio.Future[Any] | None:
        """On its way at once; the future raises ConnectionError. None: it is too large to be kept."""
        raw = self._encoder.encode(reply)
        if len(raw) > self._max_entry_bytes:
            return None
        return self._store.put(_store_key(reply.tenant, reply.key), raw, self._ttl_s)


def _store_key(tenant: str, key: str) -> bytes:
    return f"wb:cache:1:{{{tenant}}}:{key}".encode()
