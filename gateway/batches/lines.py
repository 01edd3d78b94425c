"""One line of a batch, run like any request of its caller's."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from gateway.batches.exchange import Language, LineExchange
from gateway.clock import Clock
from gateway.errors import GatewayError, InternalError
from gateway.ledger.batch_work import Answer, Line
from gateway.pipeline import Pipeline
from gateway.telemetry.logs import Logger
from gateway.ticket import Ticket
from gateway.values import Caller

_MAX_FAILURES = 5
"""An upstream that is busy or left alone is waited for until the window ends; one that fails is not asked for ever."""
_PAUSE_S = 5.0


class Setback(msgspec.Struct, frozen=True):
    """Nothing came of it and nothing was charged: to be tried again, not before then."""

    again_ms: int
    is_failure: bool


class Revoked(msgspec.Struct, frozen=True):
    """The key counts no more."""


class RunLine:
    def __init__(
        self,
        pipeline: Pipeline,
        languages: Mapping[str, Language],
        caller_of: Callable[[str], Caller | None],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`languages` by endpoint. `caller_of` takes a key's id and blocks; raises DatabaseUnavailableError."""
        self._pipeline = pipeline
        self._languages = languages
        self._caller_of = caller_of
        self._clock = clock
        self._log = log

    async def __call__(self, line: Line) -> Answer | Setback | Revoked:
        caller = await asyncio.to_thread(self._caller_of, line.key)
        if caller is None:
            return Revoked()
        language = self._languages[line.endpoint]
        exchange = LineExchange(line.body, language)
        ticket = self._pipeline.ticket(is_background=True)
        try:
            await self._pipeline(ticket, exchange, caller)
            if exchange.answer is not None:
                return _answer(ticket, 200, exchange.answer)
            error: GatewayError = InternalError("Something went wrong here.")
        except GatewayError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001 - one line must not stop the others, whatever it meets
            self._log.error("batch.line_failed", request_id=ticket.request_id, exc_info=exc)
            error = InternalError("Something went wrong here; the request id leads to the log.")
        return self._setback(error, line.failures) or _refusal(ticket, language, error)

    def _setback(self, error: GatewayError, failures: int) -> Setback | None:
        """None if there is no use in another try."""
        is_busy = error.status in (429, 503)
        is_failure = error.status in (502, 504) and failures + 1 < _MAX_FAILURES
        if error.should_retry is False or not (is_busy or is_failure):
            return None
        pause_s = max(error.retry_after_s or 0.0, _PAUSE_S * 2**failures)
        return Setback(self._clock.now_ms() + round(pause_s * 1000), is_failure)


def _refusal(ticket: Ticket, language: Language, error: GatewayError) -> Answer:
    status, _, body = language.render(error, ticket.request_id)
    return _answer(ticket, status, body)


def _answer(ticket: Ticket, status: int, body: bytes) -> Answer:
    return Answer(
        request_id=ticket.request_id,
        status_code=status,
        reply=body,
        input_tokens=sum(
            e.input_tokens + e.cached_input_tokens + e.cache_write_tokens + e.cache_write_1h_tokens
            for e in ticket.entries
        ),
        cached_input_tokens=sum(e.cached_input_tokens for e in ticket.entries),
        output_tokens=sum(e.output_tokens + e.reasoning_tokens for e in ticket.entries),
        reasoning_tokens=sum(e.reasoning_tokens for e in ticket.entries),
    )
