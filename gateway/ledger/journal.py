"""The journal: every record durable before the step that it covers, many records per disk write.

One thread writes. Records that arrive while it is in the kernel go into its next write, so that the event loop
pays for an encoding and a wake-up, never for the disk.
"""

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from gateway.clock import Clock
from gateway.ledger.contract import Closing, Intent, JournalUnavailableError
from gateway.ledger.journal_folder import JournalFolder, Recovery
from gateway.ledger.segments import ClosingRecord, IntentRecord, ProgressRecord, Segment, delete, encode
from gateway.telemetry.logs import Logger
from gateway.values import Entry


class _Pending:
    """A record on its way to the disk, and who waits for it."""

    __slots__ = ("closing", "data", "done", "request_id", "since")

    def __init__(
        self,
        data: bytes,
        done: asyncio.Future[None] | None,
        since: float,
        request_id: str,
        closing: Closing | None,
    ) -> None:
        self.data = data
        self.done = done
        self.since = since
        self.request_id = request_id
        self.closing = closing


class _Waiting:
    """A closing on its way to the ledger, and the segments that must stay until it is there."""

    __slots__ = ("closing", "pinned", "since")

    def __init__(self, closing: Closing, pinned: list[Segment], since: float) -> None:
        self.closing = closing
        self.pinned = pinned
        self.since = since


