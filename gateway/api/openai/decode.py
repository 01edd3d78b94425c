"""A chat completion request from bytes: strict on what we judge by, open for sampling fields that we do not know."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from gateway.api.bodies import (
    Count,
    cache_wishes,
    invalid,
    mentions,
    read_object,
    refuse_dearer,
    refuse_forbidden,
)
from gateway.api.media import text_bytes
from gateway.errors import InvalidRequestError
from gateway.ticket import Request

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


_NEED_OF = {
    "image_url": "vision",
    "input_image": "vision",
    "input_audio": "audio",
    "file": "files",
    "video_url": "video",
}
"""Content parts that not every model can read."""


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _ResponseFormat(msgspec.Struct):
    type: str


class ChatBody(msgspec.Struct):
    """Fields that are not listed are passed on as they are to the model's server."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """`auto`, `auto:<policy>`, or a name from the list of models."""
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    """Texts, tool results, and parts such as images: these go only to models that can read them."""
    stream: bool | None = None
    """Answer in events as it is written."""
    stream_options: StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    """So many answers, each billed; the plan may allow fewer."""
    best_of: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    """No field of OpenAI's chats, but of some servers': each is written and billed."""
    max_tokens: Count | None = None
    """The most that an answer may have; if neither of the two is named, the plan's own default."""
    max_completion_tokens: Count | None = None
    """The same by its newer name."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    """With 0 an answer may come from the cache."""
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    seed: int | None = None
    """Likewise, once for each seed."""
    logprobs: bool | None = None
    """Only to models that tell them."""
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=128)] | None = None
    """Only to models that call them."""
    functions: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=128)] | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    store: bool | None = None
    web_search_options: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    """Passed on; who pays is decided by the key alone."""


class ChatDecoder:
    """Callable: raw body and headers to a Request. Raises InvalidRequestError with the field at fault."""

    def __init__(self) -> None:
        self._chat = msgspec.json.Decoder(ChatBody)

    def __call__(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        body = read_object(raw)
        refuse_forbidden(raw, body, open_content=_OPEN_CONTENT)
        try:
            chat = self._chat.decode(raw)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        refuse_dearer(body.get("service_tier"))
        if chat.max_tokens is not None and chat.max_completion_tokens not in (None, chat.max_tokens):
            raise InvalidRequestError(
                "`max_tokens` and `max_completion_tokens` name different ceilings; send one.",
                param="max_tokens",
            )
        skips_cache, stores_cache = cache_wishes(headers)
        return Request(
            body=body,
            body_bytes=text_bytes(len(raw), body["messages"]),
            model=chat.model,
            is_stream=bool(chat.stream),
            wants_usage=bool(chat.stream and chat.stream_options and chat.stream_options.include_usage),
            output_tokens=chat.max_completion_tokens or chat.max_tokens,
            choices=max(chat.n or 1, chat.best_of or 1),
            needs=_needs(chat),
            fields=fields_of(body),
            writes_prompt_cache=mentions(raw, "cache_control", "prompt_cache_breakpoint"),
            is_deterministic=chat.temperature == 0 or chat.seed is not None,
            skips_cache=skips_cache,
            stores_cache=stores_cache,
        )


def fields_of(body: dict[str, Any]) -> frozenset[str]:
    """Those of a chat body that not every upstream honours. What is null is not asked for."""
    return frozenset([name for name, value in body.items() if name not in _EVERYWHERE and value is not None])


def _is_own(tool: dict[str, Any]) -> bool:
    """The caller runs it himself; others run on the upstream, and are billed by use."""
    return tool.get("type", "function") in ("function", "custom")


def _needs(chat: ChatBody) -> frozenset[str]:
    needs: set[str] = set()
    if chat.tools or chat.functions:
        needs.add("tools")
    if chat.logprobs or chat.top_logprobs:
        needs.add("logprobs")
    if chat.response_format and chat.response_format.type in ("json_object", "json_schema"):
        needs.add(chat.response_format.type)
    if chat.reasoning_effort not in (None, "none"):
        needs.add("reasoning")
    if chat.audio is not None or (chat.modalities and "audio" in chat.modalities):
        needs.add("audio_output")
    if chat.store:
        needs.add("store")
    if chat.web_search_options is not None or not all(map(_is_own, chat.tools or ())):
        needs.add("unpriced_tools")
    for message in chat.messages:
        if isinstance(message.content, list):
            for part in message.content:
                kind = part.get("type")
                if isinstance(kind, str) and kind in _NEED_OF:
                    needs.add(_NEED_OF[kind])
    return frozenset(needs)
