"""The replicas of one worker: as many as there should be, and all alike, also after a change, without a gap.

A change goes from replica to replica. If the first new one does not become ready, all stays, or goes back, as it was.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from gateway.cli.replica import Process, Recipe, Replica
from gateway.cli.scaler import Scaler
from gateway.cli.seats import Seat, free_seat, seats, shared_seat
from gateway.cli.supervisor import Ask, Pauses
from gateway.clock import Clock
from gateway.config import Worker
from gateway.fleet.contract import Endpoint


class Launcher(Protocol):
    def launch(self, label: str, settings: Worker, gpus: Sequence[str]) -> Process:
        """A process that is not started yet."""
        ...

    def publish(self, worker: str, endpoints: Sequence[Endpoint]) -> None:
        """Tells gateways which processes take requests. Raises OSError."""
        ...

    def recipe(self, settings: Worker) -> Recipe: ...


class NeverReadyError(Exception):
    """A replica that `weighbridge up` cannot do without at its start."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(replica.failure)
        self.process = replica.process


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    pid: int | None
    gpus: tuple[str, ...]
    model: str
    restarts: int
    endpoint: str


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    serves: tuple[str, ...]
    wanted: int
    replicas: tuple[ReplicaState, ...]


class _Goal(NamedTuple):
    settings: Worker
    recipe: Recipe


