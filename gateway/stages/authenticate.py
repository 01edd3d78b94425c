"""Stage 1: from the key in the headers to the Caller. One answer for every key that does not count."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable

import anyio
import anyio.to_thread

from gateway.clock import Clock
from gateway.errors import AuthenticationError, InvalidRequestError, UnavailableError
from gateway.telemetry.metrics import Metrics
from gateway.values import Caller

_MAX_REMEMBERED = 10_000
_MAX_KEY_CHARS = 256
_CREDENTIALS = (b"authorization", b"x-api-key")


class KeyStoreUnavailableError(Exception):
    """The store of keys did not answer: nothing is known of this key."""


Resolve = Callable[[str], Caller | None]
"""Blocking. Raises KeyStoreUnavailableError."""


class Authenticate:
    """Keys are remembered by their hash for `fresh_s`; while the store is gone, known ones count for `stale_s` more."""

    def __init__(
        self,
        resolve: Resolve,
        clock: Clock,
        metrics: Metrics,
        *,
        fresh_s: float,
        stale_s: float,
        timeout_s: float = 5.0,
    ) -> None:
        self._resolve = resolve
        self._clock = clock
        self._metrics = metrics
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._timeout_s = timeout_s
        self._known: dict[bytes, tuple[Caller | None, float]] = {}
        self._asking: dict[bytes, anyio.Event] = {}

    async def __call__(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        token = credential(headers)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or self._clock.monotonic() - known[1] >= self._fresh_s:
            caller = await self._once(digest, lambda: self._ask(token, digest))
        else:
            caller = known[0]
        if caller is None:
            raise AuthenticationError
        return caller

    async def _once(self, digest: bytes, ask: Callable[[], Awaitable[Caller | None]]) -> Caller | None:
        """One question at a time for one key, however many requests wait for the answer."""
        waiting = self._asking.get(digest)
        if waiting is not None:
            await waiting.wait()
            known = self._known.get(digest)
            if known is not None:
                return known[0]
            raise _unavailable()
        done = self._asking[digest] = anyio.Event()
        try:
            return await ask()
        finally:
            del self._asking[digest]
            done.set()

    async def _ask(self, token: str, digest: bytes) -> Caller | None:
        try:
            with anyio.fail_after(self._timeout_s):
                caller = await anyio.to_thread.run_sync(self._resolve, token, abandon_on_cancel=True)
        except (KeyStoreUnavailableError, TimeoutError) as exc:
            return self._stale(digest, exc)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()  # guesses fill it; real keys are back after one question each
        self._known[digest] = (caller, self._clock.monotonic())
        return caller

    def _stale(self, digest: bytes, cause: Exception) -> Caller:
        self._metrics.degraded("keys")
        known = self._known.get(digest)
        if known and known[0] and self._clock.monotonic() - known[1] < self._fresh_s + self._stale_s:
            return known[0]
        raise _unavailable() from cause


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "Keys cannot be checked at the moment; your key may well be right. Try again shortly.",
        code="auth_unavailable",
        retry_after_s=2,
    )


def credential(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key in `Authorization: Bearer`, or in `x-api-key`, as Anthropic's clients send it.

    Raises AuthenticationError, or InvalidRequestError for two that differ: which one would pay?
    """
    found = [(name, value) for name, value in headers if name in _CREDENTIALS]
    if not found:
        raise AuthenticationError
    tokens = [_token(name, value.decode("latin-1")) for name, value in found]
    if len(tokens) > 1 and (len(set(tokens)) > 1 or found[0][0] == found[1][0]):
        raise InvalidRequestError(
            "Send one key, in one Authorization or x-api-key header, not several.", code="invalid_header"
        )
    token = tokens[0]
    if not 0 < len(token) <= _MAX_KEY_CHARS or not token.isascii():
        raise AuthenticationError
    return token


def _token(name: bytes, value: str) -> str:
    if name == b"x-api-key":
        return value
    scheme, _, token = value.partition(" ")
    return token if scheme.lower() == "bearer" else ""
