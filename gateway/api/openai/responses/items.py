"""The items of a conversation as a chat's messages. What a chat cannot say is refused by its place, but for reasoning:
no chat model reads what another has thought."""

from typing import Any

from gateway.api.openai.responses.body import CustomToolCall, FunctionCall, Message, ToolOutput, read
from gateway.api.openai.responses.parts import MEDIA, Part, as_list, read_part
from gateway.api.openai.responses.refusals import unsupported
from gateway.api.openai.responses.tools import full_name
from gateway.errors import InvalidRequestError

_ROLES = {"developer": "system"}
"""OpenAI takes the two for the same, and other servers know only one of them."""
_IS_SHOWN = "The output follows as a message of the user."


class Conversation:
    """Fed with items in order. Raises InvalidRequestError."""

    def __init__(self) -> None:
        self.needs: set[str] = set()
        """Abilities without which a model cannot read it."""
        self.has_custom = False
        self._turns: list[_Turn] = []
        self._caller: dict[str, _Turn] = {}
        """Which turn made a call."""
        self._unanswered: dict[str, None] = {}

    def say(self, role: str, content: str) -> None:
        self._turns.append(_Turn({"role": role, "content": content}))

    def add(self, item: dict[str, Any], at: str) -> None:
        kind = item.get("type")
        if kind == "message" or (kind is None and "role" in item):
            self._add_message(read(item, Message, at), at)
        elif kind == "function_call":
            call = read(item, FunctionCall, at)
            function = {"name": full_name(call.namespace, call.name), "arguments": call.arguments}
            self._add_call(call.call_id, {"type": "function", "function": function})
        elif kind == "custom_tool_call":
            custom = read(item, CustomToolCall, at)
            self.has_custom = True
            said = {"name": full_name(custom.namespace, custom.name), "input": custom.input}
            self._add_call(custom.call_id, {"type": "custom", "custom": said})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._add_output(read(item, ToolOutput, at), at)
        elif kind != "reasoning" and not _refers_to_reasoning(kind, item):
            raise _not_sayable(kind, item, at)

    def messages(self) -> list[dict[str, Any]]:
        if self._unanswered:
            raise InvalidRequestError(
                f"No tool output found for call {next(iter(self._unanswered))[:128]!r}.", param="input"
            )
        return [message for turn in self._turns for message in turn.messages()]

    def _add_message(self, message: Message, at: str) -> None:
        role = _ROLES.get(message.role, message.role)
        content: Any = message.content
        if not isinstance(content, str):
            content = self._parts(content, message.role, f"{at}.content")
            if len(content) == 1 and content[0].keys() == {"type", "text"}:
                content = content[0]["text"]  # what every server reads
        last = self._turns[-1] if self._turns else None
        if role == "assistant" and last is not None and last.is_calling:
            # It spoke after it had called, and a chat knows no message between a call and its output.
            said = last.message["content"]
            last.message["content"] = content if said is None else [*as_list(said), *as_list(content)]
        else:
            self._turns.append(_Turn({"role": role, "content": content}))

    def _add_call(self, call_id: str, call: dict[str, Any]) -> None:
        turn = self._turns[-1] if self._turns else None
        if turn is None or turn.message["role"] != "assistant" or turn.outputs:
            turn = _Turn({"role": "assistant", "content": None})
            self._turns.append(turn)
        turn.message.setdefault("tool_calls", []).append({"id": call_id, **call})
        self._caller[call_id] = turn
        self._unanswered[call_id] = None

    def _add_output(self, output: ToolOutput, at: str) -> None:
        turn = self._caller.get(output.call_id)
        if turn is None:
            raise InvalidRequestError(
                f"No tool call found for the output with call_id {output.call_id[:128]!r}.",
                param=f"{at}.call_id",
            )
        content: Any = output.output
        if not isinstance(content, str):
            parts = self._parts(content, "user", f"{at}.output")
            content = [part for part in parts if part["type"] == "text"]
            if shown := [part for part in parts if part["type"] != "text"]:
                turn.shown += [{"type": "text", "text": f"The output of {output.call_id}:"}, *shown]
                content = content or _IS_SHOWN
        turn.outputs.append({"role": "tool", "tool_call_id": output.call_id, "content": content})
        self._unanswered.pop(output.call_id, None)

    def _parts(self, parts: list[dict[str, Any]], role: str, at: str) -> list[Part]:
        said = [read_part(part, role, f"{at}[{i}]") for i, part in enumerate(parts)]
        self.needs |= {MEDIA[part["type"]] for part in said if part["type"] in MEDIA}
        return said


class _Turn:
    """A message, and the outputs of the calls that it makes: in a chat they follow it at once."""

    __slots__ = ("message", "outputs", "shown")

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.outputs: list[dict[str, Any]] = []
        self.shown: list[Part] = []
        """Outputs that are no text: a chat's tools have none, so a user shows them."""

    @property
    def is_calling(self) -> bool:
        return "tool_calls" in self.message and not self.outputs

    def messages(self) -> list[dict[str, Any]]:
        shown = [{"role": "user", "content": self.shown}] if self.shown else []
        return [self.message, *self.outputs, *shown]


def _refers_to_reasoning(kind: Any, item: dict[str, Any]) -> bool:
    return kind in (None, "item_reference") and str(item.get("id")).startswith("rs_")


def _not_sayable(kind: Any, item: dict[str, Any], at: str) -> InvalidRequestError:
    if kind == "item_reference" or (kind is None and "id" in item):
        return unsupported(
            f"This gateway keeps no responses, so it cannot look up {str(item.get('id'))[:128]!r}: send the item "
            "itself. Clients that refer to items leave that off when they are told `store: false`.",
            f"{at}.id",
        )
    if kind is None:
        return InvalidRequestError(
            "An item needs a `type`.", code="missing_required_parameter", param=f"{at}.type"
        )
    return unsupported(f"No model here reads items of type {str(kind)[:64]!r}.", f"{at}.type")
