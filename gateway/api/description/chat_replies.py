"""What chat completions answer, whole and streamed. A field without a default is always there, if only as null."""

from typing import Any, Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str
    """JSON as the model wrote it: check it before you use it."""


class ToolCall(msgspec.Struct):
    id: str
    type: str
    function: FunctionCall | msgspec.UnsetType = msgspec.UNSET


class Message(msgspec.Struct, kw_only=True):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET
    annotations: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    audio: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType | None = msgspec.UNSET
    """What the model thought, from upstreams that tell it."""


class Choice(msgspec.Struct):
    index: int
    message: Message
    finish_reason: FinishReason
    logprobs: dict[str, Any] | None


class Usage(msgspec.Struct):
    """Tokens as billed. `completion_tokens` include reasoning; `prompt_tokens` include those read from a cache."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    completion_tokens_details: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class ChatCompletion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    """Unix seconds."""
    model: str
    """The model that answered, by the name under which it can be asked for."""
    choices: list[Choice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: str | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: str | msgspec.UnsetType | None = msgspec.UNSET


class FunctionCallDelta(msgspec.Struct):
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    arguments: str | msgspec.UnsetType | None = msgspec.UNSET


class ToolCallDelta(msgspec.Struct):
    index: int
    id: str | msgspec.UnsetType | None = msgspec.UNSET
    type: str | msgspec.UnsetType | None = msgspec.UNSET
    function: FunctionCallDelta | msgspec.UnsetType = msgspec.UNSET


class Delta(msgspec.Struct, kw_only=True):
    """What is new. `role` stands in the first of each choice."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    refusal: str | msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: list[ToolCallDelta] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType | None = msgspec.UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class ChatCompletionChunk(msgspec.Struct):
    """One event. The last may have no choices and only `usage`, if `stream_options.include_usage` asked for it."""

    id: str
    """The same in all events of a stream."""
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    system_fingerprint: str | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: str | msgspec.UnsetType | None = msgspec.UNSET
