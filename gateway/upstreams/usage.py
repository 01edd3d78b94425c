"""Token counts as OpenAI-like servers report them, brought into our disjoint classes. Their word is not trusted."""

import re
from typing import Any

from gateway.values import Usage

MAX_TOKENS = 2**40
_SECONDS = re.compile(r"([0-9]{1,9})\.([0-9]{1,6})")


def read_usage(reported: Any) -> Usage | None:
    """None if either of the counts that matter is missing or nonsense. A contradiction is clamped and suspect."""
    if not isinstance(reported, dict):
        return None
    prompt = read_count(reported.get("prompt_tokens"))
    completion = read_count(reported.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    details = reported.get("prompt_tokens_details")
    if "prompt_cache_hit_tokens" in reported:  # DeepSeek's name for it
        cached = read_count(reported["prompt_cache_hit_tokens"])
    else:
        cached = _detail(details, "cached_tokens")
    written = _detail(details, "cache_write_tokens")
    reasoning = _detail(reported.get("completion_tokens_details"), "reasoning_tokens")
    is_suspect = cached is None or written is None or reasoning is None
    cached, written, reasoning = cached or 0, written or 0, reasoning or 0
    total = reported.get("total_tokens")
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning  # xAI counts reasoning beside the completion; only the total tells.
    elif total is not None and total != prompt + completion:
        is_suspect = True
    return Usage(
        input=max(prompt - cached - written, 0),
        cached_input=min(cached, prompt),
        cache_write=min(written, max(prompt - cached, 0)),
        output=max(completion - reasoning, 0),
        reasoning=min(reasoning, completion),
        is_suspect=is_suspect or cached + written > prompt or reasoning > completion,
    )


def read_engine_us(told: str) -> int | None:
    """Seconds as a worker writes them, in whole microseconds; None for what cannot be any."""
    match = _SECONDS.fullmatch(told)
    return int(match[1]) * 1_000_000 + int(match[2].ljust(6, "0")) if match else None


def read_count(value: Any) -> int | None:
    """A number of tokens, or None for what cannot be one."""
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _detail(details: Any, field: str) -> int | None:
    """0 if it is not reported; None if it is nonsense."""
    if details is None:
        return 0
    if not isinstance(details, dict):
        return None
    value = details.get(field)
    return 0 if value is None else read_count(value)
