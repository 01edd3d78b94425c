"""A chat completion request, as far as it can be said in Anthropic's dialect. Whatever else it may hold is refused by the
route before it comes here, or does not pass these types."""

from typing import Any, Literal, TypeAlias

import msgspec


class UntranslatableError(Exception):
    """It asks for what the dialect cannot say."""

    def __init__(self, message: str, *, param: str | None) -> None:
        super().__init__(message)
        self.param = param
        """The field at fault."""


class CacheBreakpoint(msgspec.Struct):
    """OpenAI's way to say: what stands before this is worth keeping."""

    ttl: str | None = None


class Cacheable(msgspec.Struct, kw_only=True):
    cache_control: dict[str, Any] | None = None
    """Anthropic's way, which many clients put into chats too."""
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class TextPart(Cacheable, kw_only=True, tag_field="type", tag="text"):
    text: str


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class ImageUrl(msgspec.Struct):
    url: str


class ImagePart(Cacheable, kw_only=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl | str


class FileData(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class FilePart(Cacheable, kw_only=True, tag_field="type", tag="file"):
    file: FileData


Part: TypeAlias = TextPart | RefusalPart | ImagePart | FilePart


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    id: str
    function: FunctionCall


class Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    tool_call_id: str | None = None
    cache_control: dict[str, Any] | None = None


class Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    type: Literal["function"] = "function"
    function: Function
    cache_control: dict[str, Any] | None = None


class Named(msgspec.Struct):
    name: str


class NamedFunction(msgspec.Struct, tag_field="type", tag="function"):
    function: Named


class Allowed(msgspec.Struct):
    tools: list[NamedFunction]
    mode: Literal["auto", "required"] = "auto"


class AllowedTools(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    allowed_tools: Allowed


Mode: TypeAlias = Literal["none", "auto", "required"]


class JsonSchema(msgspec.Struct):
    schema: dict[str, Any]
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_schema"]
    json_schema: JsonSchema | None = None


class Chat(msgspec.Struct):
    model: str
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    functions: list[Function] | None = None
    tool_choice: Mode | NamedFunction | AllowedTools | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    thinking: dict[str, Any] | None = None
    """Anthropic's own field, which its look-alike of a chat takes too."""
    user: str | None = None
    safety_identifier: str | None = None

    @property
    def is_legacy(self) -> bool:
        """It speaks of functions, not of tools, and wants to be answered so."""
        return bool(self.functions) and not self.tools


def read_chat(body: dict[str, Any]) -> Chat:
    """Raises UntranslatableError."""
    try:
        return msgspec.convert(body, Chat)
    except msgspec.ValidationError as exc:
        what, _, place = str(exc).partition(" - at `$")
        param = place.rstrip("`").lstrip(".") or None
        message = f"The model that was chosen cannot be asked this: {what[:1].lower()}{what[1:]}"
        raise UntranslatableError(
            f"{message} at {param!r}." if param else f"{message}.", param=param
        ) from exc
