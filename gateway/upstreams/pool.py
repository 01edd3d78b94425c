"""Every configured upstream and its servers. Each call goes through `attempt`, which chooses one of them, turns to another
where that costs nothing, and learns from how it ends."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from yarl import URL

from gateway.clock import Clock
from gateway.config import Config, read_secret, unix_path
from gateway.config import Upstream as UpstreamConfig
from gateway.errors import ConfigError
from gateway.fleet.contract import Endpoint
from gateway.fleet.roster import roster_path
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.affinity import beginning
from gateway.upstreams.anthropic.upstream import AnthropicUpstream
from gateway.upstreams.breaker import Breaker
from gateway.upstreams.contract import Event, Reply, UpstreamCall, UpstreamError
from gateway.upstreams.discovery import Addresses, LookUp, RosterFile, Source, look_up
from gateway.upstreams.endpoint import PooledEndpoint
from gateway.upstreams.member import Member
from gateway.upstreams.openai import OpenAIUpstream

DIALECTS: dict[str, type[OpenAIUpstream | AnthropicUpstream]] = {
    "openai": OpenAIUpstream,
    "anthropic": AnthropicUpstream,
}
_BEHIND_A_SOCKET = "http://worker/v1"


class UpstreamPool:
    def __init__(self, members: dict[str, Member], clock: Clock, log: Logger, metrics: Metrics) -> None:
        self._members = members
        self._clock = clock
        self._log = log
        self._metrics = metrics

    @classmethod
    def build(
        cls,
        config: Config,
        clock: Clock,
        random: Callable[[], float],
        log: Logger,
        metrics: Metrics,
        *,
        look_up: LookUp = look_up,
    ) -> "UpstreamPool":
        """Raises ConfigError for a key that cannot be read or sent. Connects to nothing."""
        members = {}
        for name, settings in config.upstreams.items():
            key = _read_key(name, settings, config)
            members[name] = Member(
                name,
                settings,
                _maker(name, settings, key, clock, random),
                _endpoints(settings),
                _source(settings, config, look_up),
            )
        return cls(members, clock, log, metrics)

    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def member(self, name: str) -> Member:
        return self._members[name]

    def endpoints(self) -> Sequence[PooledEndpoint]:
        """Of all upstreams, at the moment."""
        return [endpoint for member in self._members.values() for endpoint in member.endpoints]

    def health(self, name: str) -> tuple[bool, int]:
        """Whether it may be called, and how many calls it is serving for us."""
        return self._members[name].health()

    def attempt(self, name: str, tenant: str = "", body: Mapping[str, Any] | None = None) -> "PooledAttempt":
        """A context for one call, made and read to its end inside the block. Tenant and body tell, where that is asked
        for, which server may remember the prompt.

        Entering raises UpstreamError while no server may be called.
        """
        member = self._members[name]
        key = beginning(tenant, body) if member.has_affinity and body is not None else None
        return PooledAttempt(self, member, key)

    async def look(self) -> None:
        """For the lists of servers that stand elsewhere, once: so that the first request finds them."""
        async with asyncio.TaskGroup() as tasks:
            for member in self._members.values():
                if member.source is not None:
                    tasks.create_task(self._look(member, member.source))

    async def run(self) -> None:
        """Again and again, for as long as it runs."""
        async with asyncio.TaskGroup() as tasks:
            for member in self._members.values():
                if member.source is not None:
                    tasks.create_task(self._follow(member, member.source))

    async def _follow(self, member: Member, source: Source) -> None:
        while True:
            await asyncio.sleep(source.every_s)
            await self._look(member, source)

    async def _look(self, member: Member, source: Source) -> None:
        try:
            found = await source.look()
        except OSError as exc:
            # What there was stays: a name server that fails says nothing of the servers.
            if not member.is_list_old:
                self._log.warning("upstream.look_up_failed", upstream=member.name, error=repr(exc))
            member.is_list_old = True
            return
        member.is_list_old = False
        if found is not None:
            came, went = member.replace(found)
            self._log.info("upstream.servers_changed", upstream=member.name, came=came, went=went)
        await member.sweep()

    async def close(self) -> None:
        for member in self._members.values():
            await member.close()

    def now(self) -> float:
        return self._clock.monotonic()

    def tell(
        self, call: UpstreamCall, left: PooledEndpoint, error: UpstreamError, following: str | None
    ) -> None:
        """That one of several servers failed, whatever comes of the attempt."""
        self._metrics.endpoint_failed(left.upstream, error.kind)
        self._log.warning(
            "upstream.endpoint_failed",
            request_id=call.reservation.request_id,
            upstream=left.upstream,
            endpoint=left.name,
            kind=error.kind,
            status=error.status,
            following=following,
        )


class PooledAttempt:
    """A class, because a generator costs twice as much and every attempt has one."""

    __slots__ = (
        "_began",
        "_busy",
        "_key",
        "_may_have_charged",
        "_member",
        "_pool",
        "_tried",
        "endpoint",
    )

    def __init__(self, pool: UpstreamPool, member: Member, key: bytes | None) -> None:
        self._pool = pool
        self._member = member
        self._key = key
        self._began = 0.0
        self._tried: tuple[PooledEndpoint, ...] = ()
        self.endpoint: PooledEndpoint | None = None
        """Whose turn it is, inside the block."""
        self._busy: UpstreamError | None = None
        self._may_have_charged = False

    def __enter__(self) -> "PooledAttempt":
        self.endpoint = self._member.choose((), self._key)
        if self.endpoint is None:
            raise UpstreamError("busy", f"Upstream {self._member.name}: {self._member.trouble}.")
        self._began = self._pool.now()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self.endpoint is None:
            return
        if error is None or isinstance(error, UpstreamError):
            self.endpoint.record(error)
        else:
            self.endpoint.release()

    async def complete(self, call: UpstreamCall) -> Reply:
        """As `Upstream.complete`, of whichever server answers."""
        while True:
            assert self.endpoint  # noqa: S101 - inside the block there is one
            try:
                return await self.endpoint.client.complete(call)
            except UpstreamError as exc:
                call = self._move_on(call, exc)

    async def open(self, call: UpstreamCall) -> tuple[list[Event] | None, AsyncGenerator[list[Event], None]]:
        """The first events of a stream, None if it has none, and the rest. From then on it is that server's."""
        while True:
            assert self.endpoint  # noqa: S101 - inside the block there is one
            events = self.endpoint.client.stream(call)
            try:
                first = await anext(events, None)
            except UpstreamError as exc:
                await events.aclose()
                call = self._move_on(call, exc)
            except BaseException:
                await events.aclose()
                raise
            else:
                self.endpoint.answered()
                return first, events

    def _move_on(self, call: UpstreamCall, error: UpstreamError) -> UpstreamCall:
        """To another server. Raises UpstreamError where there is none, no time, or it might be paid for twice."""
        left = self.endpoint
        assert left  # noqa: S101 - inside the block there is one
        self._tried += (left,)
        deadline = min(call.deadline, self._began + self._member.settings.total_timeout_s)
        is_possible = self._may_be_repeated(error) and self._pool.now() < deadline
        left.record(error)
        self.endpoint = self._member.choose(self._tried, self._key) if is_possible else None
        if len(self._member.endpoints) > 1:
            self._pool.tell(call, left, error, self.endpoint.name if self.endpoint else None)
        self._may_have_charged |= error.may_have_charged
        if error.kind == "busy":
            self._busy = error
        if self.endpoint is None:
            # A server that is busy will be there again: that says more than that another one is away.
            final = self._busy if self._busy and error.kind in ("connect", "interrupted") else error
            final.may_have_charged = self._may_have_charged
            raise final
        return msgspec.structs.replace(call, deadline=deadline)

    def _may_be_repeated(self, error: UpstreamError) -> bool:
        if not error.may_have_charged:
            return error.kind in ("connect", "busy", "interrupted")
        # Of what fails at two servers the request itself may be the cause: it is not let loose on a third.
        if self._may_have_charged or not self._member.bills_nobody:
            return False
        has_failed = error.kind == "refused" and (error.status is None or error.status >= 500)
        return has_failed or error.kind == "interrupted"


