"""Hard rules: each drops the candidates that must not serve a request, under a stable name.

They are asked in the order of `ORDER`, and the first that objects is the one that is reported.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from policies.contract import Candidate, Facts, Size
from policies.section import Section

MODEL = "model"
"""It is not the model that the caller named."""
SIZE = "size"
"""The tier may not use this size."""
SIZES = "sizes"
MODELS = "models"
UPSTREAMS = "upstreams"
MIN_P_GOOD = "min_p_good"
MAX_EXPECTED_COST = "max_expected_cost_usd"
ABILITY = "ability:"
"""Reported with what is lacking: `ability:tools`."""
CONTEXT = "context"
"""Input and wanted output do not fit into its context window."""
OUTPUT = "output"
"""It cannot write an answer as long as the caller asked for."""
BUDGET = "budget"
"""It could cost more than is held for the request."""
HEALTH = "health"

ORDER = (
    MODEL,
    SIZE,
    SIZES,
    MODELS,
    UPSTREAMS,
    MIN_P_GOOD,
    MAX_EXPECTED_COST,
    ABILITY,
    CONTEXT,
    OUTPUT,
    BUDGET,
    HEALTH,
)
"""What can be changed least comes first, so that `health` says: it would have served, were it up."""

Constraint = Callable[[Facts, Candidate], str | None]
"""The name of the rule that the candidate breaks, or None."""

Dropped = tuple[tuple[str, str], ...]


def split(
    facts: Facts, candidates: Sequence[Candidate], own: Sequence[Constraint] = ()
) -> tuple[list[Candidate], Dropped]:
    """The candidates that may serve the request, and (id, constraint) for the others.

    `own` are the rules of one document; the rules that always hold are asked in any case. Unhealthy candidates
    are dropped even if nothing is left: a breaker lets its own probes through, and calls beyond those would only
    make callers wait for a server that is known to be down.
    """
    allowed: list[Candidate] = []
    dropped: list[tuple[str, str]] = []
    for candidate in candidates:
        why = _broken(facts, candidate, own)
        if why is None:
            allowed.append(candidate)
        else:
            dropped.append((candidate.id, why))
    return allowed, tuple(dropped)


def decisive(dropped: Sequence[tuple[str, str]]) -> str | None:
    """The constraint that stopped the candidate which came furthest: what to tell a caller who got nothing."""
    return max((why for _, why in dropped), key=_how_far, default=None)


def _how_far(why: str) -> int:
    rule = ABILITY if why.startswith(ABILITY) else why
    return ORDER.index(rule) if rule in ORDER else -1


def _broken(facts: Facts, candidate: Candidate, own: Sequence[Constraint]) -> str | None:
    if candidate.size not in facts.allowed_sizes:
        return SIZE
    for constraint in own:
        why = constraint(facts, candidate)
        if why is not None:
            return why
    return _unable(facts, candidate)


def _unable(facts: Facts, candidate: Candidate) -> str | None:
    if not facts.needs <= candidate.abilities:
        return f"{ABILITY}{min(facts.needs - candidate.abilities)}"
    output = facts.output_tokens
    if facts.input_tokens + (1 if output is None else output) > candidate.context_window:
        return CONTEXT
    if output is not None and output > candidate.max_output_tokens:
        return OUTPUT
    if candidate.worst_cost > facts.budget:
        return BUDGET
    return None if candidate.is_healthy else HEALTH


def is_requested(facts: Facts, candidate: Candidate) -> str | None:
    return None if candidate.model == facts.requested else MODEL


@dataclass(frozen=True, slots=True)
class InSizes:
    sizes: frozenset[Size]

    def __call__(self, _facts: Facts, candidate: Candidate) -> str | None:
        return None if candidate.size in self.sizes else SIZES


@dataclass(frozen=True, slots=True)
class Matching:
    """Allows what matches `allow` (everything, if there is none) and does not match `deny`."""

    rule: str
    allow: re.Pattern[str] | None
    deny: re.Pattern[str] | None

    def __call__(self, _facts: Facts, candidate: Candidate) -> str | None:
        name = candidate.model if self.rule == MODELS else candidate.upstream
        is_allowed = self.allow is None or self.allow.fullmatch(name)
        return None if is_allowed and not (self.deny and self.deny.fullmatch(name)) else self.rule


@dataclass(frozen=True, slots=True)
class MinPGood:
    least: float

    def __call__(self, _facts: Facts, candidate: Candidate) -> str | None:
        return None if candidate.p_good >= self.least else MIN_P_GOOD


@dataclass(frozen=True, slots=True)
class MaxExpectedCost:
    most: int
    """Nano-dollars."""

    def __call__(self, _facts: Facts, candidate: Candidate) -> str | None:
        return None if candidate.expected_cost <= self.most else MAX_EXPECTED_COST


def read(section: Section) -> tuple[Constraint, ...]:
    """The `constraints` of a document."""
    found: list[Constraint] = []
    if section.has(SIZES):
        found.append(InSizes(section.sizes(SIZES)))
    found += [_read_names(section.section(rule), rule) for rule in (MODELS, UPSTREAMS) if section.has(rule)]
    if section.has(MIN_P_GOOD):
        found.append(MinPGood(section.share(MIN_P_GOOD)))
    if section.has(MAX_EXPECTED_COST):
        found.append(MaxExpectedCost(section.usd(MAX_EXPECTED_COST)))
    section.done()
    return tuple(found)


def _read_names(section: Section, rule: str) -> Matching:
    allow, deny = (_any_of(section.texts(key)) if section.has(key) else None for key in ("allow", "deny"))
    section.done()
    if allow is None and deny is None:
        raise section.refuse("expected `allow` or `deny` with a list of names, `*` stands for anything")
    return Matching(rule, allow, deny)


def _any_of(globs: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))
