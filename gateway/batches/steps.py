"""The two steps of a batch that are not requests: its input into lines, its answered lines into files."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.batches.input import InputCheck
from gateway.batches.output import is_success, output_line
from gateway.ledger.batch_work import Answered, BatchWork, Checking, Writing
from gateway.ledger.batches import LineError
from gateway.ledger.files import Draft, Files

_LINES_AT_ONCE = 500
_ANSWERS_AT_ONCE = 20
"""Each may have megabytes."""

Calm = Callable[[], Awaitable[None]]
"""Waits as long as interactive requests need the machine."""


class Steps:
    """Each begins from the beginning, whoever may have begun it before. They raise LostError and
    DatabaseUnavailableError."""

    def __init__(
        self, work: BatchWork, files: Files, calm: Calm, *, max_lines: int, max_line_bytes: int
    ) -> None:
        self._work = work
        self._files = files
        self._calm = calm
        self._max_lines = max_lines
        self._max_line_bytes = max_line_bytes

    async def check(self, task: Checking) -> None:
        await asyncio.to_thread(self._work.clear_lines, task.batch_id)
        check = InputCheck(task.endpoint, max_lines=self._max_lines, max_line_bytes=self._max_line_bytes)
        async for lines in self._lines(task.input_file_id):
            await self._calm()
            await asyncio.to_thread(self._take, task, check, lines)
            if check.is_hopeless:
                break
        await asyncio.to_thread(self._conclude, task, check)

    async def write(self, task: Writing) -> None:
        output, errors = (Draft(self._files, task.tenant, is_bounded=False) for _ in range(2))
        try:
            after = 0
            while lines := await asyncio.to_thread(
                self._work.answered, task.batch_id, after=after, limit=_ANSWERS_AT_ONCE
            ):
                await self._calm()
                await asyncio.to_thread(_compose, task, lines, output, errors)
                after = lines[-1].number
            await asyncio.to_thread(self._finish, task, output, errors)
        except BaseException:
            await asyncio.to_thread(_drop, output, errors)
            raise

    def _take(self, task: Checking, check: InputCheck, lines: list[bytes]) -> None:
        good = check.take(lines)
        if good and not check.errors:
            self._work.add_lines(task.batch_id, good)

    def _conclude(self, task: Checking, check: InputCheck) -> None:
        check.end()
        if self._files.find(task.tenant, task.input_file_id) is None:
            gone = LineError("file_not_found", "The input file has been deleted.")
            self._work.fail(task.batch_id, [gone])
        elif check.errors:
            self._work.fail(task.batch_id, check.errors)
        else:
            self._work.start(task.batch_id, total=check.total, model=check.model)

    def _finish(self, task: Writing, output: Draft, errors: Draft) -> None:
        self._work.finish(task, output=output.flush(), errors=errors.flush())

    async def _lines(self, file_id: str) -> AsyncIterator[list[bytes]]:
        rest, number = b"", 0
        while (chunk := await asyncio.to_thread(self._files.chunk, file_id, number)) is not None:
            *whole, rest = (rest + chunk).split(b"\n")
            for start in range(0, len(whole), _LINES_AT_ONCE):
                yield whole[start : start + _LINES_AT_ONCE]
            if len(rest) > self._max_line_bytes:
                break  # and is refused for its length, whatever follows
            number += 1
        if rest:
            yield [rest]


def _compose(task: Writing, lines: list[Answered], output: Draft, errors: Draft) -> None:
    for line in lines:
        into = output if is_success(line) else errors
        into.write(output_line(task.batch_id, line, task.ending))


def _drop(*drafts: Draft) -> None:
    for draft in drafts:
        draft.drop()
