"""A request with an Idempotency-Key is answered once, however often it comes: asked before anything is admitted."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from gateway.catalogue import Terms
from gateway.errors import IdempotencyError, InvalidRequestError, UnavailableError
from gateway.exchange import Exchange, Voice
from gateway.ledger.database import DatabaseUnavailableError
from gateway.ledger.idempotency import Idempotency, Record, Slot, StoredReply
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Endpoint, Request
from gateway.values import Caller

REPLAYED = {"x-weighbridge-idempotent-replay": "true"}
"""Marks a reply that was given before."""

_HEADER = "Idempotency-Key"
_LONGEST_KEY = 255
_STREAM = "text/event-stream"
_PAUSES_S = (0.2, 1.0, 3.0)
"""Between tries to close a claim while the database is away."""


class Repeat:
    def __init__(
        self,
        store: Idempotency,
        metrics: Metrics,
        log: Logger,
        tasks: Callable[[], asyncio.TaskGroup],
        *,
        max_reply_bytes: int,
        timeout_s: float = 5.0,
    ) -> None:
        """`tasks` gives the group that outlives all requests. A larger reply is not kept."""
        self._store = store
        self._metrics = metrics
        self._log = log
        self._tasks = tasks
        self._max_reply_bytes = max_reply_bytes
        self._timeout_s = timeout_s
        self._closing: dict[Slot, asyncio.Task[None]] = {}

    async def __call__(
        self,
        request_id: str,
        caller: Caller,
        headers: Iterable[tuple[bytes, bytes]],
        request: Request,
    ) -> "Claim | StoredReply | None":
        body = request.body if request.native is None else request.native
        return await self.claim(request_id, caller, headers, request.endpoint, body)

    async def claim(
        self,
        request_id: str,
        caller: Caller,
        headers: Iterable[tuple[bytes, bytes]],
        endpoint: str,
        body: Mapping[str, Any],
    ) -> "Claim | StoredReply | None":
        """None without the header. A claim must be closed. Raises GatewayError for a repetition without an answer."""
        key = idempotency_key(headers)
        if key is None:
            return None
        slot = Slot(caller.tenant, hashlib.sha256(key).hexdigest())
        fingerprint = _fingerprint(endpoint, body)
        closing = self._closing.get(slot)
        if closing is not None:
            # Answered a moment ago: a client that goes on at once need not be told that it runs.
            await asyncio.wait([closing], timeout=self._timeout_s)
        record = await self._claim(slot, fingerprint, request_id)
        if record is None:
            return self._granted(slot, request_id)
        return _stored(record, fingerprint)

    async def finished(self) -> None:
        """Every claim that was closed before the call is closed in the database, if that can be reached."""
        if self._closing:
            await asyncio.wait(set(self._closing.values()))

    async def _claim(self, slot: Slot, fingerprint: str, owner: str) -> Record | None:
        asking = asyncio.get_running_loop().run_in_executor(
            None, partial(self._store.claim, slot, fingerprint=fingerprint, owner=owner)
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(asking)
        except (TimeoutError, DatabaseUnavailableError) as exc:
            self._metrics.degraded("idempotency")
            raise UnavailableError(
                f"The {_HEADER} cannot be checked at the moment, so nothing is started under it. Try again shortly.",
                code="database_unavailable",
                retry_after_s=2,
            ) from exc
        finally:
            if not asking.done():
                # Nobody waits for it any more. It may yet be granted, and would stand in the next try's way.
                asking.add_done_callback(partial(self._abandoned, slot, owner))

    def _granted(self, slot: Slot, owner: str) -> "Claim":
        return Claim(
            keep=partial(self._store.keep, slot, owner=owner),
            release=partial(self._store.release, slot, owner=owner),
            later=partial(self._close, slot, owner),
            max_reply_bytes=self._max_reply_bytes,
        )

    def _abandoned(self, slot: Slot, owner: str, asked: asyncio.Future[Record | None]) -> None:
        if asked.exception() is None and asked.result() is None:
            self._granted(slot, owner).release()

    def _close(self, slot: Slot, owner: str, close: Callable[[], None]) -> None:
        closing = self._closing[slot] = self._tasks().create_task(self._try(close, owner))
        closing.add_done_callback(partial(self._forget, slot))

    def _forget(self, slot: Slot, closed: asyncio.Task[None]) -> None:
        if self._closing.get(slot) is closed:
            del self._closing[slot]

    async def _try(self, close: Callable[[], None], owner: str) -> None:
        for pause_s in (0.0, *_PAUSES_S):
            await asyncio.sleep(pause_s)
            try:
                await asyncio.to_thread(close)
            except DatabaseUnavailableError as exc:
                error = str(exc)
            else:
                return
        # Until its lease is over, whoever repeats the request is told that it still runs.
        self._metrics.degraded("idempotency")
        self._log.error("repeat.not_closed", request_id=owner, error=error)


class Claim:
    """The right to answer under a key. To be closed once; a second time does nothing, and nobody waits for it."""

    def __init__(
        self,
        *,
        keep: Callable[..., None],
        release: Callable[[], None],
        later: Callable[[Callable[[], None]], None],
        max_reply_bytes: int,
    ) -> None:
        self._keep = keep
        self._release = release
        self._later = later
        self._max_reply_bytes = max_reply_bytes
        self._recorded: _Recorded | None = None
        self._is_closed = False

    def listen(self, exchange: Exchange) -> Exchange:
        """What is answered through the one that it returns is remembered for `close`."""
        self._recorded = _Recorded(exchange, self._max_reply_bytes)
        return self._recorded

    def close(self, *, is_whole: bool, was_billed: bool) -> None:
        """A whole answer is kept. One that broke off is not, but if it was billed the key stays taken."""
        if is_whole:
            self.keep(self._recorded.stored() if self._recorded else None)
        elif was_billed:
            self.keep(None)
        else:
            self.release()

    def keep(self, reply: StoredReply | None) -> None:
        """Without a reply, or with one that is too large, a repetition is told that there is none."""
        if reply is not None and len(reply.body) > self._max_reply_bytes:
            reply = None
        self._end(partial(self._keep, reply=reply))

    def release(self) -> None:
        """Nothing was done and nothing billed: the next who comes with this key is the first."""
        self._end(self._release)

    def _end(self, close: Callable[[], None]) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._later(close)


class _Recorded:
    """Implements `gateway.exchange.Exchange` by another, and remembers what is answered, whether it arrives or not."""

    def __init__(self, exchange: Exchange, room: int) -> None:
        self._exchange = exchange
        self._room = room
        self._chunks: list[bytes] = []
        self._content_type = "application/json"

    def stored(self) -> StoredReply | None:
        """None if it was too large to remember."""
        if self._room < 0:
            return None
        return StoredReply(status=200, content_type=self._content_type, body=b"".join(self._chunks))

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        return self._exchange.headers

    @property
    def is_gone(self) -> bool:
        return self._exchange.is_gone

    @property
    def done(self) -> bytes:
        return self._exchange.done

    async def read(self) -> Request:
        return await self._exchange.read()

    def voice(self, request: Request, terms: Terms, form: Endpoint) -> Voice:
        return self._exchange.voice(request, terms, form)

    def when_gone(self, call: Callable[[], None] | None) -> None:
        self._exchange.when_gone(call)

    async def reply(self, body: bytes, headers: Mapping[str, str]) -> None:
        self._remember(body)
        await self._exchange.reply(body, headers)

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._content_type = _STREAM
        await self._exchange.begin(headers)

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        self._remember(data)
        await self._exchange.send(data, is_last=is_last)

    def _remember(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._chunks.clear()
        else:
            self._chunks.append(data)


async def replay(stored: StoredReply, exchange: Exchange, headers: Mapping[str, str]) -> None:
    """The same bytes again, marked."""
    marked = {**headers, **REPLAYED}
    if stored.content_type != _STREAM:
        await exchange.reply(stored.body, marked)
        return
    await exchange.begin(marked)
    await exchange.send(stored.body, is_last=True)


def idempotency_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Raises InvalidRequestError for one that cannot be one."""
    found = [value for name, value in headers if name == b"idempotency-key"]
    if not found:
        return None
    key = found[0]
    if len(found) > 1 or not 1 <= len(key) <= _LONGEST_KEY or not all(0x20 <= byte <= 0x7E for byte in key):
        raise InvalidRequestError(
            f"Send one {_HEADER} of 1 to {_LONGEST_KEY} printable ASCII characters.",
            code="invalid_header",
            param=_HEADER,
        )
    return key


def _fingerprint(endpoint: str, body: Mapping[str, Any]) -> str:
    """Of what the request means: neither the order of its fields nor its white space."""
    canonical = msgspec.json.encode(body, order="deterministic")
    return hashlib.sha256(endpoint.encode() + b"\n" + canonical).hexdigest()


def _stored(record: Record, fingerprint: str) -> StoredReply:
    if record.fingerprint != fingerprint:
        raise InvalidRequestError(
            f"This {_HEADER} was used for another request; use a new key for each request.",
            code="idempotency_key_mismatch",
            param=_HEADER,
        )
    if record.is_running:
        raise IdempotencyError(
            f"The request with this {_HEADER} is still running; its answer can be had from here when it is through.",
            retry_after_s=1,
        )
    if record.reply is None:
        raise InvalidRequestError(
            f"The request with this {_HEADER} was carried out, but its answer was not kept: it was too long, or broke "
            "off. Use a new key to have it carried out once more.",
            code="idempotency_replay_unavailable",
            param=_HEADER,
        )
    return record.reply
