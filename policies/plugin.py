"""A policy from somebody else's package, held to the same rules as ours: it orders, it cannot overrule."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.constraints import split
from policies.contract import Candidate, Decision, Facts, NoCandidateError, Policy
from policies.section import NAME, PolicyError

MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Plugin:
    """Raises PolicyError, and nothing else but NoCandidateError, whatever the policy does."""

    name: str
    policy: Policy

    def decide(self, facts: Facts, candidates: Sequence[Candidate]) -> Decision:
        allowed, dropped = split(facts, candidates)
        if not allowed:
            raise NoCandidateError(dropped)
        try:
            decision = self.policy.decide(facts, tuple(allowed))
            return self._checked(decision, {candidate.id: candidate for candidate in allowed}, dropped)
        except NoCandidateError as exc:
            raise NoCandidateError((*dropped, *exc.dropped)) from exc
        except PolicyError:
            raise
        except Exception as exc:
            raise PolicyError(f"{self.name}: failed with {type(exc).__name__}") from exc

    def _checked(
        self, decision: Decision, allowed: dict[str, Candidate], dropped: tuple[tuple[str, str], ...]
    ) -> Decision:
        ids = [candidate.id for candidate in decision.candidates]
        if not ids or len(set(ids)) != len(ids) or not allowed.keys() >= set(ids):
            raise PolicyError(f"{self.name}: decided for something other than the candidates it was given")
        return Decision(
            candidates=tuple(allowed[id_] for id_ in ids[:MAX_ATTEMPTS]),
            policy=self.name,
            reason=" ".join(f"{self.name}: {decision.reason}".split())[:300],
            dropped=(*dropped, *decision.dropped),
        )


def wrap(policy: Policy) -> Plugin:
    name: object = policy.name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PolicyError("name: expected letters, digits, `.`, `_` and `-`")
    return Plugin(name, policy)
