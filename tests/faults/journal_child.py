"""A process to be killed: writes requests into a journal, ships them into a ledger, says on stdout what is durable.

`intended ID` and `concluded ID` are printed after the journal said so, never before.
Arguments: the journal's folder, the first part of the ids, and a database's URL or nothing.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.clock import SystemClock
from gateway.ledger.journal import FileJournal
from gateway.values import Settlement
from tests.fixtures.ledger import Log, closing, intent

if TYPE_CHECKING:
    from gateway.ledger.shipper import Shipper


async def settle(_settlement: Settlement) -> None:
    pass


def make_shipper(journal: FileJournal, url: str) -> "Shipper":
    from gateway.ledger.database import Database
    from gateway.ledger.shipper import Shipper
    from gateway.ledger.store import SqlLedger

    ledger = SqlLedger(Database(url))
    return Shipper(
        journal, ledger, settle, unsettled=ConnectionError, log=Log().logger, ship_every_s=0.005, batch=7
    )


async def main(folder: Path, name: str, url: str = "") -> None:
    journal = FileJournal(folder, clock=SystemClock(), log=Log().logger, segment_bytes=16_384)
    await journal.start()

    async def write(worker: int) -> None:
        number = 0
        while True:
            number += 1
            request_id = f"{name}-{worker}-{number}"
            await journal.intend(intent(request_id))
            sys.stdout.write(f"intended {request_id}\n")
            await journal.conclude(closing(request_id))
            sys.stdout.write(f"concluded {request_id}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        if url:
            group.create_task(make_shipper(journal, url).run())
        for worker in range(8):
            group.create_task(write(worker))


asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
