"""The messages that callers of Anthropic know: what a request is, how an answer is told, and how a refusal."""

from collections.abc import Callable, Mapping

from gateway.api.anthropic.count import estimate
from gateway.api.anthropic.decode import CountDecoder, MessagesDecoder
from gateway.api.anthropic.errors import anthropic_headers, render_error
from gateway.api.anthropic.stream import frame
from gateway.api.anthropic.voice import ChatVoice, NativeVoice
from gateway.api.render import Headers
from gateway.catalogue import Terms
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request

Decode = Callable[[bytes, Mapping[bytes, bytes]], Request]


class MessagesDialect:
    done = frame("message_stop", {})
    """After the comment that tells the cost: clients leave when they have read it."""

    def __init__(self, decode: Decode, clock: Clock) -> None:
        self._clock = clock
        self.decode = decode

    @classmethod
    def of_messages(cls, clock: Clock) -> "MessagesDialect":
        return cls(MessagesDecoder(), clock)

    @classmethod
    def of_counting(cls, clock: Clock) -> "MessagesDialect":
        return cls(CountDecoder(), clock)

    def voice(self, request: Request, terms: Terms, form: Endpoint, /) -> Voice:
        if form == "messages":
            return NativeVoice(terms.offer.model)
        return ChatVoice(
            terms.offer.model,
            message_id=f"msg_{request.id.removeprefix('req_')}",
            input_tokens=estimate(request),
            stops=request.body.get("stop", ()),
            shows_thinking=_shows_thinking(request),
        )

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {**headers, **anthropic_headers(headers, self._clock.now_ms())}

    def render(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        return render_error(error, request_id, self._clock.now_ms())


def _shows_thinking(request: Request) -> bool:
    """Who did not ask for it may take the first block for the answer."""
    thinking = (request.native or {}).get("thinking") or {}
    return thinking.get("type") in ("enabled", "adaptive") and thinking.get("display") != "omitted"
