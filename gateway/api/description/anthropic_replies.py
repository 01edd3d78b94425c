"""What the operations of Anthropic's API answer here. A field without a default is always there, if only as null."""

from typing import Any, Literal

import msgspec

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"]


class MessageUsage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | msgspec.UnsetType | None = msgspec.UNSET
    cache_read_input_tokens: int | msgspec.UnsetType | None = msgspec.UNSET
    output_tokens_details: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    server_tool_use: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class AnthropicMessage(msgspec.Struct):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    """Blocks of type `text`, `tool_use` or `thinking`."""
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageEvent(msgspec.Struct):
    """One event; its `event:` line repeats the type."""

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]


class TokenCount(msgspec.Struct):
    input_tokens: int


class AnthropicModel(msgspec.Struct):
    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModelList(msgspec.Struct):
    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None
