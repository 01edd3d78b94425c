"""One server of an upstream as the pool has it: its connections, its breaker, and how much it has to do."""

from gateway.fleet.contract import Endpoint, Load
from gateway.upstreams.breaker import Breaker, judge
from gateway.upstreams.contract import Upstream, UpstreamError


class PooledEndpoint:
    """Ask `permit` before a call; tell `record` or `release` after it."""

    __slots__ = ("_elsewhere", "breaker", "client", "endpoint", "in_flight", "load", "upstream")

    def __init__(self, upstream: str, endpoint: Endpoint, client: Upstream, breaker: Breaker | None) -> None:
        self.upstream = upstream
        """The name of the whole."""
        self.endpoint = endpoint
        self.client = client
        self.breaker = breaker
        self.in_flight = 0
        self.load: Load | None = None
        self._elsewhere = 0.0

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def is_healthy(self) -> bool:
        """Whether it may be called."""
        return self.breaker is None or not self.breaker.is_open

    @property
    def busy(self) -> float:
        """Calls that it has to do: ours, and what it said that it has from others."""
        return self.in_flight + self._elsewhere

    @property
    def slots(self) -> float | None:
        return self.load.slots if self.load is not None else None

    def tell(self, load: Load | None) -> None:
        self.load = load
        # What is ours is counted already, and by now more exactly.
        told = (load.running or 0.0) + (load.queued or 0.0) if load is not None else 0.0
        self._elsewhere = max(0.0, told - self.in_flight)

    async def page(self, url: str, *, timeout_s: float, max_bytes: int) -> bytes | None:
        return await self.client.page(url, timeout_s=timeout_s, max_bytes=max_bytes)

    def permit(self) -> bool:
        """Leave to make one call. False while the server rests."""
        if self.breaker is not None and not self.breaker.permit():
            return False
        self.in_flight += 1
        return True

    def answered(self) -> None:
        """A stream's first event is here: the server is back, and nobody need wait for the stream's end to try it."""
        if self.breaker is not None:
            self.breaker.answered()

    def record(self, error: UpstreamError | None) -> None:
        """How a call ended."""
        self.in_flight -= 1
        if self.breaker is None:
            return
        self.breaker.record("ok" if error is None else judge(error))
        if error is not None and error.kind == "busy" and error.retry_after_s is not None:
            self.breaker.rest(error.retry_after_s)

    def release(self) -> None:
        """A call ended in a way that says nothing of the server: the client left, or it was never made."""
        self.in_flight -= 1
        if self.breaker is not None:
            self.breaker.record("unknown")
