"""Stage 5: facts and candidates into a decision. The policy is pure; this gathers what it looks at."""

from collections.abc import Callable, Sequence

from gateway.catalogue import Terms, is_auto, policy_name
from gateway.errors import (
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    QuotaExhaustedError,
    UnavailableError,
)
from gateway.fleet.reader import Outlook
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request
from gateway.values import Caller, Reservation, Score
from policies import constraints
from policies.contract import Candidate, Ceiling, Decision, Facts, NoCandidateError, Policy
from policies.section import PolicyError

Health = Callable[[str], tuple[bool, int]]
"""Upstream name to (is healthy, requests in flight)."""

OutlookOf = Callable[[str], Outlook]
"""Upstream name to what the next request would find there."""

CeilingOf = Callable[[Request, Sequence[Terms]], Ceiling]

_FIELD_OF = {
    "chat": {
        "tools": "tools",
        "json_schema": "response_format",
        "json_object": "response_format",
        "logprobs": "logprobs",
        "reasoning": "reasoning_effort",
        "audio_output": "modalities",
        "store": "store",
    },
    "responses": {
        "tools": "tools",
        "json_schema": "text.format",
        "json_object": "text.format",
        "logprobs": "top_logprobs",
        "reasoning": "reasoning",
        "store": "store",
    },
    "messages": {
        "tools": "tools",
        "json_schema": "output_config",
        "reasoning": "thinking",
    },
    "completions": {"logprobs": "logprobs"},
}
"""In which field a caller asks for an ability; what is not here is asked for by the input itself."""

_UNPRICED = ("web_search_options", "context_management", "mcp_servers", "container")
"""Fields other than `tools` that ask for what is billed by use."""


class Route:
    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        named: Policy,
        cheapest: Policy,
        health: Health,
        outlook_of: OutlookOf,
        ceiling_of: CeilingOf,
        metrics: Metrics,
        log: Logger,
        *,
        default_policy: str,
    ) -> None:
        self._policy_of = policy_of
        self._named = named
        self._cheapest = cheapest
        self._health = health
        self._outlook_of = outlook_of
        self._ceiling_of = ceiling_of
        self._metrics = metrics
        self._log = log
        self._default_policy = default_policy

    def policy(self, requested: str) -> Policy:
        """Raises NotFoundError for `auto:NAME` with a name that no policy has."""
        if not is_auto(requested):
            return self._named
        try:
            return self._policy_of(policy_name(requested, self._default_policy))
        except PolicyError as exc:
            raise NotFoundError(
                f"There is no policy {policy_name(requested, '')[:64]!r}; ask for `auto`, or `auto:` with one that exists.",
                code="model_not_found",
                param="model",
            ) from exc

    def calls(self, request: Request) -> int:
        """How many answers may have to be paid for. Raises NotFoundError as `policy` does."""
        policy = self.policy(request.model)
        return getattr(policy, "max_calls", 1) if request.kind == "chat" else 1

    def __call__(
        self,
        caller: Caller,
        request: Request,
        score: Score,
        reservation: Reservation,
        terms: Sequence[Terms],
        *,
        is_background: bool,
    ) -> Decision:
        policy = self.policy(request.model)
        facts = Facts(
            requested=request.model,
            tenant=caller.tenant,
            tier=caller.tier.name,
            allowed_sizes=frozenset(caller.tier.sizes),
            complexity=score.complexity,
            input_tokens=request.context_tokens,
            output_tokens=request.output_tokens,
            needs=request.wishes,
            budget=reservation.amount,
            is_degraded=score.is_degraded,
            is_background=is_background,
            ceiling=self._ceiling_of(request, terms),
        )
        candidates = [self._candidate(term, score, request) for term in terms]
        try:
            return policy.decide(facts, candidates)
        except NoCandidateError as exc:
            raise explain(exc, request) from exc
        except Exception as exc:  # noqa: BLE001 - a policy may be a plugin, and a plugin may raise anything
            self._metrics.degraded("policy")
            self._log.error("route.policy_failed", policy=policy.name, error=type(exc).__name__)
        try:
            return self._cheapest.decide(facts, candidates)
        except NoCandidateError as exc:
            raise explain(exc, request) from exc

    def _candidate(self, term: Terms, score: Score, request: Request) -> Candidate:
        offer = term.offer
        is_healthy, in_flight = self._health(offer.upstream)
        outlook = self._outlook_of(offer.upstream)
        honoured = offer.honours(request)
        return Candidate(
            id=offer.id,
            model=offer.model,
            upstream=offer.upstream,
            size=offer.size,
            abilities=offer.abilities | honoured if honoured else offer.abilities,
            context_window=offer.context_window,
            max_output_tokens=offer.max_output_tokens,
            expected_cost=term.expected,
            worst_cost=term.worst,
            p_good=score.p_good[offer.id],
            is_healthy=is_healthy,
            in_flight=in_flight,
            queued=outlook.queued,
            kv_use=outlook.kv_use,
        )


def explain(error: NoCandidateError, request: Request) -> GatewayError:
    """What the caller can do about the rule that stopped the candidate which came furthest."""
    why = constraints.decisive(error.dropped) or ""
    if why.startswith(constraints.ABILITY):
        ability = why.removeprefix(constraints.ABILITY)
        if ability in request.fields or ability in request.native_fields:
            return InvalidRequestError(
                f"No model that you may use here honours {ability!r}; leave it out, or name a model that does.",
                code="unsupported_parameter",
                param=ability,
            )
        return InvalidRequestError(
            f"No model that you may use here can do {ability!r}.",
            code="unsupported_value",
            param=_field(ability, request),
        )
    if why == constraints.CONTEXT:
        # Clients that shorten what they sent know the case by these words of OpenAI's and Anthropic's.
        return InvalidRequestError(
            f"The prompt is too long: with its answer about {request.context_tokens} tokens, over every model's maximum "
            "context limit here. Shorten it, or ask for less.",
            code="context_length_exceeded",
            param=request.input_field,
        )
    if why == constraints.OUTPUT:
        return InvalidRequestError(
            f"No model that you may use here writes answers of {request.output_tokens} tokens.",
            param=request.output_field,
        )
    if why == constraints.BUDGET:
        return QuotaExhaustedError(
            "What is left of this month's budget has no room for this request; an administrator can raise it."
        )
    if why == constraints.HEALTH:
        return UnavailableError(
            "No upstream for this request is healthy at the moment. Try again shortly.",
            code="no_healthy_upstream",
            retry_after_s=5,
        )
    return NotFoundError(
        "The policy leaves no model for this request; ask an administrator, or name a model.",
        code="model_not_found",
        param="model",
    )


def _field(ability: str, request: Request) -> str:
    if ability == "unpriced_tools":
        asked = request.body if request.native is None else request.native
        return next((name for name in _UNPRICED if asked.get(name) is not None), "tools")
    return _FIELD_OF.get(request.endpoint, {}).get(ability, request.input_field)
