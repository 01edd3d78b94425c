"""What a model said in a chat, as output items, whether it said it at once or in pieces."""

from collections.abc import Mapping
from typing import Any

import msgspec


class TextKind(msgspec.Struct, frozen=True):
    """How a stream tells a text within an item: the names of its events, and of their fields."""

    event: str
    field: str
    """Of the event that tells it all at once."""
    frame: str = ""
    """What the events around it are named after; the texts of calls have none."""
    index: str = ""
    """Of the field that counts such texts within their item."""


TEXT = TextKind("response.output_text", "text", "response.content_part", "content_index")
REFUSAL = TextKind("response.refusal", "refusal", "response.content_part", "content_index")
REASONING = TextKind("response.reasoning_text", "text", "response.content_part", "content_index")
SUMMARY = TextKind(
    "response.reasoning_summary_text", "text", "response.reasoning_summary_part", "summary_index"
)
ARGUMENTS = TextKind("response.function_call_arguments", "arguments")
INPUT = TextKind("response.custom_tool_call_input", "input")

Logprobs = list[dict[str, Any]]


class Part:
    """One text of an item."""

    __slots__ = ("kind", "pieces")

    def __init__(self, kind: TextKind) -> None:
        self.kind = kind
        self.pieces: list[tuple[str, Logprobs]] = []

    def text(self, start: int = 0) -> str:
        return "".join([piece for piece, _ in self.pieces[start:]])

    def logprobs(self, start: int = 0) -> Logprobs:
        return [entry for _, entries in self.pieces[start:] for entry in entries]

    def told(self, *, is_new: bool = False) -> dict[str, Any]:
        """As content of its item; empty while it is new."""
        text = "" if is_new else self.text()
        if self.kind is TEXT:
            logprobs = [] if is_new else self.logprobs()
            return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}
        if self.kind is REFUSAL:
            return {"type": "refusal", "refusal": text}
        return {"type": "summary_text" if self.kind is SUMMARY else "reasoning_text", "text": text}


class Item:
    """One of the things that an answer consists of."""

    __slots__ = ("id", "parts")
    prefix = ""

    def __init__(self, item_id: str) -> None:
        self.id = item_id
        self.parts: list[Part] = []

    @property
    def may_end(self) -> bool:
        """Nothing shows that it goes on, so that the next item can be told."""
        return True

    def part(self, kind: TextKind) -> Part:
        """The last one, if it is of this kind, else a new one."""
        if not self.parts or self.parts[-1].kind is not kind:
            self.parts.append(Part(kind))
        return self.parts[-1]

    def told(self, status: str, *, is_new: bool = False) -> dict[str, Any]:
        raise NotImplementedError


class MessageItem(Item):
    prefix = "msg_"

    def told(self, status: str, *, is_new: bool = False) -> dict[str, Any]:
        content = [] if is_new else [part.told() for part in self.parts]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class ReasoningItem(Item):
    prefix = "rs_"

    def told(self, status: str, *, is_new: bool = False) -> dict[str, Any]:
        parts = [] if is_new else self.parts
        told: dict[str, Any] = {"id": self.id, "type": "reasoning", "status": status}
        told["summary"] = [part.told() for part in parts if part.kind is SUMMARY]
        content = [part.told() for part in parts if part.kind is REASONING]
        return {**told, "content": content} if content else told


class FunctionItem(Item):
    __slots__ = ("_is_whole", "_judged", "call_id", "name", "namespace")
    prefix = "fc_"
    type = "function_call"
    kind = ARGUMENTS

    def __init__(self, item_id: str, call_id: str, name: str, namespace: str | None) -> None:
        super().__init__(item_id)
        self.call_id = call_id
        self.name = name
        self.namespace = namespace
        self.parts.append(Part(self.kind))
        self._judged = 0
        self._is_whole = False

    @property
    def may_end(self) -> bool:
        """Servers may tell several calls by turns; the arguments of one are an object, which shows when it is whole."""
        pieces = self.parts[0].pieces
        if len(pieces) != self._judged:
            self._judged = len(pieces)
            self._is_whole = pieces[-1][0].rstrip().endswith("}") and _is_json(self.parts[0].text())
        return self._is_whole

    def told(self, status: str, *, is_new: bool = False) -> dict[str, Any]:
        text = "" if is_new else self.parts[0].text()
        head = {"id": self.id, "type": self.type, "status": status}
        told = {**head, self.kind.field: text, "call_id": self.call_id, "name": self.name}
        return told if self.namespace is None else {**told, "namespace": self.namespace}


