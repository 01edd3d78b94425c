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
    max_queued: int | None = None
    """A candidate at whose server more requests wait is passed over while there is another. None: whatever waits."""
    max_kv_use: float | None = None
    """Likewise, where more of the memory for keys and values is in use."""

    def crowding(self, candidate: Candidate) -> str:
        """Why the candidate is to be passed over, for a person; empty if it is not. What is unknown is no reason."""
        queued, kv_use = candidate.queued, candidate.kv_use
        if self.max_queued is not None and queued is not None and queued > self.max_queued:
            return f"{queued:.0f} waiting"
        if self.max_kv_use is not None and kv_use is not None and kv_use > self.max_kv_use:
            return f"{kv_use:.0%} of its memory in use"
        return ""


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
        order = self._order_by_room(facts, allowed)
        return Decision(
            candidates=tuple(order.candidates[: self.guards.max_attempts]),
            policy=self.name,
            reason=f"{self.name}: {order.why}",
            dropped=dropped,
            acceptance=order.acceptance,
        )

    def _order_by_room(self, facts: Facts, allowed: Sequence[Candidate]) -> Order:
        """Who has no room stands in for those who have, and serves if nobody has: to wait is better than to fail. For a
        line of a batch to wait is better than anything."""
        if facts.is_background or (self.guards.max_queued is None and self.guards.max_kv_use is None):
            return self._order(facts, allowed)
        crowded = {one.id: why for one in allowed if (why := self.guards.crowding(one))}
        roomy = [one for one in allowed if one.id not in crowded]
        if not crowded or not roomy:
            return self._order(facts, allowed)
        first = self._order(facts, roomy)
        rest = self._order(facts, [one for one in allowed if one.id in crowded])
        told = f"{rest.candidates[0].model} ({crowded[rest.candidates[0].id]})"
        others = f" and {len(crowded) - 1} more" if len(crowded) > 1 else ""
        return first._replace(
            candidates=[*first.candidates, *rest.candidates], why=f"{first.why}; passed over: {told}{others}"
        )

    def _order(self, facts: Facts, allowed: Sequence[Candidate]) -> Order:
        # A failed scorer must not buy the dear model: what is no complexity at all gets the cheapest, guard or not.
        is_nonsense = not 0 <= facts.complexity <= 1
        if is_nonsense or (facts.is_degraded and self.guards.on_degraded_score == "cheapest"):
            order = Cheapest().order(facts, allowed)
            return order._replace(why=f"no score; {order.why}")
        return self.objective.order(facts, allowed)
