"""A policy from somebody else's package, held to the same rules as ours: it orders, it cannot overrule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from policies.constraints import split
from policies.contract import Acceptance, Candidate, Decision, Facts, NoCandidateError, Policy
from policies.section import NAME, PolicyError

MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Plugin:
    """Raises PolicyError, and nothing else but NoCandidateError, whatever the policy does."""

    name: str
    policy: Policy
    max_calls: int = 1

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
            acceptance=self._checked_acceptance(decision.acceptance, allowed),
        )

    def _checked_acceptance(
        self, acceptance: Acceptance | None, allowed: dict[str, Candidate]
    ) -> Acceptance | None:
        if acceptance is None or self.max_calls == 1:
            return None
        asked = [second.id for second in acceptance.seconds if second is not None]
        is_sane = all(0 <= threshold <= 1 for threshold in acceptance.thresholds)
        if not is_sane or not allowed.keys() >= set(asked):
            raise PolicyError(f"{self.name}: accepts answers in a way that is not possible")
        return replace(
            acceptance, seconds=tuple(second and allowed[second.id] for second in acceptance.seconds)
        )


def wrap(policy: Policy) -> Plugin:
    name: object = policy.name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PolicyError("name: expected letters, digits, `.`, `_` and `-`")
    max_calls: object = getattr(policy, "max_calls", 1)
    if type(max_calls) is not int or not 1 <= max_calls <= MAX_ATTEMPTS:
        raise PolicyError(f"max_calls: expected a whole number between 1 and {MAX_ATTEMPTS}")
    return Plugin(name, policy, max_calls)
