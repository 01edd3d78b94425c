"""A line's way through the pipeline: an exchange without a client, in the language of the line's endpoint."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from gateway.catalogue import Terms
from gateway.errors import GatewayError, InvalidRequestError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request


class Language(Protocol):
    """What an endpoint's surface knows of its callers' language."""

    def decode(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request: ...

    def voice(self, request: Request, terms: Terms, form: Endpoint, /) -> Voice: ...

    def render(
        self, error: GatewayError, request_id: str
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]: ...


class LineExchange:
    """Implements `gateway.exchange.Exchange`."""

    headers: Iterable[tuple[bytes, bytes]] = ()
    is_gone = False
    done = b""

    def __init__(self, body: bytes, language: Language) -> None:
        self._body = body
        self._language = language
        self.answer: bytes | None = None

    async def read(self) -> Request:
        request = self._language.decode(self._body, {})
        if request.is_stream:
            raise InvalidRequestError("`stream` has no meaning in a batch; leave it out.", param="stream")
        return request

    def voice(self, request: Request, terms: Terms, form: Endpoint) -> Voice:
        return self._language.voice(request, terms, form)

    def when_gone(self, call: Callable[[], None] | None) -> None:
        """There is nobody who could leave."""

    async def reply(self, body: bytes, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - for clients
        self.answer = body

    async def begin(self, headers: Mapping[str, str]) -> None:
        raise NotImplementedError("a line does not stream")

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        raise NotImplementedError("a line does not stream")
