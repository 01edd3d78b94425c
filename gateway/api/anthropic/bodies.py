"""What callers of Anthropic's API send: strict on what we judge by, open for what only Anthropic's servers know."""

from typing import Annotated, Any, Literal

import msgspec

from gateway.api.bodies import Count

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Turn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class Tool(msgspec.Struct):
    """The caller's own if its type is `custom` or missing; every other type is run, or known, by Anthropic alone."""

    type: str | None = None
    name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    input_examples: list[dict[str, Any]] | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(msgspec.Struct):
    type: str
    budget_tokens: Annotated[int, msgspec.Meta(ge=1024, le=2**31)] | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class PromptBody(msgspec.Struct, kw_only=True):
    """What a model is given to read: all that counting tokens needs."""

    model: _Name
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=100_000)]
    system: str | list[dict[str, Any]] | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=10_000)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    cache_control: dict[str, Any] | None = None


class MessagesBody(PromptBody, kw_only=True):
    """Fields that are not listed go to upstreams of Anthropic's dialect as they are, and to no other."""

    max_tokens: Count
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=8191)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


class Base64Source(msgspec.Struct, tag_field="type", tag="base64"):
    media_type: str
    data: str


class UrlSource(msgspec.Struct, tag_field="type", tag="url"):
    url: str


class FileSource(msgspec.Struct, tag_field="type", tag="file"):
    file_id: str


class TextSource(msgspec.Struct, tag_field="type", tag="text"):
    data: str


class ContentSource(msgspec.Struct, tag_field="type", tag="content"):
    content: str | list[Any]
    """Once read, a list of blocks."""


class Citations(msgspec.Struct):
    enabled: bool | None = None


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class ImageBlock(msgspec.Struct, tag_field="type", tag="image"):
    source: Base64Source | UrlSource | FileSource
    transformations: dict[str, Any] | None = None


class DocumentBlock(msgspec.Struct, tag_field="type", tag="document"):
    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None


class SearchResultBlock(msgspec.Struct, tag_field="type", tag="search_result"):
    source: str
    title: str
    content: list[TextBlock]
    citations: Citations | None = None


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    data: str


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    id: _Name
    name: _Name
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, tag_field="type", tag="tool_result"):
    tool_use_id: _Name
    content: str | list[Any] | None = None
    """Once read, a list of blocks."""
    is_error: bool | None = None


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
)
OF_USER = frozenset({"text", "image", "document", "search_result", "tool_result"})
OF_ASSISTANT = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
IN_RESULT = frozenset({"text", "image", "document", "search_result"})
IN_DOCUMENT = frozenset({"text", "image"})
OF_SYSTEM = frozenset({"text"})
KINDS = OF_USER | OF_ASSISTANT
"""Blocks of any other type mean something to Anthropic's servers only."""
