"""The caller's side of a request: how it is read, answered, and noticed to be gone, whatever its dialect."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from gateway.catalogue import Terms
from gateway.errors import GatewayError
from gateway.ticket import Endpoint, Request
from gateway.upstreams.contract import Event


class Voice(Protocol):
    """Tells one answer in the caller's dialect, under the name by which callers know the model.

    A stream's keeps state from event to event. Never fails: what cannot be told is left out by whoever made it.
    """

    def whole(self, body: dict[str, Any]) -> bytes:
        """A whole reply, from its body in the answer's form."""
        ...

    def events(self, events: Sequence[Event]) -> list[bytes]:
        """The frames of these events of a stream, ready to be sent; may be none."""
        ...

    def end(self) -> bytes:
        """The last frames, once the upstream is through; may be empty."""
        ...

    def broken(self, error: GatewayError) -> bytes:
        """The last frame of a stream that broke: no client may take it for whole."""
        ...


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

    def voice(self, request: Request, terms: Terms, form: Endpoint, /) -> Voice:
        """For an answer in this form from the upstream of these terms."""
        ...

    @property
    def done(self) -> bytes:
        """What follows the very last event of a stream."""
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
