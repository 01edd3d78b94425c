"""What the stages need of the journal and the ledger."""

from typing import Literal, Protocol

import msgspec

from gateway.values import Entry, NanoUSD, Price, ScopeKind, Settlement, Spent

Dimension = Literal[
    "tenant", "user", "key", "model", "upstream", "size", "tier", "policy", "outcome", "day", "month"
]
DIMENSIONS: tuple[Dimension, ...] = (
    "tenant",
    "user",
    "key",
    "model",
    "upstream",
    "size",
    "tier",
    "policy",
    "outcome",
    "day",
    "month",
)


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Written, durable, before an attempt is sent: enough to bill it if the process dies."""

    draft: Entry
    """As it would be billed if nothing more were known: our count of the input, cost of that, outcome `lost`."""
    worst: NanoUSD
    price: Price
    epoch: str


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a request: its entries (none if no attempt can have been billed) and what releases its hold."""

    entries: tuple[Entry, ...]
    settlement: Settlement


class JournalUnavailableError(Exception):
    """The journal cannot make a record durable (disk full, I/O error). Nothing that costs money may be sent."""


class Journal(Protocol):
    async def intend(self, intent: Intent) -> None:
        """Durable when it returns. Raises JournalUnavailableError."""
        ...

    def progress(self, request_id: str, attempt: int, output_tokens: int, engine_us: int = 0) -> None:
        """How much has been relayed so far, and what of an engine's time that may be; written with the next batch, not waited for."""
        ...

    async def conclude(self, closing: Closing) -> None:
        """Durable when it returns; the shipper takes it from here. Raises JournalUnavailableError."""
        ...

    @property
    def unshipped(self) -> int:
        """Entries concluded and not yet in the ledger."""
        ...


class SpendQuery(msgspec.Struct, frozen=True, kw_only=True):
    by: tuple[Dimension, ...] = ("tenant",)
    from_ms: int | None = None
    """Inclusive, on `created_ms`."""
    to_ms: int | None = None
    """Exclusive."""
    tenant: str | None = None


class SpendRow(msgspec.Struct, frozen=True, kw_only=True):
    """One group. `group` has a value for each dimension asked for; days are `2026-11-21`, UTC."""

    group: dict[str, str]
    requests: int
    cache_hits: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    engine_us: int
    """Microseconds of workers' engines."""
    cost: NanoUSD
    suspense: NanoUSD
    estimated_cost: NanoUSD
    """The part of `cost` whose usage the upstream did not report."""


class LedgerStore(Protocol):
    """Synchronous: callers run it in a thread."""

    def post(self, entries: list[Entry]) -> int:
        """Insert, ignoring entries that are there; how many were new."""
        ...

    def spent(self, tenant: str, window: str) -> dict[tuple[ScopeKind, str], Spent]: ...

    def spend(self, query: SpendQuery) -> list[SpendRow]: ...
