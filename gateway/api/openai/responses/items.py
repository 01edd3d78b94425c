"""The items of a conversation as a chat's messages. What a chat cannot say is refused by its place, but for reasoning:
no chat model reads what another has thought."""

from typing import Any

from gateway.api.openai.responses.body import (
    AudioPart,
    CustomToolCall,
    FilePart,
    FunctionCall,
    ImagePart,
    Message,
    RefusalPart,
    TextPart,
    ToolOutput,
    read,
)
from gateway.api.openai.responses.refusals import unsupported
from gateway.errors import InvalidRequestError

_ROLES = {"developer": "system"}
"""OpenAI takes the two for the same, and other servers know only one of them."""


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
        if kind is None and "role" in item:
            kind = "message"
        if kind == "message":
            self._add_message(read(item, Message, at), at)
        elif kind == "function_call":
            call = read(item, FunctionCall, at)
            function = {"name": call.name, "arguments": call.arguments}
            self._add_call(call.call_id, {"type": "function", "function": function})
        elif kind == "custom_tool_call":
            custom = read(item, CustomToolCall, at)
            self.has_custom = True
            said = {"name": custom.name, "input": custom.input}
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
        return [message for turn in self._turns for message in (turn.message, *turn.outputs)]

    def _add_message(self, message: Message, at: str) -> None:
        role = _ROLES.get(message.role, message.role)
        content = self._content(message, at)
        last = self._turns[-1] if self._turns else None
        if role == "assistant" and last is not None and last.is_calling:
            # It spoke after it had called, and a chat knows no message between a call and its output.
            said = last.message["content"]
            last.message["content"] = content if said is None else [*_parts(said), *_parts(content)]
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
            content = [self._output_part(part, f"{at}.output[{i}]") for i, part in enumerate(content)]
        turn.outputs.append({"role": "tool", "tool_call_id": output.call_id, "content": content})
        self._unanswered.pop(output.call_id, None)

    def _content(self, message: Message, at: str) -> Any:
        if isinstance(message.content, str):
            return message.content
        parts = [
            self._part(part, message.role, f"{at}.content[{i}]") for i, part in enumerate(message.content)
        ]
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            return parts[0]["text"]  # what every server reads
        return parts

    def _output_part(self, part: dict[str, Any], at: str) -> dict[str, Any]:
        if part.get("type") not in ("input_text", "output_text"):
            raise unsupported(
                f"The output of a tool can be text only, not {_named(part)}: send the rest as a user's message.",
                f"{at}.type",
            )
        return _text(part, at)

    def _part(self, part: dict[str, Any], role: str, at: str) -> dict[str, Any]:
        kind = part.get("type")
        if kind in ("input_text", "output_text"):
            return _text(part, at)
        if kind == "refusal" and role == "assistant":
            return {"type": "refusal", "refusal": read(part, RefusalPart, at).refusal}
        if role != "user" or kind not in ("input_image", "input_file", "input_audio"):
            raise unsupported(f"A message of role {role!r} cannot hold {_named(part)}.", f"{at}.type")
        if kind == "input_image":
            self.needs.add("vision")
            return _image(read(part, ImagePart, at), at)
        if kind == "input_file":
            self.needs.add("files")
            return _file(read(part, FilePart, at), at)
        self.needs.add("audio")
        return {"type": "input_audio", "input_audio": read(part, AudioPart, at).input_audio}


class _Turn:
    """A message, and the outputs of the calls it makes: in a chat they follow it at once."""

    __slots__ = ("message", "outputs")

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.outputs: list[dict[str, Any]] = []

    @property
    def is_calling(self) -> bool:
        return "tool_calls" in self.message and not self.outputs


def _text(part: dict[str, Any], at: str) -> dict[str, Any]:
    text = read(part, TextPart, at)
    return _marked({"type": "text", "text": text.text}, text.prompt_cache_breakpoint)


def _image(image: ImagePart, at: str) -> dict[str, Any]:
    if image.image_url is None:
        raise _no_file(image.file_id, at, "image_url")
    url = {"url": image.image_url}
    if image.detail is not None:
        url["detail"] = image.detail
    return _marked({"type": "image_url", "image_url": url}, image.prompt_cache_breakpoint)


def _file(file: FilePart, at: str) -> dict[str, Any]:
    if file.file_url is not None:
        raise unsupported("Files are not fetched from the web here: send `file_data`.", f"{at}.file_url")
    if file.detail not in (None, "auto"):
        raise unsupported("No model here takes files in another detail than 'auto'.", f"{at}.detail")
    if file.file_data is None:
        raise _no_file(file.file_id, at, "file_data")
    data = {"file_data": file.file_data}
    if file.filename is not None:
        data["filename"] = file.filename
    return _marked({"type": "file", "file": data}, file.prompt_cache_breakpoint)


def _marked(part: dict[str, Any], cache_breakpoint: dict[str, Any] | None) -> dict[str, Any]:
    return part if cache_breakpoint is None else {**part, "prompt_cache_breakpoint": cache_breakpoint}


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


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


def _no_file(file_id: str | None, at: str, instead: str) -> InvalidRequestError:
    if file_id is None:
        return InvalidRequestError(
            f"Missing required parameter: '{at}.{instead}'.",
            code="missing_required_parameter",
            param=f"{at}.{instead}",
        )
    return unsupported(f"Models here cannot read stored files: send `{instead}`.", f"{at}.file_id")


def _named(part: dict[str, Any]) -> str:
    return f"a part of type {str(part.get('type'))[:64]!r}"