def _maker(
    name: str, settings: UpstreamConfig, key: str, clock: Clock, random: Callable[[], float]
) -> Callable[[Endpoint], PooledEndpoint]:
    def make(endpoint: Endpoint) -> PooledEndpoint:
        client = DIALECTS[settings.dialect](settings, name=name, api_key=key, clock=clock, endpoint=endpoint)
        breaker = Breaker(clock, random) if settings.is_breaker_enabled else None
        return PooledEndpoint(name, endpoint, client, breaker)

    return make


def _endpoints(settings: UpstreamConfig) -> list[Endpoint]:
    """Those that the configuration names. A host to be looked up stands for itself until it has been."""
    places = [Path(path).name if (path := unix_path(url)) else URL(url).authority for url in settings.urls]
    return [
        Endpoint(
            name=url if places.count(place) > 1 else place,
            url=_BEHIND_A_SOCKET if unix_path(url) else url,
            socket=unix_path(url) or "",
        )
        for place, url in zip(places, settings.urls, strict=True)
    ]


def _source(settings: UpstreamConfig, config: Config, look_up: LookUp) -> Source | None:
    if settings.worker:
        return RosterFile(roster_path(config.data_path, settings.worker), settings.worker)
    return Addresses(settings.base_url, look_up) if settings.resolves else None


def _read_key(name: str, settings: UpstreamConfig, config: Config) -> str:
    env, file = (
        config.worker_key(settings.worker)
        if settings.worker
        else (settings.api_key_env, settings.api_key_file)
    )
    where = f"workers.{settings.worker}" if settings.worker else f"upstreams.{name}"
    key = read_secret(env=env, file=file, where=where)
    if not key and not settings.keyless and not all(map(_is_here, settings.urls)):
        raise ConfigError(
            f"{where}: name its key with `api_key_env` or `api_key_file`, or say `keyless: true` if it wants none"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"{where}: its key holds characters that no HTTP header can carry; is it the right file?"
        )
    return key


def _is_here(url: str) -> bool:
    """On this machine."""
    host = URL(url).host or ""
    if unix_path(url) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
