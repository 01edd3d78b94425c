"""Legacy completions: what a request is, and how an answer is told, whether its model completes texts or only chats."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from gateway.api.bodies import cache_wishes, invalid, read_object, refuse_dearer, refuse_forbidden
from gateway.api.openai.chat import ChatVoice
from gateway.api.openai.completion_voice import CompletionVoice
from gateway.api.openai.decode import ChatBody, StreamOptions
from gateway.api.openai.dialect import OpenAIDialect
from gateway.api.openai.inputs import Input, TokenId, TokenIds, inputs_of, weight
from gateway.catalogue import Terms
from gateway.errors import InvalidRequestError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request

DEFAULT_OUTPUT_TOKENS = 16
"""As at OpenAI: who names no ceiling here has never had a longer answer, nor paid for one."""

_OPEN_CONTENT = frozenset({"logit_bias", "metadata"})
_EVERYWHERE = frozenset({"model", "prompt", "stream", "stream_options", "max_tokens", "user", "metadata"})
"""Fields that every upstream honours, or that say nothing of the answer."""
_OWN = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs"})
"""Fields that a chat does not have, or has with another meaning."""


class CompletionBody(msgspec.Struct):
    """Fields that are not listed are passed on as they are to the model's server."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    prompt: str | Annotated[list[str | TokenId | TokenIds], msgspec.Meta(min_length=1)] | None
    """A text, several texts, the tokens of one, or the tokens of several."""
    suffix: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None
    """16 if it is not named."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    user: str | None = None


_CHATS_ONLY = (
    frozenset(ChatBody.__struct_fields__) - frozenset(CompletionBody.__struct_fields__) - _EVERYWHERE
)
"""Here they mean nothing; a translation must not give them a meaning."""


class CompletionsDialect(OpenAIDialect):
    """A prompt goes as it is to models that complete texts, and as a chat of one message to all others."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(CompletionBody)

    def decode(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        body = read_object(raw)
        refuse_forbidden(raw, body, open_content=_OPEN_CONTENT)
        try:
            asked = self._decoder.decode(raw)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        _check(body, asked)
        prompts = [[]] if asked.prompt is None else inputs_of(asked.prompt, field="prompt")
        fields = {name for name, value in body.items() if value is not None} - _EVERYWHERE - _OWN
        skips_cache, stores_cache = cache_wishes(headers)
        return Request(
            endpoint="completions",
            body=_as_chat(body, asked, prompts),
            native=body,
            body_bytes=len(raw),
            context_bytes=max(map(weight, prompts)) + weight(asked.suffix or ""),
            model=asked.model,
            is_stream=bool(asked.stream),
            wants_usage=bool(asked.stream and asked.stream_options and asked.stream_options.include_usage),
            output_tokens=DEFAULT_OUTPUT_TOKENS if asked.max_tokens is None else asked.max_tokens,
            choices=len(prompts) * max(asked.n or 1, asked.best_of or 1),
            needs=frozenset() if _is_one_text(prompts) else frozenset({"completions"}),
            fields=frozenset(fields - _CHATS_ONLY),
            native_fields=frozenset(fields & _CHATS_ONLY) | _untranslatable(asked),
            is_deterministic=asked.temperature == 0 or asked.seed is not None,
            skips_cache=skips_cache,
            stores_cache=stores_cache,
        )

    def voice(self, request: Request, terms: Terms, form: Endpoint, /) -> Voice:
        speak = ChatVoice if form == "completions" else CompletionVoice
        return speak(terms.offer.model, wants_usage=request.wants_usage)


def _check(body: dict[str, Any], asked: CompletionBody) -> None:
    refuse_dearer(body.get("service_tier"))
    if body.get("max_completion_tokens") is not None:
        raise InvalidRequestError(
            "Unknown parameter: 'max_completion_tokens'; the ceiling of a legacy completion is `max_tokens`.",
            code="unknown_parameter",
            param="max_completion_tokens",
        )
    if asked.best_of is not None and asked.best_of < (asked.n or 1):
        raise InvalidRequestError("`best_of` must be at least `n`.", param="best_of")
    if asked.stream and asked.best_of is not None and asked.best_of > (asked.n or 1):
        raise InvalidRequestError(
            "The best of several answers is known when all are written; leave out `best_of`, or `stream`.",
            param="best_of",
        )


def _is_one_text(prompts: list[Input]) -> bool:
    return len(prompts) == 1 and isinstance(prompts[0], str)


def _untranslatable(asked: CompletionBody) -> frozenset[str]:
    fields = {
        "suffix": bool(asked.suffix),
        "echo": bool(asked.echo),
        "best_of": (asked.best_of or 1) > (asked.n or 1),
        # A chat that can tell its logprobs has an ability of the same name, which does as well.
        "logprobs": asked.logprobs is not None,
        "max_tokens": asked.max_tokens == 0,
    }
    return frozenset([name for name, is_asked in fields.items() if is_asked])


def _as_chat(body: dict[str, Any], asked: CompletionBody, prompts: list[Input]) -> dict[str, Any]:
    """Only that of a single text is ever sent; of others it tells scorer and meter what there is to read."""
    kept = {
        name: value
        for name, value in body.items()
        if value is not None and name not in _OWN and name not in _CHATS_ONLY
    }
    texts = [asked.suffix] if asked.suffix else []
    texts += [prompt for prompt in prompts if isinstance(prompt, str)]
    kept["messages"] = [{"role": "user", "content": text} for text in texts]
    if asked.logprobs is not None:
        kept["logprobs"] = True
    if asked.logprobs:
        kept["top_logprobs"] = asked.logprobs
    return kept
