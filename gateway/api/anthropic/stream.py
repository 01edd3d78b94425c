"""The frames of Anthropic's stream: what is generated in whatever order, in blocks that come one after the other."""

import re
from collections import deque
from typing import Any

import msgspec

Json = dict[str, Any]

NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
"""Of tools' calls, which other models' servers name as they like."""


def frame(kind: str, said: Json) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **said}) + b"\n\n"


class _Block:
    """One that is being written. It is told from when nothing stands before it any more."""

    __slots__ = ("is_told", "pending", "start", "written")

    def __init__(self, start: Json) -> None:
        self.start = start
        """As it is before anything is written in it."""
        self.is_told = False
        self.pending: list[str] = []
        self.written: list[str] = []

    @property
    def kind(self) -> str:
        return str(self.start["type"])

    @property
    def is_nameless(self) -> bool:
        return not self.start.get("name", "-")

    def write(self, piece: str) -> None:
        self.pending.append(piece)
        self.written.append(piece)

    def is_complete(self) -> bool:
        """Text may end at any place; the input of a tool ends where its JSON does."""
        return self.kind != "tool_use" or _read_input("".join(self.written)) is not None

    def deltas(self) -> list[Json]:
        """What was written since the last call, piece by piece as it was generated."""
        pieces, self.pending = self.pending, []
        if self.kind == "tool_use":
            return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        return [{"type": f"{self.kind}_delta", self.kind: piece} for piece in pieces]

    def whole(self) -> Json:
        text = "".join(self.written)
        if self.kind == "tool_use":
            return {**self.start, "input": _read_input(text) or {}}
        return {**self.start, self.kind: text}


class Blocks:
    """Chat models may write several tool calls at once; here a block is told to its end before the next begins."""

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self._queue: deque[_Block] = deque()
        self._calls: dict[int, _Block] = {}
        self._call_ids: dict[int, str] = {}
        self._calls_made = 0
        self._index = 0
        self.has_calls = False

    def text(self, piece: str) -> None:
        # No `citations` where there are none: a client that is strict refuses null there.
        self._last({"type": "text", "text": ""}).write(piece)

    def thinking(self, piece: str) -> None:
        self._last({"type": "thinking", "thinking": "", "signature": ""}).write(piece)

    def call(self, place: int, call_id: str, name: str, arguments: str) -> None:
        """A piece of the tool call at this place. Some servers give every call the same place, but its own id."""
        block = self._calls.get(place)
        if block is None or (name and call_id and self._call_ids[place] not in ("", call_id)):
            block = self._calls[place] = _Block(self._tool_use(call_id))
            self._call_ids[place] = call_id
            self._queue.append(block)
        if name and not block.is_told:
            block.start["name"] = name
        if arguments:
            block.write(arguments)

    def frames(self, *, is_end: bool = False) -> list[bytes]:
        """What can be told by now; at the end, all of it."""
        frames: list[bytes] = []
        while self._queue:
            block, is_followed = self._queue[0], len(self._queue) > 1
            if block.is_nameless:
                if not (is_end or is_followed):
                    break
                self._queue.popleft()
                continue
            frames += self._tell(block)
            if not is_end and not (is_followed and block.is_complete()):
                break
            frames.append(frame("content_block_stop", {"index": self._index}))
            self._queue.popleft()
            self._index += 1
        return frames

    def _tell(self, block: _Block) -> list[bytes]:
        frames = []
        if not block.is_told:
            block.is_told = True
            self.has_calls |= block.kind == "tool_use"
            frames.append(frame("content_block_start", {"index": self._index, "content_block": block.start}))
        index = self._index
        return frames + [
            frame("content_block_delta", {"index": index, "delta": delta}) for delta in block.deltas()
        ]

    def whole(self) -> list[Json]:
        """All of it, where nothing was told before."""
        blocks = [block.whole() for block in self._queue if not block.is_nameless]
        self.has_calls = any(block["type"] == "tool_use" for block in blocks)
        return blocks

    def _last(self, start: Json) -> _Block:
        if not self._queue or self._queue[-1].kind != start["type"]:
            self._queue.append(_Block(start))
        return self._queue[-1]

    def _tool_use(self, call_id: str) -> Json:
        own_id = f"toolu_{self._message_id.removeprefix('msg_')}_{self._calls_made}"
        self._calls_made += 1
        return {
            "type": "tool_use",
            "id": NOT_IN_IDS.sub("_", call_id) or own_id,
            "name": "",
            "input": {},
            "caller": {"type": "direct"},
        }


def _read_input(arguments: str) -> Json | None:
    """None for what is not a whole JSON object."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
