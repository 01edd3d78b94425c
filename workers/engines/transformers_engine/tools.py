"""Tool calls: how each family of models writes them, as a grammar for the model and as a reader of what it wrote.

A family is known by its chat template, which names the marks that the model was taught.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from workers.request import ChatRequest, NamedTool, Tool


class Family(NamedTuple):
    name: str
    opens: str
    """Before the first call, or before each if something closes it."""
    closes: str
    arguments: str
    """The key that holds them."""
    short_ids: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.opens, self.closes)))


HERMES = Family("hermes", "<tool_call>", "</tool_call>", "arguments")
MISTRAL = Family("mistral", "[TOOL_CALLS]", "", "arguments", short_ids=True)
LLAMA = Family("llama", "<|python_tag|>", "", "parameters")
"""Its calls are bare objects; the mark before them is optional."""

NO_PARAMETERS = {"additionalProperties": False}
"""As OpenAI has it: a function that names none takes none."""


def family_of(template: str | None) -> Family | None:
    """None: the template has no tools, or a way to write them that is not known here."""
    if template is None or "tools" not in template:
        return None
    is_other = any(sign in template for sign in ("<function=", "<arg_key>"))
    if HERMES.opens in template and "arguments" in template and not is_other:
        return HERMES
    if MISTRAL.opens in template and "[ARGS]" not in template:
        return MISTRAL
    return LLAMA if "parameters" in template and "<|eot_id|>" in template else None


def callable_tools(request: ChatRequest) -> Sequence[Tool]:
    """Those that `tool_choice` leaves."""
    tools = request.tools or ()
    if isinstance(request.tool_choice, NamedTool):
        return [tool for tool in tools if tool.function.name == request.tool_choice.function.name][:1]
    return tools


def grammar(
    family: Family,
    request: ChatRequest,
    *,
    token_of: Callable[[str], int | None],
    plain: Sequence[int],
    layout: dict[str, Any],
    answer: dict[str, Any] | None,
) -> str:
    """In Lark. `token_of` a mark is its token, if it has one of its own; `plain` are other such tokens that may stand
    in a text; `answer` is the schema of an answer that calls nothing."""
    tools = callable_tools(request)
    is_forced = request.tool_choice not in (None, "auto")
    rules = [f"body: {' | '.join(f'tool_{index}' for index in range(len(tools)))}"]
    for index, tool in enumerate(tools):
        head = json.dumps(f'{{"name": "{tool.function.name}", "{family.arguments}": ')
        schema = {"type": "object", **(tool.function.parameters or NO_PARAMETERS), "x-guidance": layout}
        rules += [f'tool_{index}: {head} args_{index} "}}"', f"args_{index}: %json {json.dumps(schema)}"]

    def mark(text: str) -> str:
        token = token_of(text)
        return json.dumps(text) if token is None else f"<[{token}]>"

    is_single = request.parallel_tool_calls is False or isinstance(request.tool_choice, NamedTool)
    rules += _calls(family, mark, is_single=is_single)
    if is_forced:
        start = "calls"
    elif answer is not None:
        start = "calls | answer"
        rules.append(f"answer: %json {json.dumps({**answer, 'x-guidance': layout})}")
    else:
        start = "calls | text" if family is LLAMA else "text calls?"
        rules += _text(family, token_of(family.opens), plain)
    return "\n".join([f"start: {start}", *rules])


def _calls(family: Family, mark: Callable[[str], str], *, is_single: bool) -> list[str]:
    if family is HERMES:
        call = f'call: {mark(family.opens)} "\\n" body "\\n" {mark(family.closes)}'
        return [call, "calls: call" if is_single else 'calls: call ("\\n" call)*']
    if family is MISTRAL:
        more = "" if is_single else ' (", " body)*'
        return [f'calls: {mark(family.opens)} " "? "[" body{more} "]"']
    return ["calls: body" if is_single else 'calls: body ("; " body)*']


def _text(family: Family, opening: int | None, plain: Sequence[int]) -> list[str]:
    if family is LLAMA:
        # An object at the beginning is a call.
        return ["text: (FIRST REST?)?", r"FIRST: /[^{\s]/", r"REST: /(?s:.+)/"]
    words = r"/(?s:.+)/"
    if opening is None:
        words += f" & ~/(?s:.*){_escaped(family.opens)}(?s:.*)/"
    others = f" | <{json.dumps(list(plain)).replace(' ', '')}>" if plain else ""
    return [f"text: (WORDS{others})*", f"WORDS: {words}"]


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "[]|" else sign for sign in text)


class CallReader:
    """Parts text from calls, as they come. A call is told when it is whole; what is none after all is text."""

    def __init__(self, family: Family, tools: Sequence[Tool], new_id: Callable[[int], str]) -> None:
        self._family = family
        self._names = {tool.function.name for tool in tools}
        self._new_id = new_id
        self._buffer = ""
        self._is_inside = False
        self._has_text = False
        self._count = 0

    @property
    def has_called(self) -> bool:
        return self._count > 0

    def read(self, text: str, *, is_last: bool) -> list[dict[str, Any]]:
        self._buffer += text
        deltas: list[dict[str, Any]] = []
        while self._step(deltas, is_last=is_last):
            pass
        return deltas

    def _step(self, deltas: list[dict[str, Any]], *, is_last: bool) -> bool:
        """True if it is worth another look at the buffer."""
        if not self._is_inside:
            place = self._beginning()
            if place is None:
                keep = 0 if is_last else _overlap(self._buffer, self._family.opens)
                self._show(deltas, len(self._buffer) - keep)
                return False
            self._show(deltas, place)
            self._is_inside = True
        closes = self._family.closes
        end = self._buffer.find(closes) + len(closes) if closes and closes in self._buffer else None
        if end is None and not is_last:
            return False
        piece, self._buffer = self._buffer[:end], self._buffer[end:] if end else ""
        self._is_inside = False
        calls = self._parsed(piece)
        if calls:
            deltas += [{"tool_calls": [call]} for call in calls]
        else:
            self._has_text = True
            deltas.append({"content": piece})
        return bool(self._buffer)

    def _beginning(self) -> int | None:
        place = self._buffer.find(self._family.opens)
        is_bare = self._family is LLAMA and not self._has_text and self._buffer.lstrip()[:1] == "{"
        return 0 if is_bare else place if place >= 0 else None

    def _show(self, deltas: list[dict[str, Any]], end: int) -> None:
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        # The line breaks around calls are no text.
        if text and (self._has_text or text.strip()) and not (self._count and not text.strip()):
            self._has_text = True
            deltas.append({"content": text})

    def _parsed(self, piece: str) -> list[dict[str, Any]]:
        for sign in self._family.marks:
            piece = piece.replace(sign, "")
        calls = []
        for value in _objects(piece):
            name, arguments = value.get("name"), value.get(self._family.arguments, {})
            if name not in self._names:
                return []
            text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            calls.append({"name": name, "arguments": text})
        made = []
        for call in calls:
            made.append(
                {
                    "index": self._count,
                    "id": self._new_id(self._count),
                    "type": "function",
                    "function": call,
                }
            )
            self._count += 1
        return made


def _objects(text: str) -> list[dict[str, Any]]:
    """One, several parted by semicolons, or a list of them; empty if it is anything else."""
    values: list[Any] = []
    rest = text.strip()
    decoder = json.JSONDecoder()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return []
        values += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip(" ;\n")
    return values if all(isinstance(value, dict) for value in values) else []


def _overlap(text: str, mark: str) -> int:
    """How much of the end of the text may be the beginning of the mark."""
    sizes = range(min(len(text), len(mark) - 1), 0, -1)
    return next((size for size in sizes if mark.startswith(text[-size:])), 0)
