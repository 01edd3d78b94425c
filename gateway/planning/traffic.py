"""What the ledger knows of a site's or a tenant's traffic, as the planning tools take it: hours, models, tokens, money."""

import msgspec

from gateway.values import NanoUSD
from policies.contract import Size


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """What one model did in one hour. Hours in which it did nothing have no row."""

    start_ms: int
    """Unix milliseconds, UTC, on the hour."""
    model: str
    upstream: str
    size: Size
    requests: int
    """Attempts but those that failed, which nobody is billed for; those that a cascade passed over are among them."""
    input_tokens: int
    """All that went in, cached ones included."""
    cached_input_tokens: int
    output_tokens: int
    """All that came out, reasoning included."""
    cost: NanoUSD
    reference_cost: NanoUSD | None = None
    """What the same requests had cost at the reference model, by the tokens of the answers that were served: one that
    a cascade passed over counts as nothing, and what is no chat as what it cost. None if nobody named a model."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of time."""

    from_ms: int
    to_ms: int
    """Exclusive. A part of an hour at either end counts as that part."""
    tenant: str | None
    """None: the whole site."""
    hours: tuple[Hour, ...]
    cached: tuple[Hour, ...] = ()
    """Replies from the gateway's cache, by the model that had answered first: they cost nothing."""
    reference_model: str | None = None
    """UPSTREAM/MODEL."""
