"""A client of Redis and Valkey that sends what concurrent requests ask for as one pipeline on one connection.

Only the link task touches the connection, and replies are matched to callers by their position: a caller that is
cancelled leaves its reply behind, and nobody else can get it. Nothing is ever sent twice.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Self

import hiredis
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.limits.contract import LimiterUnavailableError

_BATCH = 512
_LOOK_S = 0.004
_LOOKS = 3

Arg = bytes | str | int | float


_pack: Callable[[tuple[Arg, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub knows 1-tuples


class StoreUnavailableError(LimiterUnavailableError, ConnectionError):
    """The store did not do it, or not in time to say so. A ConnectionError too, for users other than the limiter."""


class StoreRefusedError(StoreUnavailableError):
    """The store answered with an error: out of memory, read-only, forbidden, or a command that makes no sense."""


class Script:
    """A Lua script whose ARGV[1] is the life of the server that runs it."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class _Call:
    __slots__ = ("args", "deadline", "future", "is_sent_whole", "keys", "packed", "script")

    def __init__(
        self,
        script: Script | None,
        keys: Sequence[str],
        args: tuple[Arg, ...],
        deadline: float,
        future: asyncio.Future[Any],
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.packed = _pack(args) if script is None else b""
        self.deadline = deadline
        self.future = future
        self.is_sent_whole = False
        """The server does not know the script: send its text instead of its hash."""

    def pack(self, life: str) -> bytes:
        if self.script is None:
            return self.packed
        head = ("EVAL", self.script.source) if self.is_sent_whole else ("EVALSHA", self.script.sha)
        return _pack((*head, len(self.keys), *self.keys, life, *self.args))


class _Breaker:
    """Opens after consecutive failures; then lets one call through each `open_s` until one succeeds."""

    def __init__(self, clock: Clock, trip_after: int, open_s: float) -> None:
        self._clock = clock
        self._trip_after = trip_after
        self._open_s = open_s
        self._failures = 0
        self._next_probe: float | None = None

    def is_letting_through(self) -> bool:
        if self._next_probe is None:
            return True
        now = self._clock.monotonic()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._open_s
        return True

    def succeed(self) -> None:
        self._failures = 0
        self._next_probe = None

    def fail(self) -> None:
        self._failures += 1
        if self._failures >= self._trip_after:
            self._next_probe = self._clock.monotonic() + self._open_s


class StoreClient:
    """`async with` opens it; every call is answered, with a value or an error. The store has `timeout_s` for it, from the
    sending: the time that a busy process takes itself is not the store's."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        timeout_s: float = 0.05,
        connect_timeout_s: float = 1.0,
        max_pending: int = 4096,
        trip_after: int = 5,
        open_s: float = 1.0,
    ) -> None:
        self._connection = _connection(url, connect_timeout_s)
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._max_pending = max_pending
        self._breaker = _Breaker(clock, trip_after, open_s)
        self._scripts: list[Script] = []
        self._life = ""
        self._waiting: deque[_Call] = deque()
        self._sent: list[_Call] = []
        self._sent_at = 0.0
        self._is_connecting = False
        self._patience: asyncio.Timeout | None = None
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._link: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._link = self._tasks.create_task(self._run(), name="store-link")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks is None or self._link is None:
            return
        link, self._link = self._link, None
        link.cancel()
        await self._tasks.__aexit__(None, None, None)

    def script(self, source: str) -> Script:
        """Make a script known before the client is opened, so that each new connection loads it."""
        script = Script(source)
        self._scripts.append(script)
        return script

    async def run(self, script: Script, keys: Sequence[str], args: Iterable[Arg]) -> Any:
        """EVALSHA; the life of the server is put before `args`."""
        return await self._submit(script, keys, tuple(args))

    def execute(self, *args: Arg) -> asyncio.Future[Any]:
        """Any single command that does not block: bytes in, bytes out. It is on its way before it is awaited."""
        return self._submit(None, (), args)

    def _submit(
        self, script: Script | None, keys: Sequence[str], args: tuple[Arg, ...]
    ) -> asyncio.Future[Any]:
        if self._link is None:
            return _refused("the client of the store is closed")
        if len(self._waiting) >= self._max_pending:
            return _refused("too many commands wait for the store")
        if not self._breaker.is_letting_through():
            return _refused("the store has failed and is left alone for a moment")
        loop = asyncio.get_running_loop()
        call = _Call(script, keys, args, loop.time() + self._timeout_s, loop.create_future())
        self._waiting.append(call)
        self._wake.set()
        if self._alarm is None:
            self._alarm = loop.call_at(call.deadline, self._on_alarm)
        return call.future

    async def _run(self) -> None:
        try:
            await self._connect()
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._exchange()
        finally:
            self._fail(
                chain(self._sent, self._waiting), StoreUnavailableError("the client of the store is closed")
            )
            if self._alarm is not None:
                self._alarm.cancel()
            await self._connection.disconnect(nowait=True)

    async def _connect(self) -> Exception | None:
        self._is_connecting = True
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
                self._life = await self._introduce()
        except (RedisError, OSError, TimeoutError) as exc:
            await self._connection.disconnect(nowait=True)
            return exc
        finally:
            self._is_connecting = False
        return None

    async def _introduce(self) -> str:
        """Load the scripts and learn which life of the server this is: a restart or another server is another."""
        loads = [("SCRIPT", "LOAD", script.source) for script in self._scripts]
        commands: list[tuple[Arg, ...]] = [("INFO", "server"), *loads]
        await self._connection.send_packed_command([_pack(command) for command in commands], False)
        life = "unknown"
        for command in commands:
            try:
                reply = await self._connection.read_response()
            except ResponseError:
                continue  # Forbidden to this user. Scripts then go as text; lost state shows by missing counters only.
            if command[0] == "INFO":
                life = _life(reply)
        return life

    async def _exchange(self) -> None:
        """Send all that waits, up to a batch, and read exactly as many replies."""
        failure: Exception | None = None
        if not await self._is_connected() and (failure := await self._connect()) is not None:
            self._fail(self._take(len(self._waiting)), failure)
            return
        batch = self._take(_BATCH)
        if not batch:
            return
        self._sent, self._sent_at = batch, asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as self._patience:
                packed = [call.pack(self._life) for call in batch]
                await self._connection.send_packed_command(packed, check_health=False)
                for call in batch:
                    await self._receive(call)
        except (RedisError, OSError, TimeoutError) as exc:
            failure = exc
        finally:
            self._patience = None
        self._sent = []
        if failure is not None:
            await self._connection.disconnect(nowait=True)
            self._fail(batch, failure)

    async def _is_connected(self) -> bool:
        if not self._connection.is_connected:
            return False
        try:
            if not await self._connection.can_read():
                return True
        except (RedisError, OSError):
            pass
        # It was closed at the other end, or says what nobody asked for.
        await self._connection.disconnect(nowait=True)
        return False

    def _take(self, most: int) -> list[_Call]:
        """The oldest calls that somebody still waits for."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        return [call for call in taken if not call.future.done()]

    async def _receive(self, call: _Call) -> None:
        try:
            reply = await self._connection.read_response()
        except NoScriptError:
            call.is_sent_whole = True
            self._waiting.appendleft(call)
        except ReadOnlyError:
            raise  # We are on a server that is no longer the primary: leave it.
        except ResponseError as exc:
            self._fail((call,), exc)
        else:
            self._breaker.succeed()
            if not call.future.done():
                call.future.set_result(reply)

    def _fail(self, calls: Iterable[_Call], cause: Exception) -> None:
        kind = StoreRefusedError if isinstance(cause, ResponseError) else StoreUnavailableError
        for call in calls:
            if not call.future.done():
                self._breaker.fail()
                error = kind(f"the store failed: {str(cause) or type(cause).__name__}")
                error.__cause__ = cause
                call.future.set_exception(error)
                call.future.exception()  # Retrieved, in case the caller is being cancelled at this very moment.

    def _on_alarm(self, looks: int = 0) -> None:
        """Give up on what is overdue, if it is the store that is late.

        A busy process is late itself: it has not sent yet, or the reply lies unread. So the store's time runs from
        the sending, and it is given up only when further turns of the event loop have brought nothing either.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        pending = [call for call in chain(self._sent, self._waiting) if not call.future.done()]
        overdue = [call for call in pending if call.deadline <= now]
        stuck_at = (
            self._sent_at + self._timeout_s if self._sent else now if self._is_connecting else now + _LOOK_S
        )
        if overdue and stuck_at <= now and looks >= _LOOKS:
            self._fail(overdue, TimeoutError("no answer in time"))
            if self._patience is not None:
                self._patience.reschedule(now)
                self._patience = None
            pending, overdue, looks = [call for call in pending if call.deadline > now], [], 0
        if not pending:
            self._alarm = None
        elif not overdue:
            self._alarm = loop.call_at(min(call.deadline for call in pending), self._on_alarm)
        elif stuck_at > now:
            self._alarm = loop.call_at(stuck_at, self._on_alarm)
        else:
            self._alarm = loop.call_later(_LOOK_S, self._on_alarm, looks + 1)


def _refused(why: str) -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    future.set_exception(StoreUnavailableError(why))
    future.exception()  # Retrieved: whoever asked may never look.
    return future


def _connection(url: str, connect_timeout_s: float) -> AbstractConnection:
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError as exc:
        raise ConfigError(f"the URL of the store: {exc}") from exc
    kind = options.pop("connection_class", Connection)
    options.update(protocol=2, socket_timeout=None, socket_connect_timeout=connect_timeout_s)
    connection: AbstractConnection = kind(**options, retry=Retry(NoBackoff(), 0))
    return connection


def _life(info: bytes) -> str:
    """From the reply to INFO: a random id that the server draws when it starts."""
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line[len(b"run_id:") :].decode()[:12]
    return "unknown"
