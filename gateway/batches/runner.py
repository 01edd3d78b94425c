"""Works through batches in the background, when interactive traffic leaves room. One per process; the database decides
which process does what."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.batches.lines import Revoked, RunLine, Setback
from gateway.batches.steps import Steps
from gateway.clock import Clock
from gateway.config import Batches
from gateway.ledger.batch_work import Answer, BatchWork, Checking, Line, LostError, Task, Writing
from gateway.ledger.database import DatabaseUnavailableError
from gateway.ledger.files import Files
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics

_BUSY_S = 0.05
"""Between looks at whether there is room now."""
_SETBACK_S, _LONGEST_SETBACK_S = 0.5, 30.0
"""Between lines, when one after the other comes to nothing: the upstreams are not to be pestered."""
_RECORD_AGAIN_S, _LONGEST_RECORD_S = 1.0, 30.0


class Runner:
    def __init__(
        self,
        work: BatchWork,
        files: Files,
        run_line: RunLine,
        settings: Batches,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        *,
        max_line_bytes: int,
        drain_s: float,
        is_draining: Callable[[], bool],
        tasks: Callable[[], asyncio.TaskGroup],
    ) -> None:
        """`tasks` gives the group that owns what runs, and outlives `run`."""
        self._work = work
        self._run_line = run_line
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._drain_s = drain_s
        self._is_draining = is_draining
        self._tasks = tasks
        self._steps = Steps(
            work, files, self._calm, max_lines=settings.max_lines, max_line_bytes=max_line_bytes
        )
        self._running: dict[asyncio.Task[None], Task] = {}
        self._woken = asyncio.Event()
        self._setbacks = 0
        self._not_before = 0.0

    async def run(self) -> None:
        """For ever; cancel it to stop. Lines that run then have `drain_s` to end."""
        if self._settings.concurrency == 0:
            return
        renewing = self._tasks().create_task(self._renew())
        try:
            while True:
                self._woken.clear()
                await self._rest(await self._start_something())
        finally:
            await self._drain()
            renewing.cancel()

    def wake(self) -> None:
        """There is something new to do."""
        self._woken.set()

    @property
    def is_yielding(self) -> bool:
        """Interactive requests have the machine: nothing begins."""
        return self._metrics.in_flight > self._settings.pauses_at

    async def _start_something(self) -> float:
        """At most one thing; how long to rest then, unless woken."""
        if self._is_draining() or len(self._running) >= self._settings.concurrency:
            return self._settings.poll_s
        if self.is_yielding:
            return _BUSY_S
        with_lines = self._clock.monotonic() >= self._not_before
        try:
            task = await asyncio.to_thread(self._work.take, with_lines=with_lines)
        except DatabaseUnavailableError as exc:
            self._log.warning("batch.database_unavailable", error=str(exc))
            return self._settings.poll_s
        if task is None:
            return self._settings.poll_s
        running = self._tasks().create_task(self._do(task))
        self._running[running] = task
        running.add_done_callback(self._done)
        return 0.0

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _done(self, running: asyncio.Task[None]) -> None:
        del self._running[running]
        self._woken.set()

    async def _do(self, task: Task) -> None:
        try:
            if isinstance(task, Checking):
                await self._steps.check(task)
            elif isinstance(task, Writing):
                await self._steps.write(task)
                self._log.info("batch.ended", batch=task.batch_id, tenant=task.tenant, ending=task.ending)
            else:
                await self._line(task)
        except LostError:
            self._log.info("batch.lost", batch=task.batch_id)
        except DatabaseUnavailableError as exc:
            # Its lease runs out, and somebody begins it anew.
            self._log.warning("batch.database_unavailable", batch=task.batch_id, error=str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever one batch does, the others go on
            self._log.error("batch.failed", batch=task.batch_id, exc_info=exc)

    async def _line(self, line: Line) -> None:
        try:
            came = await self._run_line(line)
        except BaseException:
            with suppress(DatabaseUnavailableError):
                await asyncio.to_thread(self._work.give_back, line)
            raise
        if isinstance(came, Answer):
            self._setbacks = 0
            self._metrics.batch_line("answered" if came.status_code == 200 else "refused")
            await self._record(line, came)
        elif isinstance(came, Setback):
            pause_s = min(_SETBACK_S * 2**self._setbacks, _LONGEST_SETBACK_S)
            self._setbacks += 1
            self._metrics.batch_line("put_off")
            self._not_before = self._clock.monotonic() + pause_s
            await asyncio.to_thread(
                self._work.give_back, line, not_before_ms=came.again_ms, is_failure=came.is_failure
            )
        else:
            assert isinstance(came, Revoked)  # noqa: S101 - there is no other
            await asyncio.to_thread(self._work.give_back, line)
            await asyncio.to_thread(self._work.revoke, line.batch_id)

    async def _record(self, line: Line, answer: Answer) -> None:
        """It has been paid for: as long as the database is away, it waits here."""
        pause_s = _RECORD_AGAIN_S
        while True:
            try:
                await asyncio.to_thread(self._work.record, line, answer)
            except DatabaseUnavailableError as exc:
                self._log.warning("batch.record_waits", batch=line.batch_id, error=str(exc))
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RECORD_S)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / 3)
            if self._running:
                try:
                    await asyncio.to_thread(self._work.renew, list(self._running.values()))
                except DatabaseUnavailableError as exc:
                    self._log.warning("batch.lease_not_renewed", error=str(exc))

    async def _calm(self) -> None:
        while self.is_yielding:
            await asyncio.sleep(_BUSY_S)

    async def _drain(self) -> None:
        """A line that is cut off would be paid for twice; the steps lose nothing."""
        for running, task in list(self._running.items()):
            if not isinstance(task, Line):
                running.cancel()
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=self._drain_s)
            for running in late:
                running.cancel()
