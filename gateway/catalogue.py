"""Every model at every upstream, as configured: what may be asked for, and what it would cost."""

from collections.abc import Callable

import msgspec

from gateway.config import Config
from gateway.errors import NotFoundError
from gateway.values import NanoUSD, Price, Tier
from policies.contract import Size

AUTO = "auto"
_TYPICAL_OUTPUT_TOKENS = 256


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
    max_tokens_field: str
    on_disconnect: str
    drain_s: float


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """An offer priced for one request: the price is pinned here and used until the entry is written."""

    offer: Offer
    price: Price
    output_tokens: int
    """The ceiling that is written into the request."""
    expected: NanoUSD
    worst: NanoUSD


class Catalogue:
    def __init__(self, config: Config, price_of: Callable[[str], Price]) -> None:
        self._price_of = price_of
        self._by_model: dict[str, tuple[Offer, ...]] = {}
        for upstream_name, upstream in config.upstreams.items():
            for model_name, model in upstream.models.items():
                offer = Offer(
                    id=f"{upstream_name}/{model_name}",
                    model=model_name,
                    upstream=upstream_name,
                    upstream_model=model.upstream_model or model_name,
                    size=model.size,
                    abilities=frozenset(model.abilities),
                    context_window=model.context_window,
                    max_output_tokens=model.max_output_tokens,
                    p_good=model.p_good,
                    max_tokens_field=upstream.max_tokens_field,
                    on_disconnect=upstream.on_disconnect,
                    drain_s=upstream.drain_s,
                )
                self._by_model[model_name] = (*self._by_model.get(model_name, ()), offer)
        self._all = tuple(offer for offers in self._by_model.values() for offer in offers)
        self._allowed: dict[tuple[str, tuple[Size, ...]], tuple[Offer, ...]] = {}

    def offers(self, requested: str, tier: Tier) -> tuple[Offer, ...]:
        """What may serve this name for this tier. An unknown model and a forbidden one get the same answer."""
        key = (AUTO if is_auto(requested) else requested, tier.sizes)
        found = self._allowed.get(key)
        if found is None:
            offers = self._all if key[0] == AUTO else self._by_model.get(key[0], ())
            found = tuple(offer for offer in offers if offer.size in tier.sizes)
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

    def terms(self, offer: Offer, *, asked: int | None, tier: Tier, input_bytes: int, choices: int) -> Terms:
        """`input_bytes` bounds the input tokens from above: the reservation must not be too small."""
        price = self._price_of(offer.id)
        output_tokens = asked or min(tier.default_output_tokens, offer.max_output_tokens)
        dearest_output = max(price.output, price.reasoning)
        worst = input_bytes * price.input + choices * output_tokens * dearest_output
        typical = (
            input_bytes // 4 * price.input
            + choices * min(output_tokens, _TYPICAL_OUTPUT_TOKENS) * price.output
        )
        return Terms(
            offer=offer,
            price=price,
            output_tokens=output_tokens,
            expected=-(-typical // 1000),
            worst=-(-worst // 1000),
        )


def is_auto(requested: str) -> bool:
    return requested == AUTO or requested.startswith(f"{AUTO}:")


def policy_name(requested: str, default: str) -> str:
    """The policy in `auto:POLICY`, else the default one."""
    return requested.partition(":")[2] or default
