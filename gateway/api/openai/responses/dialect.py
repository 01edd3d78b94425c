"""The Responses API, as a surface: a chat whose conversation comes whole with every request."""

from collections.abc import Mapping

from gateway.api.openai.dialect import OpenAIDialect
from gateway.api.openai.responses.decode import ResponsesDecoder
from gateway.api.openai.responses.refusals import MOVED, MovedParameterError
from gateway.api.openai.responses.voice import ResponsesVoice
from gateway.api.render import Headers, render
from gateway.catalogue import Terms
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.ticket import Endpoint, Request


class ResponsesDialect(OpenAIDialect):
    done = b""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decode = ResponsesDecoder()

    def decode(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        return self._decode(raw, headers)

    def voice(self, request: Request, terms: Terms, _form: Endpoint, /) -> ResponsesVoice:
        return ResponsesVoice(request, terms.offer.model, lambda: self._clock.now_ms() // 1000)

    def render(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        if error.param is not None and not isinstance(error, MovedParameterError):
            # What was found wrong with the chat is told of the field from which that was made.
            name = error.param.partition(".")[0].partition("[")[0]
            if name in MOVED:
                error.message = error.message.replace(f"'{name}'", f"'{MOVED[name]}'")
                error.param = MOVED[name]
        return render(error, request_id)
