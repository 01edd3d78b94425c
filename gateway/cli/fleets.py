"""All workers of `weighbridge up`, and what becomes of them when the configuration file has changed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gateway.cli import running
from gateway.cli.demo import make_worker_keys
from gateway.cli.fleet import Fleet, Launcher
from gateway.cli.launch import with_key
from gateway.cli.running import Reload, Running
from gateway.cli.supervisor import Ask
from gateway.clock import Clock
from gateway.config import Config, load
from gateway.errors import ConfigError


class Fleets:
    def __init__(
        self,
        path: Path,
        config: Config,
        launcher: Launcher,
        *,
        clock: Clock,
        say: Callable[[str], None],
        ask: Ask,
    ) -> None:
        self._path = path
        self._config = config
        self._launcher = launcher
        self._clock = clock
        self._say_aloud = say
        self._ask = ask
        self._reload = Reload()
        self._written: Running | None = None
        self._leaving: dict[str, Fleet] = {}
        self._fleets = {name: self._fleet(config, name, is_required=True) for name in config.workers}

    def __iter__(self) -> Iterator[Fleet]:
        return iter(self._fleets.values())

    def look(self) -> None:
        """To be called many times a second. Raises NeverReadyError of a worker that was there from the start."""
        for fleet in self._all:
            fleet.look()
        self._leaving = {name: fleet for name, fleet in self._leaving.items() if not fleet.is_empty}
        if not self._reload.is_done and all(fleet.is_settled for fleet in self):
            is_good = self._reload.is_good and not any(fleet.failure for fleet in self)
            self._reload = msgspec.structs.replace(self._reload, is_done=True, is_good=is_good)
        self._write()

    def reload(self) -> None:
        """Reads the file again and begins to make the workers what it says."""
        self._reload = Reload(number=self._reload.number + 1, is_done=False)
        try:
            config = load(self._path)
            make_worker_keys(config)
        except ConfigError as exc:
            self._say(f"nothing is changed: {exc}")
            self._reload = msgspec.structs.replace(self._reload, is_done=True, is_good=False)
            return
        is_changed = self._apply(config)
        rest = _changed_beside_workers(self._config, config)
        if rest:
            self._say(f"changed in {self._path} too: {', '.join(rest)}; restart to apply")
        elif not is_changed:
            self._say(f"{self._path} says nothing new of workers")

    def stop(self, is_hurried: Callable[[], bool]) -> None:
        for fleet in self._all:
            fleet.terminate()
        for fleet in self._all:
            fleet.end(is_hurried)
        running.state_path(self._config.data_path).unlink(missing_ok=True)

    @property
    def _all(self) -> tuple[Fleet, ...]:
        return (*self, *self._leaving.values())

    def _apply(self, config: Config) -> bool:
        is_changed = False
        for name in sorted(self._fleets.keys() - config.workers.keys()):
            fleet = self._fleets.pop(name)
            fleet.dismiss()
            self._leaving[name] = fleet
            is_changed = True
        for name in config.workers:
            if name in self._leaving:
                self._fleets[name] = self._leaving.pop(name)
            if name in self._fleets:
                is_changed |= self._fleets[name].apply(with_key(config, name))
                continue
            self._say(f"worker `{name}` is new")
            self._fleets[name] = self._fleet(config, name, is_required=False)
            is_changed = True
        return is_changed

    def _fleet(self, config: Config, name: str, *, is_required: bool) -> Fleet:
        return Fleet(
            name,
            with_key(config, name),
            self._launcher,
            clock=self._clock,
            say=self._say,
            ask=self._ask,
            is_required=is_required,
        )

    def _say(self, line: str) -> None:
        self._say_aloud(line)
        if not self._reload.is_done:
            self._reload = msgspec.structs.replace(self._reload, lines=(*self._reload.lines, line))

    def _write(self) -> None:
        now = Running(
            config=str(self._path),
            workers=tuple(fleet.state for fleet in self._all),
            reload=self._reload,
        )
        if now == self._written:
            return
        self._written = now
        try:
            running.write(running.state_path(self._config.data_path), now)
        except OSError as exc:
            self._say_aloud(
                f"{running.state_path(self._config.data_path)}: cannot be written: {exc.strerror}"
            )


def _changed_beside_workers(before: Config, after: Config) -> list[str]:
    return [
        field
        for field in Config.__struct_fields__
        if field != "workers" and getattr(before, field) != getattr(after, field)
    ]
