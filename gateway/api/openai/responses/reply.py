"""The Response object: what was asked for, as it was understood, and what came of it."""

from collections.abc import Callable
from typing import Any

from gateway.api.openai.responses.tools import namespaced
from gateway.errors import GatewayError
from gateway.ticket import Request
from gateway.values import Usage

_SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Reply:
    """Of one request; each method gives the object as it is at that moment."""

    def __init__(self, request: Request, model: str, now_s: Callable[[], int]) -> None:
        self.suffix = request.id.removeprefix("req_")
        """Of the ids of the answer and its items: they lead to the log."""
        self._now_s = now_s
        self._asked = request.native or {}
        self._head: dict[str, Any] = {
            "id": f"resp_{self.suffix}",
            "object": "response",
            "created_at": now_s(),
            **_echo(self._asked),
            "model": model,
        }

    @property
    def names(self) -> dict[str, tuple[str, str]]:
        """Of the tools that have a namespace."""
        return namespaced(self._asked.get("tools") or ())

    @property
    def wants_summary(self) -> bool:
        return self._head["reasoning"]["summary"] is not None

    def begun(self) -> dict[str, Any]:
        return self._told("in_progress", self._asked.get("service_tier") or "auto")

    def ended(
        self,
        output: Callable[[str], list[dict[str, Any]]],
        finish_reason: str | None,
        usage: Usage | None,
        service_tier: Any,
    ) -> dict[str, Any]:
        """`output` is given the status of its last item."""
        reason = _INCOMPLETE.get(finish_reason or "")
        status = "incomplete" if reason else "completed"
        return {
            **self._told(status, str(service_tier) if str(service_tier) in _SERVICE_TIERS else "default"),
            "completed_at": None if reason else self._now_s(),
            "incomplete_details": {"reason": reason} if reason else None,
            "output": output(status),
            "usage": _told_usage(usage),
        }

    def failed(self, output: list[dict[str, Any]], error: GatewayError) -> dict[str, Any]:
        told = self._told("failed", "default")
        return {**told, "output": output, "error": {"code": "server_error", "message": error.message}}

    def _told(self, status: str, service_tier: str) -> dict[str, Any]:
        return {
            **self._head,
            "status": status,
            "service_tier": service_tier,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }


def _echo(asked: dict[str, Any]) -> dict[str, Any]:
    """Every field has a value, the documented default if the caller left it out."""

    def or_else(name: str, default: Any) -> Any:
        value = asked.get(name)
        return default if value is None else value

    reasoning, text = or_else("reasoning", {}), or_else("text", {})
    echo = {
        "background": False,
        "frequency_penalty": or_else("frequency_penalty", 0.0),
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "metadata": or_else("metadata", {}),
        "parallel_tool_calls": or_else("parallel_tool_calls", True),
        "presence_penalty": or_else("presence_penalty", 0.0),
        "previous_response_id": None,
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "prompt_cache_retention": asked.get("prompt_cache_retention"),
        "reasoning": {
            "effort": reasoning.get("effort"),
            "summary": reasoning.get("summary") or reasoning.get("generate_summary"),
        },
        "safety_identifier": asked.get("safety_identifier"),
        "store": False,
        "temperature": or_else("temperature", 1.0),
        "text": {"format": _format(text.get("format")), "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": or_else("tool_choice", "auto"),
        "tools": [_tool(tool) for tool in or_else("tools", ())],
        "top_logprobs": or_else("top_logprobs", 0),
        "top_p": or_else("top_p", 1.0),
        "truncation": "disabled",
    }
    return echo if asked.get("user") is None else {**echo, "user": asked["user"]}


def _format(asked: dict[str, Any] | None) -> dict[str, Any]:
    if asked is None:
        return {"type": "text"}
    if asked["type"] != "json_schema":
        return asked
    return {"description": None, **asked, "strict": bool(asked.get("strict"))}


def _tool(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["type"] != "function":
        return asked
    return {"type": "function", "description": None, "parameters": None, "strict": None, **asked}


def _told_usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output + usage.reasoning,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
