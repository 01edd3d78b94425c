"""A policy made of three parts: constraints drop, an objective orders, guards say what to do when facts fail."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from policies.cascade import Cascade
from policies.cheapest import Cheapest
from policies.constraints import Constraint, split
from policies.contract import Candidate, Decision, Facts, NoCandidateError
from policies.objective import Objective, Order


@dataclass(frozen=True, slots=True)
class Guards:
    max_attempts: int = 2
    """How many candidates may be tried: 2 is one fallback."""
    on_degraded_score: Literal["cheapest", "objective"] = "cheapest"
    """`objective` trusts the configured default score as if the scorer had given it."""


@dataclass(frozen=True, slots=True)
class ComposedPolicy:
    name: str
    objective: Objective
    description: str = ""
    version: int = 1
    constraints: tuple[Constraint, ...] = ()
    guards: Guards = Guards()

    @property
    def max_calls(self) -> int:
        return self.objective.max_calls if isinstance(self.objective, Cascade) else 1

    def decide(self, facts: Facts, candidates: Sequence[Candidate]) -> Decision:
        allowed, dropped = split(facts, candidates, self.constraints)
        if not allowed:
            raise NoCandidateError(dropped)
        order = self._order(facts, allowed)
        return Decision(
            candidates=tuple(order.candidates[: self.guards.max_attempts]),
            policy=self.name,
            reason=f"{self.name}: {order.why}",
            dropped=dropped,
            acceptance=order.acceptance,
        )

    def _order(self, facts: Facts, allowed: Sequence[Candidate]) -> Order:
        # A failed scorer must not buy the dear model: what is no complexity at all gets the cheapest, guard or not.
        is_nonsense = not 0 <= facts.complexity <= 1
        if is_nonsense or (facts.is_degraded and self.guards.on_degraded_score == "cheapest"):
            order = Cheapest().order(facts, allowed)
            return order._replace(why=f"no score; {order.why}")
        return self.objective.order(facts, allowed)
