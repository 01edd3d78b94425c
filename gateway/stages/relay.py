"""The second half of dispatch for streams: events from the upstream to the client, as they come.

One task does both ends: while the client is slow the upstream is not read, so nothing piles up in between; and the
server never cancels this task when the client leaves, so the charge is written on every way out.
"""

import asyncio
from contextlib import aclosing

from gateway.attempt import Attempt, Leaving, Opened, gone
from gateway.clock import Clock
from gateway.exchange import Exchange, Voice
from gateway.failpoints import Failpoints
from gateway.ledger.contract import Journal
from gateway.telemetry.metrics import Metrics
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
        self, opened: Opened, exchange: Exchange, voice: Voice, kept: list[bytes] | None
    ) -> None:
        """`kept` collects what was sent.

        Raises UpstreamError if the upstream breaks off, ClientGoneError if the client does.
        """
        attempt, name = opened.attempt, opened.attempt.candidate.upstream
        try:
            with opened.pooled:
                async with asyncio.timeout(self._total_s) as patience, aclosing(opened.rest):
                    with Leaving(exchange, patience, attempt):
                        await self._forward(opened, exchange, voice, kept)
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

    async def _forward(
        self, opened: Opened, exchange: Exchange, voice: Voice, kept: list[bytes] | None
    ) -> None:
        attempt = opened.attempt
        noted = attempt.began
        events: list[Event] | None = opened.first
        while events is not None:
            # What arrived together leaves together: each write is a system call.
            for event in events:
                attempt.absorb(event)
            frames = voice.events(events)
            if frames:
                if kept is not None:
                    kept.extend(frames)
                await exchange.send(b"".join(frames) if len(frames) > 1 else frames[0])
            now = self._clock.monotonic()
            if now - noted >= _NOTE_EVERY_S:
                noted = now
                self._note(attempt)
            events = await anext(opened.rest, None)

    def _note(self, attempt: Attempt) -> None:
        written = sum(map(len, attempt.text)) // 4
        engine_us = attempt.engine_us_so_far(written)
        self._journal.progress(attempt.request_id, attempt.number, written, engine_us)