class CustomItem(FunctionItem):
    prefix = "ctc_"
    type = "custom_tool_call"
    kind = INPUT

    @property
    def may_end(self) -> bool:
        """Its input is any text."""
        return False


class Output:
    """Fed with a chat's whole message, or with its deltas in order. Never fails: nonsense is not told."""

    def __init__(self, suffix: str, names: Mapping[str, tuple[str, str]], *, is_summarised: bool) -> None:
        """`suffix` makes the items' ids; `names` knows the tools that have a namespace. Reasoning is told as a summary
        to those who asked for one."""
        self.items: list[Item] = []
        self._suffix = suffix
        self._names = names
        self._reasoning = SUMMARY if is_summarised else REASONING
        self._calls: dict[int, FunctionItem] = {}

    def add(self, said: Mapping[str, Any], logprobs: Any = None) -> None:
        get = said.get
        if reasoning := _text(get("reasoning_content") or get("reasoning")):
            self._last(ReasoningItem).part(self._reasoning).pieces.append((reasoning, []))
        if text := _text(get("content")):
            self._last(MessageItem).part(TEXT).pieces.append((text, _logprobs(logprobs)))
        if refusal := _text(get("refusal")):
            self._last(MessageItem).part(REFUSAL).pieces.append((refusal, []))
        calls = get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                self._add_call(position, call)

    def end(self) -> None:
        """An answer without a word is still a message."""
        if not self.items:
            self._last(MessageItem).part(TEXT)

    def told(self, status: str) -> list[dict[str, Any]]:
        """If the answer was cut short, then in its last item."""
        last = len(self.items) - 1
        return [item.told(status if i == last else "completed") for i, item in enumerate(self.items)]

    def _last(self, kind: type[Item]) -> Item:
        if not self.items or type(self.items[-1]) is not kind:
            self.items.append(kind(self._id(kind)))
        return self.items[-1]

    def _id(self, kind: type[Item]) -> str:
        return f"{kind.prefix}{self._suffix}{len(self.items):02x}"

    def _add_call(self, position: int, call: dict[str, Any]) -> None:
        is_custom = call.get("type") == "custom" or "custom" in call
        said = call.get("custom" if is_custom else "function")
        said = said if isinstance(said, dict) else {}
        index, call_id, name = call.get("index"), _text(call.get("id")), _text(said.get("name"))
        index = index if type(index) is int else position
        item = self._calls.get(index)
        # Some servers give every call the index 0.
        if item is None or (name and call_id and call_id != item.call_id):
            kind = CustomItem if is_custom else FunctionItem
            item_id = self._id(kind)
            namespace, name = self._names.get(name, (None, name))
            item = self._calls[index] = kind(item_id, call_id or f"call_{item_id}", name, namespace)
            self.items.append(item)
        arguments = said.get(item.kind.field)
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        if piece := _text(arguments):
            item.parts[0].pieces.append((piece, []))


def _text(value: Any) -> str:
    """Of a string, or of the text parts into which some servers cut their content."""
    if isinstance(value, list):
        return "".join([_text(part.get("text")) for part in value if isinstance(part, dict)])
    return value if isinstance(value, str) else ""


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class _Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None

    def told(self) -> dict[str, Any]:
        text = list(self.token.encode()) if self.bytes is None else self.bytes
        return {"token": self.token, "logprob": self.logprob, "bytes": text}


class _Choice(_Token):
    top_logprobs: list[_Token] = []


class _Choices(msgspec.Struct):
    content: list[_Choice] | None = None


def _logprobs(said: Any) -> Logprobs:
    if said is None:
        return []
    try:
        choices = msgspec.convert(said, _Choices).content or ()
    except msgspec.ValidationError:
        return []
    return [
        {**choice.told(), "top_logprobs": [top.told() for top in choice.top_logprobs]} for choice in choices
    ]
