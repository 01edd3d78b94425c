"""Every model at every upstream, as configured: what may be asked for, and what it would cost."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import msgspec

from gateway.config import Config, Kind, Model, Upstream
from gateway.errors import InvalidRequestError, NotFoundError
from gateway.ticket import FORM_OF, Endpoint, Request
from gateway.values import NanoUSD, Price, Tier, in_nano
from policies.contract import Size

AUTO = "auto"
_TYPICAL_OUTPUT_TOKENS = 256
_SAID_BY_ANTHROPIC = frozenset(
    {
        "function_call", "parallel_tool_calls", "reasoning_effort", "response_format", "thinking", "tool_choice", "top_k",
        "top_p",
    }
)  # fmt: skip
"""Fields of a chat that can be said in Anthropic's dialect, whatever their value."""
_TOOL_PROMPT_BYTES = 1024
"""Whoever offers tools is billed for a system prompt that Anthropic adds: some hundred tokens, whatever their size."""
CACHE_SALT = "cache_salt"
_NOTHING = object()
_SAYS_NOTHING: dict[str, Any] = {
    "frequency_penalty": 0,
    "logit_bias": {},
    "modalities": ["text"],
    "n": 1,
    "presence_penalty": 0,
    "temperature": 1,
    "top_p": 1,
    "verbosity": "medium",
}
"""Values that ask for what every model does; many clients write them out. They are not sent on."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A model at an upstream."""

    id: str
    model: str
    upstream: str
    upstream_model: str
    size: Size
    abilities: frozenset[str]
    context_window: int
    max_output_tokens: int
    p_good: float | None
    kind: Kind
    forms: frozenset[Endpoint]
    """In which it takes a request as it is; any other is translated into the form of its kind."""
    refuses: frozenset[str]
    """Request fields that it does not honour, by configuration."""
    dialect: Literal["openai", "anthropic"]
    max_tokens_field: str
    on_disconnect: str
    drain_s: float
    is_cached: bool
    total_timeout_s: float
    is_worker: bool = False
    salts_prompts: bool = False
    """Its server is told by `cache_salt` whose prompts it may reuse."""
    sends_priority: bool = False
    """Its server is told by `priority` who goes first."""
    tokens_per_s: int | None = None
    """What a worker's engine makes for all requests together."""
    batch_price_factor: Fraction

    def form_for(self, request: Request) -> Endpoint:
        """In which the request is sent to it."""
        return request.endpoint if self._is_native(request) else FORM_OF[request.kind]

    def honours(self, request: Request) -> frozenset[str]:
        """Those of the request's fields that would reach the model and count there."""
        if request.native is not None and request.endpoint in self.forms:
            return (request.fields | request.native_fields) - self.refuses
        if self.dialect == "openai":
            return request.fields - self.refuses if self.refuses else request.fields
        values = {name: request.body.get(name) for name in request.fields}
        said = {name for name, value in values.items() if _is_said_by_anthropic(name, value)}
        void = {name for name, value in values.items() if value == _SAYS_NOTHING.get(name, _NOTHING)}
        return frozenset(said - self.refuses | void)

    def may_write_cache(self, request: Request) -> bool:
        """Whether the prompt may be stored at the upstream: OpenAI's do so without being asked."""
        return request.writes_prompt_cache or self.dialect == "openai"

    def engine_us(self, *, read: int, written: int) -> int:
        """About what so many tokens take of its engine's time. A prompt is read many tokens at once: ten count as one."""
        if self.tokens_per_s is None:
            return 0
        tenths = read + 10 * written if self.kind == "chat" else 10 * read
        return -(-tenths * 100_000 // self.tokens_per_s)

    def _is_native(self, request: Request) -> bool:
        return request.native is not None and request.endpoint in self.forms


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """An offer priced for one request: the price is pinned here and used until the entry is written."""

    offer: Offer
    price: Price
    output_tokens: int
    """The ceiling that is written into the request."""
    expected: NanoUSD
    worst: NanoUSD
    most_engine_us: int = 0
    """What a worker's engine may work for it: what is held of its time."""


class Catalogue:
    def __init__(self, config: Config, price_of: Callable[[str], Price]) -> None:
        self._price_of = price_of
        self._by_model: dict[str, tuple[Offer, ...]] = {}
        for upstream_name, upstream in config.upstreams.items():
            for model_name, model in upstream.models.items():
                offer = _offer(upstream_name, upstream, model_name, model)
                self._by_model[model_name] = (*self._by_model.get(model_name, ()), offer)
        self._all = tuple(offer for offers in self._by_model.values() for offer in offers)
        self._allowed: dict[tuple[str, tuple[Size, ...], Kind], tuple[Offer, ...]] = {}

    def offers(self, requested: str, tier: Tier, kind: Kind = "chat") -> tuple[Offer, ...]:
        """What may serve this name for this tier. An unknown model and a forbidden one get the same answer.

        A model of another kind is refused by name: the caller may see it, and uses it in the wrong place.
        """
        key = (AUTO if is_auto(requested) else requested, tier.sizes, kind)
        found = self._allowed.get(key)
        if found is None:
            offers = self._all if key[0] == AUTO else self._by_model.get(key[0], ())
            allowed = tuple(offer for offer in offers if offer.size in tier.sizes)
            found = tuple(offer for offer in allowed if offer.kind == kind)
            if is_auto(requested) and kind == "embedding":
                raise InvalidRequestError(
                    "Vectors of different models cannot be compared, so nothing is chosen for you: name the model. "
                    "GET /v1/models lists those you may use.",
                    param="model",
                )
            if allowed and not found and not is_auto(requested):
                raise _wrong_kind(requested, allowed[0].kind, kind)
            if not found and is_auto(requested) and kind == "moderation":
                raise NotFoundError(
                    "There is no moderation model here that you may use.",
                    code="model_not_found",
                    param="model",
                )
            if found:  # names come from callers: only those that exist may be remembered
                self._allowed[key] = found
        if not found:
            raise NotFoundError(
                f"The model {requested[:128]!r} does not exist or you do not have access to it. "
                "GET /v1/models lists those you may use.",
                code="model_not_found",
                param="model",
            )
        return found

    def models(self, tier: Tier) -> dict[str, tuple[Offer, ...]]:
        """Names that the tier may ask for, with the offers behind each."""
        allowed = {
            name: tuple(offer for offer in offers if offer.size in tier.sizes)
            for name, offers in self._by_model.items()
        }
        return {name: offers for name, offers in allowed.items() if offers}

    def terms(self, offer: Offer, request: Request, tier: Tier, *, is_background: bool = False) -> Terms:
        """The body's bytes bound the input tokens from above: the reservation must not be too small."""
        price = self._price_of(offer.id)
        if is_background and offer.batch_price_factor != 1:
            price = scaled(price, offer.batch_price_factor)
        if offer.kind == "chat":
            output_tokens = request.output_tokens
            if output_tokens is None:  # a legacy completion may ask for none: 0
                output_tokens = _ceiling(offer, request, tier)
        else:
            output_tokens = 0
        choices, input_bytes = request.choices, request.body_bytes
        if offer.dialect == "anthropic" and (request.native or request.body).get("tools"):
            input_bytes += _TOOL_PROMPT_BYTES
        dearest_input = price.input
        if offer.may_write_cache(request):
            dearest_input = max(price.input, price.cache_write, price.cache_write_1h)
        dearest_output = max(price.output, price.reasoning)
        worst = input_bytes * dearest_input + choices * output_tokens * dearest_output
        read, written = input_bytes // 4, choices * min(output_tokens, _TYPICAL_OUTPUT_TOKENS)
        typical = read * price.input + written * price.output
        # An answer's share of the engine's time is no more than the time that it takes.
        most_engine_us = round(offer.total_timeout_s * 1_000_000) if offer.is_worker else 0
        engine_us = min(offer.engine_us(read=read, written=written), most_engine_us)
        return Terms(
            offer=offer,
            price=price,
            output_tokens=output_tokens,
            expected=in_nano(typical, engine_us, price),
            worst=in_nano(worst, most_engine_us, price),
            most_engine_us=most_engine_us,
        )


def is_auto(requested: str) -> bool:
    return requested == AUTO or requested.startswith(f"{AUTO}:")


def policy_name(requested: str, default: str) -> str:
    """The policy in `auto:POLICY`, else the default one."""
    return requested.partition(":")[2] or default


def _ceiling(offer: Offer, request: Request, tier: Tier) -> int:
    """Of an answer for which no length was asked. Servers refuse what does not fit beside the prompt."""
    room = max(1, offer.context_window - request.context_tokens)
    wanted = request.most_output_tokens or tier.default_output_tokens
    return min(wanted, tier.max_output_tokens, offer.max_output_tokens, room)


def scaled(price: Price, factor: Fraction) -> Price:
    """A share of a price, each class rounded up to a whole pico-dollar; the version tells which."""
    share = f"{float(factor):g}"
    return Price(
        version=f"{price.version}*{share}",
        input=math.ceil(price.input * factor),
        cached_input=math.ceil(price.cached_input * factor),
        output=math.ceil(price.output * factor),
        reasoning=math.ceil(price.reasoning * factor),
        cache_write=math.ceil(price.cache_write * factor),
        cache_write_1h=math.ceil(price.cache_write_1h * factor),
        engine_hour=math.ceil(price.engine_hour * factor),
    )


def by_token(price: Price, tokens_per_s: int | None) -> Price:
    """A chat model's price with that of its engine's time laid upon the tokens, to compare it with others."""
    if tokens_per_s is None:
        return price
    read, written = (
        Fraction(price.engine_hour, 36 * tokens_per_s),
        Fraction(price.engine_hour * 10, 36 * tokens_per_s),
    )
    return msgspec.structs.replace(
        price,
        input=math.ceil(price.input + read),
        output=math.ceil(price.output + written),
        reasoning=math.ceil(price.reasoning + written),
        cache_write=math.ceil(price.cache_write + read),
        cache_write_1h=math.ceil(price.cache_write_1h + read),
        engine_hour=0,
    )


def _offer(upstream_name: str, upstream: Upstream, model_name: str, model: Model) -> Offer:
    forms: set[Endpoint] = {FORM_OF[model.kind]}
    if upstream.dialect == "anthropic":
        forms = {"messages"}
    elif "completions" in model.abilities:
        forms.add("completions")
    refused = frozenset(upstream.unsupported) | frozenset(model.unsupported)
    return Offer(
        id=f"{upstream_name}/{model_name}",
        model=model_name,
        upstream=upstream_name,
        upstream_model=model.upstream_model or model_name,
        size=model.size,
        abilities=frozenset(model.abilities) | forms,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        p_good=model.p_good,
        kind=model.kind,
        forms=frozenset(forms),
        refuses=refused,
        dialect=upstream.dialect,
        max_tokens_field=upstream.max_tokens_field,
        on_disconnect=upstream.on_disconnect,
        drain_s=upstream.drain_s,
        is_cached=upstream.is_cached,
        total_timeout_s=upstream.total_timeout_s,
        is_worker=upstream.is_ours,
        sends_priority=upstream.sends_priority,
        salts_prompts=upstream.engine == "vllm" and model.kind == "chat" and CACHE_SALT not in refused,
        tokens_per_s=model.tokens_per_s,
        batch_price_factor=Fraction(model.batch_price_factor),
    )


def _is_said_by_anthropic(name: str, value: Any) -> bool:
    """Whether this field of a chat survives the translation with this value."""
    if name == "temperature":
        return isinstance(value, int | float) and value <= 1
    if name == "stop":
        stops = [value] if isinstance(value, str) else value
        return isinstance(stops, list) and all(isinstance(stop, str) and stop.strip() for stop in stops)
    return name in _SAID_BY_ANTHROPIC


def _wrong_kind(requested: str, kind: Kind, wanted: Kind) -> InvalidRequestError:
    return InvalidRequestError(
        f"The model {requested!r} makes {_MAKES[kind]}, not {_MAKES[wanted]}; use it at {_AT[kind]}.",
        code="unsupported_model",
        param="model",
    )


_MAKES: dict[Kind, str] = {"chat": "answers", "embedding": "embeddings", "moderation": "moderations"}
_AT: dict[Kind, str] = {
    "chat": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "moderation": "/v1/moderations",
}
