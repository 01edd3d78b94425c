"""A message as the chat completion that it means."""

from typing import Any

import msgspec

from gateway.upstreams.anthropic.usage import Tally, chat_usage
from gateway.upstreams.contract import Reply
from gateway.upstreams.normalise import Head

Json = dict[str, Any]

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
}


class Block(msgspec.Struct, gc=False):
    """Of whatever type; what counts is what the model wrote."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str = ""
    name: str = ""
    input: Any = None

    @property
    def written(self) -> str:
        """All that was generated."""
        arguments = encoded(self.input) if self.input else ""
        return f"{self.text or ''}{self.thinking or ''}{self.name}{arguments}"


class Message(msgspec.Struct):
    """Decoded just far enough."""

    content: list[Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_details: Any = None
    usage: Any = None


def read_reply(body: Any) -> tuple[Message, Reply]:
    """A whole reply, in the form in which it came. Raises msgspec.ValidationError, RecursionError."""
    message = msgspec.convert(body, Message)
    tally = Tally()
    tally.add(message.usage)
    reason = finish_reason(message.stop_reason)
    return message, Reply(
        body=body,
        usage=tally.usage(),
        finish_reasons=(reason,) if reason else (),
        text="".join([block.written for block in message.content]),
    )


def completion(message: Message, reply: Reply, head: Head, *, is_legacy: bool) -> Json:
    """`is_legacy`: of a caller who knows functions but no tools."""
    body: Json = {
        "id": message.id or f"chatcmpl-{head.id}",
        "object": "chat.completion",
        "created": head.created,
        "model": message.model or head.model,
        "choices": [
            {
                "index": 0,
                "message": _said(message, is_legacy=is_legacy),
                "logprobs": None,
                "finish_reason": legacy_reason(finish_reason(message.stop_reason) or "stop", is_legacy),
            }
        ],
    }
    if reply.usage is not None:
        body["usage"] = chat_usage(reply.usage)
    return body


def finish_reason(stop_reason: str | None) -> str | None:
    """In OpenAI's words. One that we do not know is not taken for a clean end."""
    return None if stop_reason is None else _FINISH_REASONS.get(stop_reason, "length")


def legacy_reason(reason: str, is_legacy: bool) -> str:
    return "function_call" if is_legacy and reason == "tool_calls" else reason


def refusal(stop_details: Any) -> str | None:
    """Why the model would not answer, if it says so."""
    explanation = stop_details.get("explanation") if isinstance(stop_details, dict) else None
    return explanation if isinstance(explanation, str) else None


def encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _said(message: Message, *, is_legacy: bool) -> Json:
    texts = [block.text for block in message.content if block.type == "text" and block.text]
    thoughts = [block.thinking for block in message.content if block.type == "thinking" and block.thinking]
    calls = [block for block in message.content if block.type == "tool_use"]
    said: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": refusal(message.stop_details),
    }
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if calls and is_legacy:
        said["function_call"] = _function(calls[0])
    elif calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": _function(call)} for call in calls
        ]
    return said


def _function(call: Block) -> Json:
    return {"name": call.name, "arguments": encoded({} if call.input is None else call.input)}
