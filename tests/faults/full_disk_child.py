"""A process whose files may not grow any more, then may again. Prints what its journal answered, in order."""

import asyncio
import resource
import signal
import sys
from pathlib import Path

from gateway.clock import SystemClock
from gateway.ledger.contract import JournalUnavailableError
from gateway.ledger.journal import FileJournal
from tests.fixtures.ledger import Log, closing, intent


def allow(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


async def say(step: str, answer: asyncio.Future[None]) -> None:
    try:
        await answer
    except JournalUnavailableError:
        print(step, "refused")
    else:
        print(step, "durable")


async def main(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = Log()
    journal = FileJournal(folder, clock=SystemClock(), log=log.logger)
    await journal.start()
    await say("before", journal.intend(intent("before")))
    # The open file is nearly full, a new one has room: the journal changes files and nobody notices.
    allow(1000)
    await say("another-file", journal.intend(intent("another-file")))
    allow(0)
    await say("full", journal.intend(intent("full")))
    await say("full-closing", journal.conclude(closing("before")))
    allow(resource.RLIM_INFINITY)
    await say("after", journal.intend(intent("after")))
    print("waiting", [one.settlement.request_id for one in journal.waiting(10)])
    await journal.close()


asyncio.run(main(Path(sys.argv[1])))
