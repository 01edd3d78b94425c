"""Every configured upstream, with its breaker and how many calls it is serving."""

from collections.abc import Callable
from ipaddress import ip_address

from yarl import URL

from gateway.clock import Clock
from gateway.config import Config, read_secret
from gateway.config import Upstream as UpstreamConfig
from gateway.errors import ConfigError
from gateway.upstreams.anthropic.upstream import AnthropicUpstream
from gateway.upstreams.breaker import Breaker, judge
from gateway.upstreams.contract import Upstream, UpstreamError
from gateway.upstreams.openai import OpenAIUpstream

DIALECTS: dict[str, type[OpenAIUpstream | AnthropicUpstream]] = {
    "openai": OpenAIUpstream,
    "anthropic": AnthropicUpstream,
}


class UpstreamPool:
    """Every call goes through `attempt`, which learns from how it ends."""

    def __init__(self, members: dict[str, "Member"]) -> None:
        self._members = members

    @classmethod
    def build(cls, config: Config, clock: Clock, random: Callable[[], float]) -> "UpstreamPool":
        """Raises ConfigError for a key that cannot be read or sent. Connects to nothing."""
        members = {}
        for name, settings in config.upstreams.items():
            upstream = DIALECTS[settings.dialect](
                settings, name=name, api_key=_read_key(name, settings), clock=clock
            )
            breaker = Breaker(clock, random) if settings.is_breaker_enabled else None
            members[name] = Member(upstream, breaker)
        return cls(members)

    def get(self, name: str) -> Upstream:
        return self._members[name].upstream

    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def health(self, name: str) -> tuple[bool, int]:
        """Whether it may be called, and how many calls it is serving for us."""
        member = self._members[name]
        return member.breaker is None or not member.breaker.is_open, member.in_flight

    def attempt(self, name: str) -> "PooledAttempt":
        """A context that gives the upstream for one call, made and read to its end inside the block.

        Entering raises UpstreamError while the upstream is being left alone.
        """
        return PooledAttempt(self, name)

    def permit(self, name: str) -> bool:
        """Leave to make one call; `record` or `release` must follow it. False while the upstream rests."""
        member = self._members[name]
        if member.breaker is not None and not member.breaker.permit():
            return False
        member.in_flight += 1
        return True

    def answered(self, name: str) -> None:
        """A stream's first event is here: the server is back, and nobody need wait for the stream's end to try it."""
        breaker = self._members[name].breaker
        if breaker is not None:
            breaker.answered()

    def record(self, name: str, error: UpstreamError | None) -> None:
        """How a call ended."""
        member = self._members[name]
        member.in_flight -= 1
        if member.breaker is None:
            return
        member.breaker.record("ok" if error is None else judge(error))
        if error is not None and error.kind == "busy" and error.retry_after_s is not None:
            member.breaker.rest(error.retry_after_s)

    def release(self, name: str) -> None:
        """A call ended in a way that says nothing of the server: the client left, or it was never made."""
        member = self._members[name]
        member.in_flight -= 1
        if member.breaker is not None:
            member.breaker.record("unknown")

    async def close(self) -> None:
        for member in self._members.values():
            await member.upstream.close()


class PooledAttempt:
    """A class, because a generator costs twice as much and every attempt has one."""

    __slots__ = ("_name", "_pool")

    def __init__(self, pool: UpstreamPool, name: str) -> None:
        self._pool = pool
        self._name = name

    def __enter__(self) -> Upstream:
        if not self._pool.permit(self._name):
            raise UpstreamError("busy", f"{self._name} is being left alone after failures")
        return self._pool.get(self._name)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, UpstreamError):
            self._pool.record(self._name, error)
        else:
            self._pool.release(self._name)


class Member:
    """An upstream as the pool sees it."""

    __slots__ = ("breaker", "in_flight", "upstream")

    def __init__(self, upstream: Upstream, breaker: Breaker | None) -> None:
        self.upstream = upstream
        self.breaker = breaker
        self.in_flight = 0


def _read_key(name: str, settings: UpstreamConfig) -> str:
    where = f"upstreams.{name}"
    key = read_secret(env=settings.api_key_env, file=settings.api_key_file, where=where)
    if not key and not settings.keyless and not _is_loopback(settings.base_url):
        raise ConfigError(
            f"{where}: name its key with `api_key_env` or `api_key_file`, or say `keyless: true` if it wants none"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"{where}: its key holds characters that no HTTP header can carry; is it the right file?"
        )
    return key


def _is_loopback(base_url: str) -> bool:
    host = URL(base_url).host or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
