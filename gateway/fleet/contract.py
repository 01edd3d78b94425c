"""Servers that answer for one upstream: where each is, how loaded it says it is, and who wrote the list of them."""

from typing import Literal, Protocol

import msgspec

EngineKind = Literal["weighbridge", "vllm", "sglang", "tgi", "llamacpp"]
"""Whose names the figures at /metrics have."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One server."""

    name: str
    """Short and unique in its upstream, for logs, metrics and people: `big-1`, `10.0.3.7:8000`."""
    url: str
    """Base URL, version included: `http://10.0.3.7:8000/v1`. Behind a socket the host is only a name."""
    socket: str = ""
    """Path of a Unix socket to reach it by; empty: by the URL's host and port."""
    address: str = ""
    """IP address to connect to; empty: whatever the URL's host resolves to. The host stays the name in Host and TLS."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself at one moment. None is what it does not tell."""

    running: float | None = None
    """Requests, or answers, that it works on."""
    queued: float | None = None
    """Those that wait for a place in it."""
    slots: float | None = None
    """Places in all."""
    kv_use: float | None = None
    """Share of its memory for keys and values that is in use, 0 to 1."""
    generated_tokens: float | None = None
    """Counted since it started: the difference between two readings is a speed."""
    prompt_tokens: float | None = None
    """Likewise."""


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """The servers that `weighbridge up` runs for one worker at this moment. Those that are starting or being retired
    are not in it: whoever reads it begins nothing there."""

    worker: str
    endpoints: tuple[Endpoint, ...]


class EndpointHandle(Protocol):
    """A server as the gateway has it now: `UpstreamPool.endpoints()` gives those of all upstreams, and they change."""

    @property
    def upstream(self) -> str: ...

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def in_flight(self) -> int:
        """Calls that it is serving for this gateway."""
        ...

    @property
    def is_healthy(self) -> bool:
        """Whether calls are sent there: its breaker lets them through."""
        ...

    @property
    def load(self) -> Load | None:
        """The last that was told."""
        ...

    def tell(self, load: Load | None) -> None:
        """What it has just said of itself. None: nothing, so only what is in flight here counts from now on."""
        ...

    async def page(self, url: str, *, timeout_s: float, max_bytes: int) -> bytes | None:
        """What a GET of this absolute URL gives by the endpoint's own way (its socket, its address), on connections
        that no call waits for. The key goes with it only to the endpoint's own origin. None if it is not a 200 in time
        and of this size at most."""
        ...