class FileJournal:
    """Implements `contract.Journal`. Several processes may share the folder: each writes its own files, and what
    a dead one left is adopted by the next that starts."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        log: Logger,
        segment_bytes: int = 16_777_216,
        gather_s: float = 0.002,
        gather_above: int = 4,
        stall_s: float = 5.0,
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        """With more than `gather_above` requests open, the writer waits `gather_s` for company: a disk write costs
        about 0.1 ms of CPU however much it carries. A disk silent for `stall_s` counts as unavailable."""
        self._folder = JournalFolder(folder, new_id=new_id, log=log)
        self._clock = clock
        self._log = log
        self._segment_bytes = segment_bytes
        self._gather_s = gather_s
        self._gather_above = gather_above
        self._stall_s = stall_s

        self._queue: SimpleQueue[_Pending | None] = SimpleQueue()
        self._in_flight: deque[_Pending] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._open: dict[str, list[Segment]] = {}
        self._segments: deque[Segment] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._concluded = 0
        self._posted = 0
        self._waiting_entries = 0
        self._recovered_entries = 0

        # The writer's own.
        self._current: Segment | None = None
        self._sequence = 0

        self._is_closed = False

    async def start(self) -> None:
        """Claim a name in the folder and start the writer. Raises ConfigError if the folder cannot be used."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._folder.claim)
        self._writer = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        self._writer.start()

    async def close(self) -> None:
        """Write what is queued and stop. Whatever is not in the ledger stays for the next start."""
        self._is_closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        if self._watch is not None:
            self._watch.cancel()
        if self._current is not None:
            self._current.seal()
        is_needed = any(segment.pins for segment in self._segments)
        own = None if is_needed else [segment.path for segment in self._segments]
        await asyncio.to_thread(self._folder.leave, own)

    async def intend(self, intent: Intent) -> None:
        await self._append(encode(IntentRecord(intent)), intent.draft.request_id, None)

    def progress(self, request_id: str, attempt: int, output_tokens: int, engine_us: int = 0) -> None:
        record = ProgressRecord(request_id, attempt, output_tokens, engine_us)
        self._put(_Pending(encode(record), None, self._loop.time(), request_id, None))

    async def conclude(self, closing: Closing) -> None:
        """When it raises, the closing is shipped from memory all the same: only a crash before that loses it."""
        await self._append(encode(ClosingRecord(closing)), closing.settlement.request_id, closing)

    @property
    def unshipped(self) -> int:
        return self._waiting_entries + self._recovered_entries

    @property
    def oldest_unshipped_s(self) -> float:
        """How long the oldest closing has been waiting for the ledger."""
        return self._clock.monotonic() - self._waiting[0].since if self._waiting else 0.0

    @property
    def concluded(self) -> int:
        """Closings handed to the shipper so far; the n-th is in the ledger when `posted` has reached n."""
        return self._concluded

    @property
    def posted(self) -> int:
        return self._posted

    def waiting(self, limit: int) -> list[Closing]:
        """The oldest closings that are not in the ledger."""
        return [waiting.closing for waiting in islice(self._waiting, limit)]

    def mark_posted(self, count: int) -> None:
        """The oldest `count` closings are in the ledger, for good."""
        for _ in range(count):
            done = self._waiting.popleft()
            self._waiting_entries -= len(done.closing.entries)
            for segment in done.pinned:
                segment.pins -= 1
        self._posted += count

    def pin(self) -> Segment | None:
        """Keep every segment until `unpin`, for a crash to find what was concluded so far."""
        if not self._segments:
            return None
        self._segments[0].pins += 1
        return self._segments[0]

    def unpin(self, pinned: Segment | None) -> None:
        if pinned is not None:
            pinned.pins -= 1

    async def discard_posted(self) -> None:
        """Delete the segments that nobody needs any more.

        Oldest first and none out of turn: an intent may stand in one segment and its closing in a later one.
        """
        dead: list[Path] = []
        while len(self._segments) > 1 and self._segments[0].pins == 0:
            dead.append(self._segments.popleft().path)
        if dead:
            await asyncio.to_thread(delete, dead)

    async def recover(self) -> Recovery:
        """Adopt what dead processes left; it stays on disk until `discard_recovered`."""
        recovery = await asyncio.to_thread(self._folder.adopt)
        self._recovered_entries += sum(len(closing.entries) for closing in recovery.closings)
        return recovery

    def mark_recovered_posted(self, entries: int) -> None:
        self._recovered_entries -= entries

    async def discard_recovered(self) -> None:
        """Everything that `recover` returned so far is in the ledger: delete it."""
        if self._folder.has_adopted:
            await asyncio.to_thread(self._folder.discard_adopted)

    async def set_aside(self, entries: Iterable[Entry]) -> Path:
        """Keep entries that the database refuses, for a person to look at: one JSON line each."""
        return await asyncio.to_thread(self._folder.set_aside, entries)

    async def _append(self, data: bytes, request_id: str, closing: Closing | None) -> None:
        if self._is_closed:
            raise JournalUnavailableError("the journal is closed")
        now = self._loop.time()
        if self._in_flight and now - self._in_flight[0].since > self._stall_s:
            if closing is not None:
                self._put(_Pending(data, None, now, request_id, closing))
            raise JournalUnavailableError("the journal's disk does not answer")
        done = self._loop.create_future()
        self._put(_Pending(data, done, now, request_id, closing))
        await done

    def _put(self, pending: _Pending) -> None:
        self._in_flight.append(pending)
        self._queue.put(pending)
        if self._watch is None:
            self._watch = self._loop.call_later(self._stall_s, self._refuse_stalled)

    def _refuse_stalled(self) -> None:
        limit = self._loop.time() - self._stall_s
        for pending in self._in_flight:
            if pending.since > limit:
                break
            if pending.done is not None and not pending.done.done():
                pending.done.set_exception(JournalUnavailableError("the journal's disk does not answer"))
        self._watch = self._loop.call_later(self._stall_s, self._refuse_stalled) if self._in_flight else None

    def _write_forever(self) -> None:
        queue = self._queue
        is_open = True
        while is_open:
            first = queue.get()
            # Like PostgreSQL's commit_delay and commit_siblings.
            if len(self._open) > self._gather_above:
                time.sleep(self._gather_s)
            arrived = [first, *(queue.get() for _ in range(queue.qsize()))]
            is_open = None not in arrived
            batch = [pending for pending in arrived if pending is not None]
            if not batch:
                break
            error: OSError | None = None
            try:
                self._write(b"".join([pending.data for pending in batch]))
            except OSError as exc:
                error = exc
            self._loop.call_soon_threadsafe(self._committed, batch, self._current, error)

    def _write(self, data: bytes) -> None:
        if self._current is not None and self._current.size + len(data) > self._segment_bytes:
            self._seal()
        if self._current is not None:
            try:
                self._current.write(data)
                return
            except OSError as exc:
                # A page that failed to reach the disk is dropped from memory too: this file is never synced again.
                self._log.error("journal.segment_failed", path=str(self._current.path), error=exc.strerror)
                self._seal()
        self._sequence += 1
        self._current = Segment(self._folder.segment(self._sequence))
        try:
            self._current.write(data)
        except OSError:
            self._seal()
            raise

    def _seal(self) -> None:
        if self._current is not None:
            self._current.seal()
            self._current = None

    def _committed(self, batch: list[_Pending], segment: Segment | None, error: OSError | None) -> None:
        """Back on the event loop: account for a batch and wake those who waited for it."""
        if (
            segment is not None
            and error is None
            and (not self._segments or self._segments[-1] is not segment)
        ):
            self._segments.append(segment)
        durable_in = segment if error is None else None
        since = self._clock.monotonic()
        for pending in batch:
            self._in_flight.popleft()
            if pending.closing is not None:
                self._hand_over(pending.closing, durable_in, since)
            elif pending.done is not None and durable_in is not None:
                self._note_intent(pending.request_id, durable_in)
            if pending.done is None or pending.done.done():
                continue
            if error is None:
                pending.done.set_result(None)
            else:
                pending.done.set_exception(
                    JournalUnavailableError(f"the journal cannot be written: {error.strerror}")
                )

    def _note_intent(self, request_id: str, segment: Segment) -> None:
        segment.pins += 1
        self._open.setdefault(request_id, []).append(segment)

    def _hand_over(self, closing: Closing, segment: Segment | None, since: float) -> None:
        pinned = self._open.pop(closing.settlement.request_id, [])
        if segment is not None:
            segment.pins += 1
            pinned.append(segment)
        self._waiting.append(_Waiting(closing, pinned, since))
        self._waiting_entries += len(closing.entries)
        self._concluded += 1