class Fleet:
    def __init__(
        self,
        name: str,
        settings: Worker,
        launcher: Launcher,
        *,
        clock: Clock,
        say: Callable[[str], None],
        ask: Ask,
        is_required: bool = False,
    ) -> None:
        """`is_required`: look() raises NeverReadyError while not all have been ready at once."""
        self.name = name
        self.failure = ""
        """What went wrong with the last change."""
        self._launcher = launcher
        self._clock = clock
        self._say = say
        self._ask = ask
        self._is_required = is_required
        self._replicas: list[Replica] = []
        self._published: tuple[Endpoint, ...] | None = None
        self._is_untold = False
        self._pauses = Pauses()
        self._grow_at = clock.monotonic()
        self._before: _Goal | None = None
        """What a change goes back to if it fails."""
        self._is_rolling = False
        self._scaler: Scaler | None = None
        self._adopt(_Goal(settings, launcher.recipe(settings)))

    @property
    def title(self) -> str:
        count = f", {self._wanted} replicas" if self._wanted > 1 else ""
        return f"worker `{self.name}`: {', '.join(self._goal.settings.serves)}{count}"

    @property
    def is_complete(self) -> bool:
        """As many are ready as there should be, and nothing is about to change."""
        return self._is_still and sum(each.is_ready for each in self._replicas) == self._wanted

    @property
    def is_settled(self) -> bool:
        """The last change is done, or known to have failed."""
        is_pausing = self._clock.monotonic() < self._grow_at
        return self._is_still and (len(self._members) == self._wanted or is_pausing)

    @property
    def is_empty(self) -> bool:
        return not self._replicas

    @property
    def state(self) -> WorkerState:
        return WorkerState(
            name=self.name,
            serves=self._goal.settings.serves,
            wanted=self._wanted,
            replicas=tuple(_state(each) for each in self._replicas),
        )

    def look(self) -> None:
        """To be called many times a second. Waits for nothing."""
        for replica in self._replicas:
            replica.look()
        for replica in list(self._replicas):
            self._note(replica)
        self._scale()
        self._change()
        self._publish()
        if self.is_complete:
            self._is_required = False
            self._pauses.reset()

    def apply(self, settings: Worker) -> bool:
        """Begins to make all replicas as the settings say. False if they are so already."""
        goal = _Goal(settings, self._launcher.recipe(settings))
        self._pauses.reset()
        self._grow_at = self._clock.monotonic()
        if goal == self._goal and self._wanted and (self._is_rolling or not self._outdated):
            self.failure = "" if self.is_complete else self.failure
            return False
        before = self._before or self._goal
        self.failure = ""
        self._withdraw_newcomers()
        wanted = self._wanted
        self._adopt(goal)
        for replica in self._outdated:
            if replica.state == "starting":
                replica.retire()
        self._is_rolling = bool(self._outdated)
        self._before = before if self._is_rolling else None
        if self._is_rolling:
            self._say(f"{self._who} is changed, replica by replica; its model is {settings.model}")
        elif self._wanted != wanted:
            self._say(f"{self._who}: {_replicas(self._wanted)} instead of {wanted}")
        return True

    def dismiss(self) -> None:
        """All are to go, unless settings are applied again before they have gone."""
        self._say(f"{self._who} is retired")
        self._wanted, self._scaler, self._is_rolling, self._before = 0, None, False, None
        self._withdraw_newcomers()

    def terminate(self) -> None:
        for replica in self._replicas:
            replica.process.terminate()

    def end(self, is_hurried: Callable[[], bool]) -> None:
        """After `terminate`."""
        for replica in self._replicas:
            replica.process.end(is_hurried)
        self._replicas.clear()
        self._publish()

    @property
    def _who(self) -> str:
        return f"worker `{self.name}`"

    @property
    def _members(self) -> list[Replica]:
        """Those that count: neither the retiring, nor those that wait for another's place."""
        return [each for each in self._replicas if not each.is_retiring and each.replaces is None]

    @property
    def _outdated(self) -> list[Replica]:
        known = seats(self._goal.settings) or [()]
        return [each for each in self._members if each.recipe != self._goal.recipe or each.gpus not in known]

    @property
    def _is_still(self) -> bool:
        return not self._is_rolling and all(each.state != "starting" for each in self._replicas)

    @property
    def _stops_first(self) -> bool:
        settings = self._goal.settings
        return settings.rollout == "stop_first" or settings.port is not None

    def _adopt(self, goal: _Goal) -> None:
        scale = goal.settings.autoscale
        self._goal = goal
        self._scaler = None if scale is None else Scaler(scale, self._clock, self._ask)
        self._wanted = goal.settings.replicas
        if scale is not None:
            self._wanted = min(max(len(self._members), scale.min), scale.max)

    def _note(self, replica: Replica) -> None:
        """What became of it."""
        if replica.is_gone:
            self._replicas.remove(replica)
        elif replica.failure:
            self._fail(replica)
        elif replica.is_ready:
            if replica.replaces is not None:
                replaced, replica.replaces = replica.replaces, None
                replaced.retire()
                self._say(f"{self._who}: `{replica.label}` takes the place of `{replaced.label}`")
        elif self._is_rolling and replica.state == "waiting" and replica.recipe == self._goal.recipe:
            self._give_up(f"`{replica.label}` does not stay well", replica)

    def _fail(self, replica: Replica) -> None:
        if self._is_required:
            raise NeverReadyError(replica)
        why = f"`{replica.label}` {replica.failure}"
        replica.retire()
        if self._is_rolling and replica.recipe == self._goal.recipe:
            self._give_up(why, replica)
            return
        pause_s = self._pauses.take()
        self._grow_at = self._clock.monotonic() + pause_s
        self.failure = f"{self._who}: {why}"
        self._say(f"{self.failure}; trying again in {pause_s:.0f} s; see {replica.process.log}")

    def _give_up(self, why: str, replica: Replica) -> None:
        before, self._before = self._before, None
        self._withdraw_newcomers()
        if before is None:
            self._is_rolling = False
            self.failure = f"{self._who} cannot be changed back: {why}"
        else:
            self.failure = f"{self._who} stays as it was, with {before.settings.model}: {why}"
            self._adopt(before)
            self._is_rolling = bool(self._outdated)
        self._say(f"{self.failure}; see {replica.process.log}")

    def _withdraw_newcomers(self) -> None:
        for replica in self._replicas:
            if replica.replaces is not None and not replica.is_retiring:
                replica.retire()

    def _scale(self) -> None:
        if self._scaler is None or self._is_rolling or self._is_required:
            return
        desired = self._scaler.look(self._members)
        if desired is not None and desired.servers != self._wanted:
            self._say(
                f"{self._who}: {_replicas(desired.servers)} instead of {self._wanted}: {desired.reason}"
            )
            self._wanted = desired.servers

    def _change(self) -> None:
        surplus, outdated = len(self._members) - self._wanted, self._outdated
        if surplus < 0:
            self._grow(-surplus)
        elif surplus > 0:
            for replica in self._least_needed()[:surplus]:
                replica.retire()
        elif self._is_rolling and all(each.is_ready or each in outdated for each in self._replicas):
            self._roll(outdated)

    def _grow(self, count: int) -> None:
        if self._clock.monotonic() < self._grow_at:
            return
        if self._stops_first and any(each.is_retiring for each in self._replicas):
            return
        for _ in range(count):
            seat = free_seat(self._goal.settings, [each.gpus for each in self._replicas])
            if seat is None:
                return
            self._start(seat)

    def _roll(self, outdated: Sequence[Replica]) -> None:
        if not outdated:
            self._is_rolling = False
            if self._before is not None:
                self._say(f"{self._who} is changed: {_replicas(self._wanted)} of {self._goal.settings.model}")
            self._before = None
            return
        leaving = min(outdated, key=lambda each: each.is_ready)
        if self._stops_first:
            self._say(f"{self._who}: `{leaving.label}` makes room for its successor")
            leaving.retire()
            return
        taken = [each.gpus for each in self._replicas if each is not leaving]
        settings = self._goal.settings
        seat = shared_seat(settings, taken, leaving.gpus) if settings.gpus else ()
        self._start(seat, replaces=leaving)

    def _start(self, seat: Seat, *, replaces: Replica | None = None) -> None:
        label = self._free_label()
        settings = self._goal.settings
        replica = Replica(
            label,
            self._launcher.launch(label, settings, seat),
            recipe=self._goal.recipe,
            drain_s=settings.drain_s,
            gpus=seat,
            replaces=replaces,
            clock=self._clock,
            say=self._say,
            ask=self._ask,
        )
        self._replicas.append(replica)
        replica.start()

    def _free_label(self) -> str:
        taken = {each.label for each in self._replicas}
        labels = [f"{self.name}-{number}" for number in range(1, len(taken) + 2)]
        if self._goal.settings.port is not None:
            labels.insert(0, self.name)
        return next(label for label in labels if label not in taken)

    def _least_needed(self) -> Sequence[Replica]:
        """Of the old recipe before the new one, the unwell before the well, the newest first."""
        newest_first = self._members[::-1]
        return sorted(newest_first, key=lambda each: (each.recipe == self._goal.recipe, each.is_ready))

    def _publish(self) -> None:
        endpoints = tuple(
            each.process.endpoint for each in self._replicas if each.is_ready and each.replaces is None
        )
        if endpoints == self._published:
            return
        try:
            self._launcher.publish(self.name, endpoints)
        except OSError as exc:
            if not self._is_untold:
                self._say(f"{self._who}: gateways cannot be told of its replicas: {exc.strerror}")
            self._is_untold = True
        else:
            self._published, self._is_untold = endpoints, False


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _state(replica: Replica) -> ReplicaState:
    process = replica.process
    return ReplicaState(
        name=replica.label,
        state=replica.state,
        pid=process.pid,
        gpus=replica.gpus,
        model=replica.recipe.settings.model,
        restarts=replica.restarts,
        endpoint=process.endpoint.socket or process.endpoint.url,
    )
