"""One try of one candidate, as it goes, and what an attempt can turn into."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import msgspec

from gateway.catalogue import Terms
from gateway.exchange import Exchange
from gateway.ticket import Endpoint
from gateway.upstreams.contract import Aside, Event, Reply
from gateway.upstreams.usage import read_engine_us
from gateway.values import HOUR_US, NanoUSD, Outcome, Usage
from policies.contract import Candidate

_CLOCKS_DIFFER = 1.01
_US_SPARE = 10_000


class Attempt:
    """The only mutable thing between the upstream and the entry."""

    __slots__ = (
        "aside",
        "began",
        "began_ms",
        "candidate",
        "drafted_engine_us",
        "ended",
        "finish_reasons",
        "form",
        "hides_logprobs",
        "last",
        "number",
        "outcome",
        "p_good_after",
        "request_id",
        "terms",
        "text",
        "usage",
    )

    def __init__(
        self,
        request_id: str,
        number: int,
        candidate: Candidate,
        terms: Terms,
        form: Endpoint,
        *,
        began: float,
        began_ms: int,
    ) -> None:
        self.request_id = request_id
        self.number = number
        self.candidate = candidate
        self.terms = terms
        self.form: Endpoint = form
        """Of what the upstream is sent, and of its answer."""
        self.began = began
        self.began_ms = began_ms
        self.ended = began
        self.aside = Aside() if terms.offer.is_worker else None
        """What its worker says of it beside the answer."""
        self.drafted_engine_us = 0
        """What its draft says that reading the prompt takes."""
        self.text: list[str] = []
        """What it generated, piece by piece: counted if the upstream reports no usage."""
        self.usage: Usage | None = None
        self.finish_reasons: list[str] = []
        self.last = b""
        """The latest event of a stream."""
        self.outcome: Outcome = "interrupted"
        """Until it is known better."""
        self.hides_logprobs = False
        """They were asked for here, not by the caller."""
        self.p_good_after: float | None = None
        """P(good) of the answer, where a cascade has looked at it."""

    @property
    def wall_us(self) -> int:
        return round((self.ended - self.began) * 1_000_000)

    @property
    def engine_us(self) -> int | None:
        """What it took of the engine's time, as its worker says; None if it has not, or nothing that can be: a share of the
        engine's time is no more than the time that went by."""
        told = read_engine_us(self.aside.engine_seconds) if self.aside else None
        if told is None or told > self.wall_us * _CLOCKS_DIFFER + _US_SPARE:
            return None
        return min(told, self.terms.most_engine_us)

    def estimated_engine_us(self, *, read: int, written: int) -> int:
        """By the tokens, where the engine's time has a price."""
        if not self.terms.price.engine_hour:
            return 0
        return min(self.terms.offer.engine_us(read=read, written=written), self.terms.most_engine_us)

    def engine_us_so_far(self, written: int) -> int:
        """Likewise, while it runs."""
        if not self.terms.price.engine_hour:
            return 0
        written_us = self.terms.offer.engine_us(read=0, written=written)
        return min(self.drafted_engine_us + written_us, self.terms.most_engine_us)

    @property
    def most_cost(self) -> NanoUSD:
        """The worst that it can have come to in the time that it took."""
        spared_us = max(0, self.terms.most_engine_us - self.wall_us)
        return self.terms.worst - spared_us * self.terms.price.engine_hour // HOUR_US

    def absorb(self, event: Event) -> None:
        self.last = event.data
        if event.text:
            self.text.append(event.text)
        if event.usage is not None:
            self.usage = event.usage
        if event.finish_reason is not None:
            self.finish_reasons.append(event.finish_reason)


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    attempt: Attempt
    reply: Reply


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that has come to its end, of which nothing has been passed on."""

    attempt: Attempt
    events: list[Event]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A stream whose first events have arrived: from here on there is no other candidate."""

    attempt: Attempt
    first: list[Event] | None
    rest: AsyncGenerator[list[Event], None]
    pooled: ExitStack
    """To be closed with however the stream ends."""

    async def abandon(self) -> None:
        """For a stream that is not relayed after all."""
        await self.rest.aclose()
        self.pooled.close()


Answered = Whole | Collected | Opened


class ClientGoneError(Exception):
    """The client hung up; there is nobody to answer."""


class Leaving:
    """While inside, a client that hangs up ends the wait: at once, or when the upstream has had time to finish."""

    __slots__ = ("_exchange", "_offer", "_patience")

    def __init__(self, exchange: Exchange, patience: asyncio.Timeout, attempt: Attempt) -> None:
        self._exchange = exchange
        self._patience = patience
        self._offer = attempt.terms.offer

    def __enter__(self) -> None:
        self._exchange.when_gone(self._leave)

    def __exit__(self, *_: object) -> None:
        self._exchange.when_gone(None)

    def _leave(self) -> None:
        wait_s = self._offer.drain_s if self._offer.on_disconnect == "drain" else 0.0
        self._patience.reschedule(asyncio.get_running_loop().time() + wait_s)


def gone(attempt: Attempt) -> ClientGoneError:
    attempt.outcome = "client_gone"
    return ClientGoneError()
