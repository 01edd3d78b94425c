"""A chat completion request as the request for a message that it means.

Left out, because no answer of these models depends on it: in how much detail to look at an image, the thinking of earlier
turns (only its signed original may be sent back, and chats do not carry that), and an assistant's `name`, which the
model would take to be a part of what it says.
"""

from typing import Any

from gateway.upstreams.anthropic.chat import Chat, Message, UntranslatableError
from gateway.upstreams.anthropic.content import Block, blocks_of, text_block, tool_result, tool_use
from gateway.upstreams.anthropic.schema import takeable
from gateway.upstreams.anthropic.tools import is_forced, tool_fields

Json = dict[str, Any]

_EFFORTS = {"minimal": "low"}
"""Others have the same name."""


def message_request(chat: Chat) -> Json:
    """Raises UntranslatableError."""
    body: Json = {
        "model": chat.model,
        "max_tokens": chat.max_completion_tokens or chat.max_tokens,
        **_conversation(chat.messages),
        **tool_fields(chat),
    }
    # At 1, both say what nothing says; some models refuse them whatever they say.
    for name in ("temperature", "top_p"):
        value = getattr(chat, name)
        if value is not None and value != 1:
            body[name] = value
    if chat.top_k is not None:
        body["top_k"] = chat.top_k
    if chat.stop:
        body["stop_sequences"] = [chat.stop] if isinstance(chat.stop, str) else chat.stop
    if chat.stream:
        body["stream"] = True
    user = chat.safety_identifier or chat.user
    if user:
        body["metadata"] = {"user_id": user}
    config = _think(chat, body)
    if chat.response_format is not None and chat.response_format.type == "json_schema":
        config["format"] = _format(chat)
    if config:
        body["output_config"] = config
    return body


def _conversation(messages: list[Message]) -> Json:
    """One system prompt, wherever in the chat its parts stand; and turns, each of all that one side says in a row."""
    system: list[Block] = []
    turns: list[Json] = []
    function_id = ""
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if message.function_call is not None:
            function_id = f"call_{index}"
        blocks = _blocks(message, place, function_id)
        if message.cache_control is not None and blocks:
            blocks[-1].setdefault("cache_control", message.cache_control)
        if message.role in ("system", "developer"):
            system += blocks
        elif blocks:
            role = "assistant" if message.role == "assistant" else "user"
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            else:
                turns.append({"role": role, "content": blocks})
    if not turns:  # instructions alone are a prompt too
        return {"messages": [{"role": "user", "content": system}]}
    return {"system": system, "messages": turns} if system else {"messages": turns}


def _blocks(message: Message, place: str, function_id: str) -> list[Block]:
    """`function_id` stands for the id that the last legacy function call did not have."""
    if message.role == "assistant":
        return _assistant(message, place, function_id)
    if message.role in ("tool", "function"):
        call_id = message.tool_call_id if message.role == "tool" else function_id
        if not call_id:
            raise UntranslatableError(
                "The result of a tool must say to which call it belongs.", param=f"{place}.tool_call_id"
            )
        return [tool_result(call_id, message.content, place)]
    blocks = blocks_of(message.content, place)
    return _said_by(message.name, blocks) if message.name and blocks else blocks


def _assistant(message: Message, place: str, function_id: str) -> list[Block]:
    blocks = blocks_of(message.content, place)
    if message.refusal:
        blocks.append(text_block(message.refusal))
    blocks += [tool_use(call.id, call.function) for call in message.tool_calls or ()]
    if message.function_call is not None:
        blocks.append(tool_use(function_id, message.function_call))
    return blocks


def _said_by(name: str, blocks: list[Block]) -> list[Block]:
    first = blocks[0]
    if first["type"] != "text":
        return [text_block(f"{name}:"), *blocks]
    return [{**first, "text": f"{name}: {first['text']}"}, *blocks[1:]]


def _think(chat: Chat, body: Json) -> Json:
    """Sets how to think, and gives how hard."""
    effort = chat.reasoning_effort
    if chat.thinking is not None:
        body["thinking"] = chat.thinking
    elif effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif effort is not None and not is_forced(body):
        body["thinking"] = {"type": "adaptive"}
    return {} if effort in (None, "none") else {"effort": _EFFORTS.get(effort, effort)}


def _format(chat: Chat) -> Json:
    wanted = chat.response_format.json_schema if chat.response_format else None
    if wanted is None:
        raise UntranslatableError(
            "The response format is to follow a schema: send it.", param="response_format.json_schema"
        )
    return {"type": "json_schema", "schema": takeable(wanted.schema, is_strict=bool(wanted.strict))}
