"""The frozen values that the stages hand to each other. No behaviour beyond arithmetic on themselves."""

from typing import Literal

import msgspec

from policies.contract import Size

NanoUSD = int
"""Integer nano-dollars, 1e-9 USD: the only form in which this code base holds money."""

UsageSource = Literal["reported", "counted", "estimated", "none"]
"""Who counted: the upstream; our tokenizer over the whole text; our tokenizer over what is known of it; nobody."""

Outcome = Literal["ok", "deferred", "sampled", "client_gone", "interrupted", "failed", "lost"]
"""How an attempt ended. `deferred`: its answer was paid for and not served, because a cascade found that it would
probably not do. `sampled`: paid for to be compared with another. `lost`: the process died before it knew, and the
journal closed the attempt."""

PASSED_OVER: frozenset[Outcome] = frozenset({"deferred", "sampled"})
"""Answers that were billed, and that the caller never saw."""

ScopeKind = Literal["tenant", "user", "key"]

OutcomeSource = Literal["feedback", "deferral", "judge", "evaluation"]
"""Who says what an answer was worth: the user; a cascade that looked at it; a model or a person that judges; a file of
measured answers."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ceilings of one tenant, user or key; None is no ceiling. Months are calendar months in UTC."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    requests_per_month: int | None = None
    budget_per_month: NanoUSD | None = None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's plan. Its limits hold for the tenant as a whole."""

    name: str
    priority: int
    """Higher goes first when a worker's places are taken."""
    limits: Limits
    sizes: tuple[Size, ...]
    """The sizes that its requests may be routed to."""
    default_output_tokens: int
    """Written into a request that names no ceiling, so that the reservation covers what can be spent."""
    max_output_tokens: int
    max_choices: int
    """The largest `n`."""

    @property
    def priority_class(self) -> int:
        """1 to 9; 0 is for what nobody waits for."""
        return 1 + min(max(self.priority // 10, 0), 8)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays > who asked > the credential, resolved from a key."""

    tenant: str
    user: str
    key: str
    tier: Tier
    tenant_limits: Limits
    """The tier's limits with the tenant's own changes on top."""
    user_limits: Limits = Limits()
    key_limits: Limits = Limits()
    salt: str = ""
    """64 hex digits that are the tenant's alone, and tell nothing of it: what workers keep prompts apart by."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A dated row of the price book. Pico-dollars per token (USD per million tokens times 1,000,000), but for
    `engine_hour`."""

    version: str
    """Identifies the row for ever; stored with every entry that it priced."""
    input: int
    cached_input: int
    output: int
    reasoning: int
    cache_write: int = -1
    """Of input that the upstream stores for later requests. Left out: as input."""
    cache_write_1h: int = -1
    """Likewise, for an hour. Left out: as cache_write."""
    engine_hour: NanoUSD = 0
    """Of an hour of the engine that works for it, beside the tokens."""

    def __post_init__(self) -> None:
        if self.cache_write < 0:
            msgspec.structs.force_setattr(self, "cache_write", self.input)
        if self.cache_write_1h < 0:
            msgspec.structs.force_setattr(self, "cache_write_1h", self.cache_write)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts in disjoint classes: `input` excludes what was read from the upstream's cache or written into it,
    `output` excludes reasoning."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    engine_us: int = 0
    """Microseconds of a worker's engine: its share of the moments in which it ran beside others."""
    source: UsageSource = "reported"
    is_suspect: bool = False
    """The upstream's figures contradict themselves or ours."""

    @property
    def prompt(self) -> int:
        return self.input + self.cached_input + self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        return self.prompt + self.output + self.reasoning


HOUR_US = 3_600_000_000


def cost(usage: Usage, price: Price) -> NanoUSD:
    """What the usage costs at that price, rounded up to a whole nano-dollar once per attempt."""
    pico = (
        usage.input * price.input
        + usage.cached_input * price.cached_input
        + usage.output * price.output
        + usage.reasoning * price.reasoning
    )
    if usage.cache_write or usage.cache_write_1h:
        pico += usage.cache_write * price.cache_write + usage.cache_write_1h * price.cache_write_1h
    return in_nano(pico, usage.engine_us, price)


def in_nano(pico: int, engine_us: int, price: Price) -> NanoUSD:
    """What tokens cost, in pico-dollars, and the engine's time at its price: together, rounded up."""
    if engine_us and price.engine_hour:
        return -(-(pico * (HOUR_US // 1000) + engine_us * price.engine_hour) // HOUR_US)
    return -(-pico // 1000)


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Money, tokens and a place held for a request before it is sent; settled exactly once."""

    request_id: str
    caller: Caller
    amount: NanoUSD
    """No attempt may be able to cost more than this."""
    tokens: int
    epoch: str
    """Which life of the counters granted it: differs after they were lost and rebuilt. Empty: granted locally."""
    window: str
    """The month that pays, `2026-11`: the one in which it was granted."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How much is left of the rates per minute, in the scope that has the least left; None without a limit."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float = 0.0
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float = 0.0


class Score(msgspec.Struct, frozen=True, kw_only=True):
    complexity: float
    p_good: dict[str, float]
    """Candidate id to P(good answer | prompt, model)."""
    is_degraded: bool = False
    category: str = ""
    """The coarse kind of prompt, as the scorer sees it; empty when it does not say."""
    is_partial: bool = False
    """The text is in a script that the scorer cannot read: judged by length and structure alone."""
    raw: dict[str, float] = {}
    """What the scorer itself predicted, where `p_good` is adjusted to a tenant's outcomes; empty: the same."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger: one attempt, or one reply from the cache. Never changed once written."""

    request_id: str
    attempt: int
    created_ms: int
    """When the attempt began, Unix milliseconds UTC; with `window`, what it is billed under."""
    window: str
    tenant: str
    user: str
    key: str
    tier: str
    requested: str
    """The model as the caller wrote it."""
    model: str
    upstream: str
    size: str
    policy: str
    reason: str
    complexity: float
    price_version: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: NanoUSD
    """What the tenant pays."""
    suspense: NanoUSD = 0
    """What the upstream may yet bill beyond it, carried by the house until reconciled."""
    usage_source: UsageSource = "reported"
    outcome: Outcome = "ok"
    is_stream: bool = False
    is_cache_hit: bool = False
    is_suspect: bool = False
    is_overrun: bool = False
    """It cost more than was held for it."""
    duration_ms: int = 0
    first_token_ms: int | None = None
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    p_good: float | None = None
    """What the scorer predicted for this model before the answer, not adjusted to the tenant; None: nothing."""
    category: str = ""
    """The kind of prompt, as the scorer saw it."""
    p_good_after: float | None = None
    """P(good) once the answer was there, by the signals of a cascade; None: nobody looked."""
    engine_us: int = 0
    """Microseconds of a worker's engine; 0 for all other upstreams."""

    @property
    def usage(self) -> Usage:
        return Usage(
            input=self.input_tokens,
            cached_input=self.cached_input_tokens,
            cache_write=self.cache_write_tokens,
            cache_write_1h=self.cache_write_1h_tokens,
            output=self.output_tokens,
            reasoning=self.reasoning_tokens,
            engine_us=self.engine_us,
            source=self.usage_source,
            is_suspect=self.is_suspect,
        )


class OutcomeRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one answer, beside what had been predicted of it: what calibration and training learn from."""

    tenant: str
    """Empty: measured for nobody in particular."""
    user: str = ""
    """Who judged, if a user did."""
    model: str
    candidate: str = ""
    """`upstream/model`; empty where only the model is known."""
    source: OutcomeSource
    value: float
    """0 (bad) to 1 (good)."""
    weight: float = 1.0
    """How much it counts; 0: not at all."""
    p_good: float | None = None
    """The scorer's own prediction before the answer, not adjusted to the tenant."""
    complexity: float | None = None
    category: str = ""
    created_ms: int
    """When the value was told."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What releases a reservation: the sum of a request's entries."""

    request_id: str
    tenant: str
    epoch: str
    window: str
    cost: NanoUSD
    tokens: int
    counts: bool = True
    """False gives the request back to the rate and the monthly quota: nothing was served."""
    is_posted: bool = False
    """The ledger already holds the entries: if the counters were rebuilt since, they contain them."""
    user: str = ""
    key: str = ""
    """Whom to charge besides the tenant if the store has lost the hold; a hold that is there knows by itself."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of one scope in one window: used to rebuild counters that were lost."""

    requests: int
    cost: NanoUSD
