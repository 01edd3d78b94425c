"""The second half of dispatch for streams: events from the upstream to the client, as they come.

One task does both ends: while the client is slow the upstream is not read, so nothing piles up in between; and the
server never cancels this task when the client leaves, so the charge is written on every way out.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing

from gateway.attempt import Attempt, Leaving, Opened, gone
from gateway.catalogue import Terms
from gateway.clock import Clock
from gateway.failpoints import Failpoints
from gateway.ledger.contract import Journal
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Exchange, Request
from gateway.upstreams.contract import Event, UpstreamError

_NOTE_EVERY_S = 1.0


class Relay:
    def __init__(
        self, journal: Journal, clock: Clock, metrics: Metrics, failpoints: Failpoints, *, total_s: float
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._failpoints = failpoints
        self._total_s = total_s

    async def __call__(
        self, opened: Opened, exchange: Exchange, request: Request, kept: list[bytes] | None
    ) -> bytes:
        """Returns the usage chunk, framed, which goes out with the end. `kept` collects what was sent.

        Raises UpstreamError if the upstream breaks off, ClientGoneError if the client does.
        """
        attempt, name = opened.attempt, opened.attempt.candidate.upstream
        try:
            with opened.pooled:
                async with asyncio.timeout(self._total_s) as patience, aclosing(opened.rest):
                    with Leaving(exchange, patience, attempt):
                        usage_chunk = await self._forward(opened, exchange, request, kept)
        except UpstreamError as exc:
            attempt.outcome = "interrupted"
            self._metrics.attempted(name, exc.kind)
            raise
        except BaseException as exc:
            attempt.outcome = "client_gone"
            self._metrics.attempted(name, "client_gone")
            if isinstance(exc, TimeoutError):
                raise gone(attempt) from exc
            raise
        finally:
            attempt.ended = self._clock.monotonic()
        self._failpoints.reach("after_reply")
        self._metrics.attempted(name, "ok")
        attempt.outcome = "ok"
        if exchange.is_gone:
            raise gone(attempt)
        return usage_chunk

    async def _forward(
        self, opened: Opened, exchange: Exchange, request: Request, kept: list[bytes] | None
    ) -> bytes:
        attempt = opened.attempt
        rename = renaming(attempt.terms)
        usage_chunk = b""
        noted = attempt.began
        events: list[Event] | None = opened.first
        while events is not None:
            # What arrived together leaves together: each write is a system call.
            frames: list[bytes] = []
            for event in events:
                attempt.absorb(event)
                framed = b"data: " + rename(event.data) + b"\n\n"
                if event.is_usage_only:
                    usage_chunk = framed if request.wants_usage else b""
                else:
                    frames.append(framed)
            if frames:
                if kept is not None:
                    kept.extend(frames)
                await exchange.send(b"".join(frames) if len(frames) > 1 else frames[0])
            now = self._clock.monotonic()
            if now - noted >= _NOTE_EVERY_S:
                noted = now
                self._note(attempt)
            events = await anext(opened.rest, None)
        return usage_chunk

    def _note(self, attempt: Attempt) -> None:
        self._journal.progress(attempt.request_id, attempt.number, sum(map(len, attempt.text)) // 4)


def renaming(terms: Terms) -> Callable[[bytes], bytes]:
    """Puts our name of the model where the upstream wrote its own.

    A quote inside a JSON string is escaped, so the pattern can only match the real field.
    """
    ours, theirs = terms.offer.model, terms.offer.upstream_model
    if ours == theirs:
        return lambda data: data
    pattern = re.compile(rb'"model"\s*:\s*"%b"' % re.escape(theirs.encode()))
    name = f'"model":"{ours}"'.encode()
    return lambda data: pattern.sub(name, data, count=1)
