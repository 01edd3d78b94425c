"""The headers that callers may rely on, and which replies carry them."""

from collections.abc import Mapping

ALWAYS = ("x-request-id",)
BILLED = (
    "openai-processing-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-weighbridge-model",
    "x-weighbridge-decision",
    "x-weighbridge-complexity",
    "x-weighbridge-cost-usd",
    "x-weighbridge-cache",
    "x-weighbridge-steps",
    "x-weighbridge-cascade",
)
REFUSED = ("x-should-retry",)
WAITING = ("retry-after", "retry-after-ms")

MEANINGS: Mapping[str, str] = {
    "x-request-id": "Names this request in the gateway's log and ledger.",
    "openai-processing-ms": "Milliseconds that the request has taken so far.",
    "x-ratelimit-limit-requests": "Requests a minute that the plan allows.",
    "x-ratelimit-remaining-requests": "Requests left at this moment.",
    "x-ratelimit-reset-requests": "Until all requests are there again: `1.5s`, `6m0s`.",
    "x-ratelimit-limit-tokens": "Tokens a minute that the plan allows.",
    "x-ratelimit-remaining-tokens": "Tokens left at this moment.",
    "x-ratelimit-reset-tokens": "Until all tokens are there again.",
    "x-weighbridge-model": "The model that answered.",
    "x-weighbridge-decision": "Why this model: the policy and its reason.",
    "x-weighbridge-complexity": "How hard the prompt looked, from 0 to 1.",
    "x-weighbridge-cost-usd": "What the request cost. A stream tells it in a comment before its end instead.",
    "x-weighbridge-cache": "`hit`, `miss`, or `off` if the cache was not asked.",
    "x-weighbridge-steps": "How many answers a cascade has asked for; each is part of the cost.",
    "x-weighbridge-cascade": (
        "For each of them its model, how likely it was to be good before and after it was there, and what was made of it."
    ),
    "x-should-retry": "Whether sending the same request again can help; SDKs obey it.",
    "retry-after": "Seconds to wait before the next try.",
    "retry-after-ms": "The same in milliseconds.",
}
