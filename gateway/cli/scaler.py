"""How many replicas of a worker the load asks for: reads what each says of itself, now and then."""

from collections.abc import Sequence
from concurrent.futures import Future

from gateway.cli.replica import Replica
from gateway.cli.supervisor import Ask
from gateway.clock import Clock
from gateway.config import Autoscale
from gateway.fleet.autoscale import Autoscaler, Desired
from gateway.fleet.contract import Load

EVERY_S = 2.0


class Scaler:
    def __init__(self, settings: Autoscale, clock: Clock, ask: Ask) -> None:
        self._autoscaler = Autoscaler(settings)
        self._clock = clock
        self._ask = ask
        self._read_at = clock.monotonic()
        self._reading: dict[str, Future[Load | None]] | None = None

    def look(self, replicas: Sequence[Replica]) -> Desired | None:
        """None until there is something new. Waits for nothing. `replicas`: without those that are retiring."""
        if self._reading is None:
            if self._clock.monotonic() < self._read_at:
                return None
            self._read_at = self._clock.monotonic() + EVERY_S
            self._reading = {each.label: self._ask(each.process.load) for each in replicas if each.is_ready}
        if not all(reading.done() for reading in self._reading.values()):
            return None
        loads = {label: reading.result() for label, reading in self._reading.items()}
        self._reading = None
        starting = sum(each.label not in loads for each in replicas)
        return self._autoscaler.observe(self._clock.monotonic(), loads, starting=starting)
