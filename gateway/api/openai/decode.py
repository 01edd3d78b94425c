"""A chat completion request from bytes: strict on what we judge by, open for sampling fields that we do not know."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from gateway.errors import InvalidRequestError
from gateway.ticket import Request

MAX_DEPTH = 64
_FORBIDDEN = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "extra_headers", "extra_query", "extra_body",
        "custom_llm_provider", "organization", "headers", "proxy", "proxies", "callbacks", "success_callback",
        "failure_callback", "mock_response", "fallbacks", "context_window_fallbacks", "deployment_id", "azure_endpoint",
        "aws_access_key_id", "aws_secret_access_key", "aws_bedrock_runtime_endpoint", "vertex_credentials",
        "litellm_embedding_config", "litellm_params", "litellm_metadata", "model_list", "input_cost_per_token",
        "output_cost_per_token", "user_config", "tier", "tenant", "budget",
    }
)  # fmt: skip
"""Fields by which other gateways let a caller redirect a call, or say who he is. Here only the key says that."""

_MENTIONS_FORBIDDEN = re.compile(b'"(?:' + b"|".join(sorted(name.encode() for name in _FORBIDDEN)) + b')"')
_OPEN_CONTENT = frozenset(
    {"messages", "tools", "functions", "response_format", "metadata", "logit_bias", "prediction"}
)
"""What the caller wrote for the model, schemas included: any name may stand in there."""
_EVERYWHERE = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "user", "metadata", "safety_identifier", "prompt_cache_key", "store", "service_tier",
        "tools", "functions", "logprobs",
    }
)  # fmt: skip
"""Fields that every upstream honours, that say nothing of the answer, or that are asked for as an ability."""
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')

_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _ResponseFormat(msgspec.Struct):
    type: str


class ChatBody(msgspec.Struct):
    """Fields that are not listed are passed on as they are to the model's server."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=128)] | None = None
    functions: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=128)] | None = None
    response_format: _ResponseFormat | None = None
    user: str | None = None


class ChatDecoder:
    """Callable: raw body and headers to a Request. Raises InvalidRequestError with the field at fault."""

    def __init__(self) -> None:
        self._any = msgspec.json.Decoder()
        self._chat = msgspec.json.Decoder(ChatBody)

    def __call__(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        body = self._object(raw)
        _check_fields(raw, body)
        try:
            chat = self._chat.decode(raw)
        except msgspec.ValidationError as exc:
            raise _invalid(str(exc)) from exc
        if chat.max_tokens is not None and chat.max_completion_tokens not in (None, chat.max_tokens):
            raise InvalidRequestError(
                "`max_tokens` and `max_completion_tokens` name different ceilings; send one.",
                param="max_tokens",
            )
        control = headers.get(b"cache-control", b"").lower()
        return Request(
            body=body,
            body_bytes=len(raw),
            model=chat.model,
            is_stream=bool(chat.stream),
            wants_usage=bool(chat.stream and chat.stream_options and chat.stream_options.include_usage),
            output_tokens=chat.max_completion_tokens or chat.max_tokens,
            choices=chat.n or 1,
            needs=_needs(chat),
            fields=frozenset(body) - _EVERYWHERE,
            is_deterministic=chat.temperature == 0 or chat.seed is not None,
            skips_cache=b"no-cache" in control or b"no-store" in control,
            stores_cache=b"no-store" not in control,
        )

    def _object(self, raw: bytes) -> dict[str, Any]:
        if not raw.strip():
            raise InvalidRequestError("The request has no body; send a JSON object.", code="invalid_json")
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
            raise InvalidRequestError(
                f"The JSON is nested more than {MAX_DEPTH} levels deep.", code="invalid_json"
            )
        try:
            body = self._any.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidRequestError(f"The body is not valid JSON: {exc}.", code="invalid_json") from exc
        if not isinstance(body, dict):
            raise InvalidRequestError("The body must be a JSON object.", code="invalid_json")
        return body


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for token in _STRUCTURE.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def _check_fields(raw: bytes, body: dict[str, Any]) -> None:
    """Looks at the parsed body only if the bytes mention such a field, or could spell one by escapes."""
    if not _MENTIONS_FORBIDDEN.search(raw) and b"\\u" not in raw:
        return
    todo: list[tuple[str, Any]] = [(name, value) for name, value in body.items() if name not in _OPEN_CONTENT]
    todo += [(name, None) for name in body]
    while todo:
        name, value = todo.pop()
        if name.rpartition(".")[2] in _FORBIDDEN:
            raise InvalidRequestError(
                f"Unknown parameter: {name[:128]!r}.", code="unknown_parameter", param=name[:128]
            )
        if isinstance(value, dict):
            todo += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            todo += [(f"{name}.{index}", inner) for index, inner in enumerate(value)]


def _invalid(message: str) -> InvalidRequestError:
    """msgspec names the place as `$.a[0].b`; a missing field stands in the text instead."""
    what, _, at = message.partition(" - at `$")
    param = at.rstrip("`").lstrip(".") or None
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
        return InvalidRequestError(
            f"Missing required parameter: {param!r}.", code="missing_required_parameter", param=param
        )
    return InvalidRequestError(f"Invalid value for {param!r}: {what[0].lower()}{what[1:]}.", param=param)


def _needs(chat: ChatBody) -> frozenset[str]:
    needs: set[str] = set()
    if chat.tools or chat.functions:
        needs.add("tools")
    if chat.logprobs or chat.top_logprobs:
        needs.add("logprobs")
    if chat.response_format and chat.response_format.type in ("json_object", "json_schema"):
        needs.add(chat.response_format.type)
    for message in chat.messages:
        if isinstance(message.content, list):
            for part in message.content:
                kind = part.get("type")
                if kind in ("image_url", "input_image"):
                    needs.add("vision")
                elif kind == "input_audio":
                    needs.add("audio")
    return frozenset(needs)
