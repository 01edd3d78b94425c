"""The body of a chat or of a text completion: its types and bounds, checked before the engine sees anything of it.

Closed at the top, so that no option of the engine itself can be reached through it, and open inside messages,
because clients send back what they received.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from workers.errors import InvalidRequestError

MAX_SCHEMA_DEPTH = 32
"""Levels of nesting in a JSON schema: engines compile it recursively."""

MAX_PATTERN = 4096
"""Characters of a regular expression."""

Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
ShortText = Annotated[str, Meta(max_length=256)]
TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
TokenIds = Annotated[tuple[TokenId, ...], Meta(min_length=1, max_length=1_000_000)]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class FunctionCall(msgspec.Struct, frozen=True):
    name: ShortText
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    id: ShortText
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart, ...] | None = None
    name: ShortText | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: ShortText | None = None
    reasoning_content: str | None = None


class Function(msgspec.Struct, frozen=True, omit_defaults=True):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True):
    function: Function
    type: Literal["function"] = "function"


class FunctionName(msgspec.Struct, frozen=True):
    name: ShortText


class NamedTool(msgspec.Struct, frozen=True):
    function: FunctionName
    type: Literal["function"] = "function"


class Schema(msgspec.Struct, frozen=True, omit_defaults=True, rename={"definition": "schema"}):
    definition: dict[str, Any]
    name: ShortText = "reply"
    description: str | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    pass


class JsonSchemaFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    json_schema: Schema


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By vLLM's names, as its clients send it in `extra_body`. Its other kinds are said by `response_format`."""

    regex: Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN)]
    """Of the whole answer."""


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What both sorts of requests have."""

    model: ShortText
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=4)] | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1000)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    logit_bias: (
        dict[Annotated[str, Meta(pattern=r"^\d{1,7}$")], Annotated[float, Meta(ge=-100, le=100)]] | None
    ) = None
    structured_outputs: StructuredOutputs | None = None
    stop: StopText | Annotated[tuple[StopText, ...], Meta(max_length=4)] | None = None
    # What OpenAI's clients may send and what cannot change the answer of a local model: taken and not used.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None

    @property
    def reports_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Sampling, frozen=True, kw_only=True):
    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=4096)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    tools: Annotated[tuple[Tool, ...], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def output_limit(self) -> int | None:
        """The longest answer in tokens; None goes on to the end of the context window."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"


class CompletionRequest(Sampling, frozen=True, kw_only=True):
    """A text to go on from, without any chat template. What is checked to be at its default does nothing here."""

    prompt: str | Annotated[tuple[str | TokenId | TokenIds, ...], Meta(min_length=1, max_length=1_000_000)]
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None

    @property
    def prompts(self) -> int:
        """Texts, or lists of tokens: a list of single tokens is one prompt."""
        return 1 if isinstance(self.prompt, str) or isinstance(self.prompt[0], int) else len(self.prompt)

    @property
    def choices(self) -> int:
        return self.prompts * (self.n or 1)

    @property
    def output_limit(self) -> int | None:
        return self.max_tokens


Request = ChatRequest | CompletionRequest


def parse(body: bytes) -> ChatRequest:
    """Raises InvalidRequestError with the field at fault."""
    request = decode(body, ChatRequest)
    _check_combinations(request)
    return request


def parse_completion(body: bytes) -> CompletionRequest:
    """Raises InvalidRequestError with the field at fault."""
    request = decode(body, CompletionRequest)
    _check_stream_options(request)
    if not isinstance(request.prompt, str) and len({type(part) for part in request.prompt}) > 1:
        raise InvalidRequestError("`prompt` mixes texts and tokens.", param="prompt")
    at_fault = {
        "suffix": bool(request.suffix),
        "echo": bool(request.echo),
        "best_of": request.best_of not in (None, request.n or 1),
    }
    for field, is_asked in at_fault.items():
        if is_asked:
            raise InvalidRequestError(f"`{field}` is not possible here. Leave it out.", param=field)
    return request


R = TypeVar("R", bound=msgspec.Struct)


def decode(body: bytes, kind: type[R]) -> R:
    """Raises InvalidRequestError with the field at fault."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        raise _invalid(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequestError(f"The body is not valid JSON: {exc}.", code="invalid_json") from exc


def _invalid(message: str) -> InvalidRequestError:
    """msgspec ends its message with the place: "... - at `$.messages[0].role`"."""
    place = re.search(r"`\$\.?([^`]*)`", message)
    unknown = re.search(r"unknown field `([^`]*)`", message)
    if unknown:
        name = f"{place[1]}.{unknown[1]}" if place and place[1] else unknown[1]
        text = f"This model does not know the parameter '{name}'. Leave it out."
        return InvalidRequestError(text, code="unknown_parameter", param=name)
    missing = re.search(r"required field `([^`]*)`", message)
    parts = [place[1] if place else "", missing[1] if missing else ""]
    return InvalidRequestError(f"{message}.", param=".".join(filter(None, parts)) or None)


def _check_stream_options(request: Request) -> None:
    if request.stream_options is not None and not request.stream:
        raise InvalidRequestError("`stream_options` needs `stream: true`.", param="stream_options")


def _check_combinations(request: ChatRequest) -> None:
    _check_stream_options(request)
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequestError("`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    if request.tool_choice not in (None, "none", "auto") and not request.tools:
        raise InvalidRequestError("`tool_choice` needs `tools`.", param="tool_choice")
    if isinstance(request.tool_choice, NamedTool):
        names = {tool.function.name for tool in request.tools or ()}
        if request.tool_choice.function.name not in names:
            raise InvalidRequestError(
                "`tool_choice` names a function that is not in `tools`.", param="tool_choice"
            )
    if request.structured_outputs is not None:
        _check_alone(request)
    if isinstance(request.response_format, JsonSchemaFormat):
        _check_depth(request.response_format.json_schema.definition, "response_format")
    for index, tool in enumerate(request.tools or ()):
        _check_depth(tool.function.parameters, f"tools[{index}].function.parameters")


def _check_alone(request: ChatRequest) -> None:
    """A regular expression describes the whole answer: there is no room for another form of it."""
    other = "tools" if request.wants_tools else "response_format"
    if request.wants_tools or not isinstance(request.response_format, TextFormat | None):
        text = f"`structured_outputs` and `{other}` do not go together. Send one of them."
        raise InvalidRequestError(text, param="structured_outputs")


def _check_depth(value: Any, param: str, levels_left: int = MAX_SCHEMA_DEPTH) -> None:
    if not isinstance(value, dict | list):
        return
    if levels_left == 0:
        raise InvalidRequestError(f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels.", param=param)
    for child in value.values() if isinstance(value, dict) else value:
        _check_depth(child, param, levels_left - 1)
