"""What is over is removed a bite at a time, and a database that was away is swept when it is back."""

import asyncio

from gateway.ledger.database import DatabaseUnavailableError
from gateway.ledger.sweeper import Sweeper
from tests.fixtures.ledger import Log


async def test_each_sweep_goes_on_until_nothing_is_left() -> None:
    left = {"replies": 3, "files": 1}

    def bite(name: str) -> int:
        eaten = min(2, left[name])
        left[name] -= eaten
        return eaten

    await Sweeper([lambda: bite("replies"), lambda: bite("files")], Log().logger).sweep()

    assert left == {"replies": 0, "files": 0}


async def test_a_sweep_that_failed_is_made_again() -> None:
    log, swept = Log(), asyncio.Event()
    loop = asyncio.get_running_loop()
    answers = iter([DatabaseUnavailableError("away"), 0])

    def sweep() -> int:
        answer = next(answers, 0)
        if isinstance(answer, Exception):
            raise answer
        loop.call_soon_threadsafe(swept.set)
        return answer

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(Sweeper([sweep], log.logger, every_s=0.001).run())
        await swept.wait()
        running.cancel()

    assert log.events == ["sweep.database_unavailable"]
