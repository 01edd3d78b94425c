"""What serving a model takes of GPU memory, part by part, and whether it fits.

memory = plan_memory(Serving(architecture=model("llama-3-8b").architecture, ctx=8192, concurrency=16))
required_fit(serving, vram=Bytes.of_gib(22.5))   # raises PlanError: by how much it is too big, and what would do
"""

from collections.abc import Iterator, Sequence
from typing import Self

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import BITS, Architecture, Precision
from gateway.planning.sizing.gpus import Gpu, gpus
from gateway.planning.units import Bytes

UTIL = 0.90
"""Share of a card's memory that an engine takes: vLLM's default."""
RUNTIME = Bytes.of_gib(1.0)
"""Per GPU: driver context, kernels, graphs."""
CHUNK = 2048
"""Tokens of prompts that one step works on."""
CARDS = (1, 2, 4, 8)
_ACTIVATION_BYTES = 34
_LOGIT_BYTES = 4


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """A way to serve a model. Raises PlanError if it cannot be split, or caches in bits that no engine has."""

    architecture: Architecture
    precision: Precision = "fp16"
    kv_bits: int = 16
    ctx: int = 8192
    """Tokens of one sequence: its prompt and the longest answer."""
    concurrency: int = 1
    """Sequences at once."""
    tp: int = 1
    """GPUs among which each layer is split."""

    def __post_init__(self) -> None:
        heads = self.architecture.heads
        if heads % self.tp:
            allowed = ", ".join(str(tp) for tp in CARDS if heads % tp == 0)
            raise PlanError(
                f"tp {self.tp} does not divide the model's {heads} attention heads; {allowed} would.",
                param="tp",
            )
        if self.kv_bits not in (8, 16):
            raise PlanError(f"The KV cache is kept in 8 or 16 bits, not in {self.kv_bits}.", param="kv_bits")

    def but(self, **changes: object) -> Self:
        return msgspec.structs.replace(self, **changes)

    @property
    def kv_per_sequence(self) -> Bytes:
        """kv/token x ctx in blocks of 16, where each layer keeps all of it."""
        return self.architecture.kv_blocks(self.ctx, self.kv_bits, self.tp)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """On all its GPUs together."""

    weights: Bytes
    kv: Bytes
    runtime: Bytes
    activations: Bytes
    logits: Bytes

    @property
    def total(self) -> Bytes:
        return self.weights + self.kv + self.runtime + self.activations + self.logits


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A way to serve on cards of one kind."""

    serving: Serving
    memory: Memory
    limit: Bytes
    max_concurrency: int
    """An upper bound: expect 0.4 to 1.0 of it near the edge."""

    @property
    def is_fit(self) -> bool:
        return self.memory.total <= self.limit

    @property
    def headroom(self) -> Bytes:
        """Below zero it is what is missing."""
        return self.limit - self.memory.total


def plan_memory(serving: Serving) -> Memory:
    """weights + kv/token x ceil16(ctx) x concurrency + tp x (1 GiB + 34 h 2048 + 4 V concurrency).

    34 h bytes per token are the widest moment of a layer in 16 bits; logits are sampled from in 32 bits.
    """
    architecture, tp = serving.architecture, serving.tp
    return Memory(
        weights=architecture.weights(serving.precision),
        kv=serving.kv_per_sequence * serving.concurrency,
        runtime=RUNTIME * tp,
        activations=Bytes(_ACTIVATION_BYTES * architecture.hidden * CHUNK) * tp,
        logits=Bytes(_LOGIT_BYTES * architecture.vocab * serving.concurrency) * tp,
    )


def limit_of(vram: Bytes, *, tp: int = 1, util: float = UTIL) -> Bytes:
    return vram * tp * util


def max_concurrency(serving: Serving, limit: Bytes) -> int:
    """The most sequences of that length whose total is within the limit; 0 if there are none."""
    one, two = (plan_memory(serving.but(concurrency=many)).total for many in (1, 2))
    each = two - one
    many = max(0, int((limit - (one - each)) / each))
    # The division rounds: the last sequence is looked at itself.
    while many and plan_memory(serving.but(concurrency=many)).total > limit:
        many -= 1
    while plan_memory(serving.but(concurrency=many + 1)).total <= limit:
        many += 1
    return many


def max_context(serving: Serving, limit: Bytes) -> int:
    """The longest sequences, in blocks of 16 tokens, of which that many fit; 0 if none do."""
    low, high = 0, max(1, -(-serving.ctx // 16))
    while low < high:
        middle = (low + high + 1) // 2
        is_fit = plan_memory(serving.but(ctx=16 * middle)).total <= limit
        low, high = (middle, high) if is_fit else (low, middle - 1)
    return min(16 * low, serving.ctx)


def fit(serving: Serving, vram: Bytes, *, util: float = UTIL) -> Fit:
    limit = limit_of(vram, tp=serving.tp, util=util)
    return Fit(
        serving=serving,
        memory=plan_memory(serving),
        limit=limit,
        max_concurrency=max_concurrency(serving, limit),
    )


def fewest_cards(serving: Serving, vram: Bytes, *, util: float = UTIL) -> Fit | None:
    """With the fewest cards of that memory, whatever the `tp` of `serving`; None if eight are too few."""
    for tp in _divisors(serving.architecture):
        found = fit(serving.but(tp=tp), vram, util=util)
        if found.is_fit:
            return found
    return None


def smallest_fit(
    serving: Serving, *, util: float = UTIL, among: Sequence[Gpu] | None = None
) -> tuple[Gpu, Fit] | None:
    """The fewest cards, and of those the kind with the least memory: the first, where `among` says in which order."""
    for tp in _divisors(serving.architecture):
        for card in gpus() if among is None else among:
            found = fit(serving.but(tp=tp), card.vram, util=util)
            if found.is_fit:
                return card, found
    return None


def required_fit(serving: Serving, vram: Bytes, *, util: float = UTIL, called: str = "the GPU") -> Fit:
    """Raises PlanError with how much is missing and what would fit, if it does not."""
    found = fit(serving, vram, util=util)
    if not found.is_fit:
        raise PlanError(told_misfit(found, vram, util=util, called=called))
    return found


def told_misfit(found: Fit, vram: Bytes, *, util: float, called: str, name: str = "The model") -> str:
    tp = found.serving.tp
    cards = called if tp == 1 else f"{tp} x {called}"
    ways = remedies(found.serving, vram, util=util)
    return (
        f"{name} does not fit: it takes {found.memory.total.gib:,.2f} GiB and {cards} gives {found.limit.gib:,.2f} GiB"
        f" ({util:.0%} of {vram.gib * tp:,.2f}), so {-found.headroom.gib:,.2f} GiB are missing."
        + (f" What would fit there: {'; '.join(ways)}." if ways else " Nothing makes it fit there.")
    )


def remedies(serving: Serving, vram: Bytes, *, util: float = UTIL) -> Sequence[str]:
    """Single changes after which it fits on such cards, the smallest loss first."""
    limit = limit_of(vram, tp=serving.tp, util=util)
    return list(_remedies(serving, vram, limit, util))


def _remedies(serving: Serving, vram: Bytes, limit: Bytes, util: float) -> Iterator[str]:
    if many := max_concurrency(serving, limit):
        yield f"{many:,} sequence{'s' if many > 1 else ''} at once instead of {serving.concurrency:,}"
    if serving.kv_bits == 16 and plan_memory(serving.but(kv_bits=8)).total <= limit:
        yield "a KV cache of 8 bits"
    if context := max_context(serving, limit):
        yield f"sequences of {context:,} tokens instead of {serving.ctx:,}"
    for precision in _coarser(serving.precision):
        if plan_memory(serving.but(precision=precision)).total <= limit:
            yield f"{precision} weights"
            break
    more = fewest_cards(serving, vram, util=util)
    if more and more.serving.tp > serving.tp:
        yield f"{more.serving.tp} cards"


def _coarser(precision: Precision) -> Sequence[Precision]:
    return [name for name in ("fp16", "int8", "int4") if BITS[name] < BITS[precision]]


def _divisors(architecture: Architecture) -> Sequence[int]:
    return [tp for tp in CARDS if architecture.heads % tp == 0]
