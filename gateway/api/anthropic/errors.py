"""Refusals in Anthropic's shape, and the headers that its clients know."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gateway.api.render import Headers, error_headers
from gateway.errors import GatewayError, QuotaExhaustedError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FIELDS = {
    "stop": "stop_sequences",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "thinking",
    "response_format": "output_config.format",
}
"""What a field of the translation is called by the caller."""
_DURATION = re.compile(r"(?:(\d+)m)?(\d+)s")


def error_body(error: GatewayError) -> dict[str, Any]:
    """`details.error_code` is where Anthropic's SDKs look for a cause that programs can tell apart."""
    message, param = error.message, error.param
    if param in _FIELDS:
        message = message.replace(repr(param), repr(_FIELDS[param]))
        param = _FIELDS[param]
    details: dict[str, Any] = {"error_code": error.code, "param": param}
    if error.attempts:
        details["attempts"] = error.attempts
    return {"type": "error", "error": {"type": _type(error), "message": message, "details": details}}


def render_error(error: GatewayError, request_id: str, now_ms: int) -> tuple[int, Headers, bytes]:
    body = msgspec.json.encode({**error_body(error), "request_id": request_id})
    headers = error_headers(error, request_id, body)
    known = {"x-request-id": request_id, **error.headers}
    headers += [(name.encode(), value.encode()) for name, value in anthropic_headers(known, now_ms).items()]
    return error.status, headers, body


def anthropic_headers(headers: Mapping[str, str], now_ms: int) -> dict[str, str]:
    """The same figures under Anthropic's names, to be sent beside ours."""
    named = {"request-id": headers["x-request-id"]}
    for kind in ("requests", "tokens"):
        limit = headers.get(f"x-ratelimit-limit-{kind}")
        if limit is not None:
            prefix = f"anthropic-ratelimit-{kind}"
            named[f"{prefix}-limit"] = limit
            named[f"{prefix}-remaining"] = headers[f"x-ratelimit-remaining-{kind}"]
            named[f"{prefix}-reset"] = _moment(now_ms, headers[f"x-ratelimit-reset-{kind}"])
    return named


def _type(error: GatewayError) -> str:
    if isinstance(error, QuotaExhaustedError):
        return "billing_error"
    return _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


def _moment(now_ms: int, duration: str) -> str:
    """OpenAI says for how long (`6m0s`, `120ms`), Anthropic until when, in whole seconds: never too early."""
    found = _DURATION.fullmatch(duration)
    seconds = int(found[1] or 0) * 60 + int(found[2]) if found else 1
    moment = datetime.fromtimestamp(-(-now_ms // 1000), UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
