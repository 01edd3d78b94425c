"""Token counts as Anthropic reports them, brought into our disjoint classes. Their word is not trusted."""

from typing import Any

from gateway.upstreams.usage import read_count
from gateway.values import Usage

_NEEDED = ("input_tokens", "output_tokens")
_TOTALS = (*_NEEDED, "cache_read_input_tokens", "cache_creation_input_tokens")
_SHARES = {
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    "output_tokens_details": ("thinking_tokens",),
}


class Tally:
    """Of one message. A stream's first event has the input, its last the output, and some have all: what each reports
    is the sum so far, so the largest counts."""

    __slots__ = ("_counts", "_is_suspect", "_is_void")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._is_suspect = False
        self._is_void = False
        """One of the two counts that matter was nonsense."""

    def add(self, reported: Any) -> None:
        if not isinstance(reported, dict):
            return
        for field in _TOTALS:
            self._keep(field, reported.get(field))
        for group, fields in _SHARES.items():
            shares = reported.get(group)
            if isinstance(shares, dict):
                for field in fields:
                    self._keep(field, shares.get(field))
            elif shares is not None:
                self._is_suspect = True

    def usage(self) -> Usage | None:
        """None if either of the counts that matter is missing or nonsense. A contradiction is clamped and suspect."""
        count = self._counts.get
        if self._is_void or any(field not in self._counts for field in _NEEDED):
            return None
        output, thinking = self._counts["output_tokens"], count("thinking_tokens", 0)
        written = count("cache_creation_input_tokens", 0)
        five_minutes, hour = count("ephemeral_5m_input_tokens", 0), count("ephemeral_1h_input_tokens", 0)
        return Usage(
            input=self._counts["input_tokens"],
            cached_input=count("cache_read_input_tokens", 0),
            cache_write=max(five_minutes, written - hour),
            cache_write_1h=hour,
            output=max(output - thinking, 0),
            reasoning=min(thinking, output),
            is_suspect=self._is_suspect or thinking > output or five_minutes + hour > written,
        )

    def _keep(self, field: str, value: Any) -> None:
        if value is None:
            return
        count = read_count(value)
        if count is None:
            self._is_suspect = True
            self._is_void |= field in _NEEDED
        else:
            self._counts[field] = max(count, self._counts.get(field, 0))


def chat_usage(usage: Usage) -> dict[str, Any]:
    """As a chat completion tells it."""
    completion = usage.output + usage.reasoning
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": completion,
        "total_tokens": usage.prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
