"""What travels through the stages: the request as decoded, the exchange with the client, and the ticket of it all."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from gateway.values import Caller, Entry, Reservation, Score
from policies.contract import Decision


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A billable request, decoded and checked, before anything was decided about it."""

    path: str
    """Of the upstream's API: `/chat/completions`."""
    body: dict[str, Any]
    """As the caller sent it, parsed; what is sent on is encoded from this."""
    body_bytes: int
    """Length of the raw body: no tokenizer makes more tokens of a text than it has bytes."""
    model: str
    is_stream: bool = False
    wants_usage: bool = False
    """The caller asked for the usage chunk of a stream."""
    output_tokens: int | None = None
    choices: int = 1
    needs: frozenset[str] = frozenset()
    is_deterministic: bool = False
    skips_cache: bool = False
    stores_cache: bool = True

    @property
    def output_field(self) -> str:
        """The field in which the caller asked for a ceiling on the answer."""
        return "max_completion_tokens" if "max_completion_tokens" in self.body else "max_tokens"

    @property
    def input_tokens(self) -> int:
        """An estimate: four bytes a token."""
        return max(1, self.body_bytes // 4)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that did not answer, as the caller and the log may see it."""

    model: str
    upstream: str
    reason: str


class Ticket:
    """All that is known of one request so far. Stages fill it in; the log line and the entries are written from it."""

    __slots__ = (
        "cache",
        "caller",
        "decision",
        "entries",
        "failures",
        "first_token_ms",
        "is_settled",
        "request",
        "request_id",
        "reservation",
        "score",
        "started",
        "started_ms",
        "status",
        "upstream_s",
        "was_intended",
    )

    def __init__(self, request_id: str, started: float, started_ms: int) -> None:
        self.request_id = request_id
        self.started = started
        self.started_ms = started_ms
        self.caller: Caller | None = None
        self.request: Request | None = None
        self.reservation: Reservation | None = None
        self.score: Score | None = None
        self.decision: Decision | None = None
        self.failures: list[Failure] = []
        self.entries: list[Entry] = []
        self.cache = "off"
        """off: not asked; miss; hit."""
        self.upstream_s = 0.0
        """Seconds spent waiting for upstreams."""
        self.is_settled = False
        self.was_intended = False
        """The journal holds an intent that must be closed, billed or not."""
        self.first_token_ms: int | None = None
        self.status = 0


class Exchange(Protocol):
    """One HTTP request and its reply, whatever the dialect."""

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]: ...

    @property
    def is_gone(self) -> bool:
        """The client has hung up."""
        ...

    async def read(self) -> Request:
        """Read and decode the body. Raises InvalidRequestError, RequestTimeoutError."""
        ...

    def when_gone(self, call: Callable[[], None] | None) -> None:
        """Call this as soon as the client hangs up (at once if it has); None forgets it."""
        ...

    async def reply(self, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole 200."""
        ...

    async def begin(self, headers: Mapping[str, str]) -> None:
        """The head of a stream."""
        ...

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Bytes of a stream, already framed. Waits while the client is slow; does nothing once it is gone."""
        ...
