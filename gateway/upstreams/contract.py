"""What a dialect must do, and what it may raise. Knows no money, no retries, no tenants."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from gateway.ticket import Endpoint
from gateway.values import Reservation, Usage

FailureKind = Literal["untranslatable", "connect", "timeout", "refused", "invalid", "interrupted", "busy"]
"""untranslatable: the request cannot be said in its dialect. connect: nothing was sent. refused: it answered with an
error status. invalid: it answered nonsense. interrupted: it broke off. busy: 429, 503 or 529, may say when to come
back."""


ENGINE_SECONDS = "x-weighbridge-engine-seconds"
"""In which a worker says what it took of its engine's time: a header, and a comment in a stream."""


class Aside:
    """What a worker says beside its answer, noted while that is read."""

    __slots__ = ("engine_seconds",)

    def __init__(self) -> None:
        self.engine_seconds = ""
        """As it wrote them; empty: it has not said."""


class UpstreamCall(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. It carries the reservation, because nothing may be sent without one."""

    reservation: Reservation
    upstream: str
    form: Endpoint = "chat"
    """Of the body, and of what is answered: the upstream's own, or one that it can translate."""
    body: dict[str, Any]
    """With the upstream's name of the model."""
    headers: Mapping[str, str] = {}
    """Beside those that all calls have."""
    deadline: float
    """On the clock's monotonic scale; the request's, not the attempt's."""
    aside: Aside | None = None
    """Who listens to what a worker says beside its answer; nobody else is listened to."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, not streamed."""

    body: dict[str, Any]
    """In the form of the call."""
    usage: Usage | None
    """None if the upstream reported none, or nonsense."""
    finish_reasons: tuple[str, ...]
    text: str
    """All generated text, tool arguments included: for counting when no usage was reported."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One server-sent event, parsed just far enough."""

    data: bytes
    """The JSON text after `data: `, on one line, in the form of the call."""
    usage: Usage | None = None
    text: str = ""
    finish_reason: str | None = None
    name: str = ""
    """Of the event, in dialects that name them."""
    is_usage_only: bool = False
    """The extra chunk with empty `choices` that carries only the usage."""


class UpstreamError(Exception):
    """An attempt failed. The message is ours and safe to show; the upstream's body is never in it."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        may_have_charged: bool = False,
        caller_error: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s
        self.may_have_charged = may_have_charged
        """The upstream may have generated something before it failed."""
        self.caller_error = caller_error
        """For a 400, 404, 413 or 422 that blames the request: its `message`, `param` and `code`, strings, capped."""


class Upstream(Protocol):
    """One server in one dialect."""

    @property
    def name(self) -> str: ...

    async def complete(self, call: UpstreamCall) -> Reply:
        """Raises UpstreamError only."""
        ...

    def stream(self, call: UpstreamCall) -> AsyncGenerator[list[Event], None]:
        """Yields the events that arrived together, up to, not including, the dialect's mark of the end. Raises
        UpstreamError only, be it at once; a stream that ends without its mark raises `interrupted`, and an error event
        raises too. Closing the iterator closes the connection."""
        ...

    async def probe(self, timeout_s: float) -> bool:
        """Whether the server answers at all."""
        ...

    async def page(self, url: str, *, timeout_s: float, max_bytes: int) -> bytes | None:
        """As `EndpointHandle.page`."""
        ...

    async def close(self) -> None: ...
