"""What a surface of ours must know of its callers' language. One per surface, shared by all requests, without state."""

from collections.abc import Mapping
from typing import Protocol

from gateway.api.render import Headers
from gateway.catalogue import Terms
from gateway.errors import GatewayError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request


class Dialect(Protocol):
    @property
    def done(self) -> bytes:
        """What follows the very last event of a stream; may be empty."""
        ...

    def decode(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        """Raises InvalidRequestError with the field at fault."""
        ...

    def voice(self, request: Request, terms: Terms, form: Endpoint, /) -> Voice: ...

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Ours, with those added that its clients know by other names."""
        ...

    def render(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        """A refusal: status, headers and body."""
        ...
