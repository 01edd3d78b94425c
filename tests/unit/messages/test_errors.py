"""Refusals, limits and models as Anthropic's clients read them."""

import json
from typing import Any

import pytest

from gateway.api.anthropic.errors import anthropic_headers, render_error
from gateway.api.anthropic.models import model_page
from gateway.errors import (
    AuthenticationError,
    GatewayError,
    IdempotencyError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitedError,
    RequestTimeoutError,
    UnavailableError,
    UpstreamFailedError,
)

NOW_MS = 1_790_000_000_500  # 2026-09-21T14:13:20.5Z
ROWS = [{"id": name, "context_window": 10, "max_output_tokens": 5} for name in "abcde"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequestError("x"), "invalid_request_error"),
        (InvalidRequestError("x", status=413), "request_too_large"),
        (InvalidRequestError("x", status=415), "invalid_request_error"),
        (AuthenticationError(), "authentication_error"),
        (PermissionDeniedError("x"), "permission_error"),
        (NotFoundError("x"), "not_found_error"),
        (RequestTimeoutError("x"), "invalid_request_error"),
        (IdempotencyError("x"), "invalid_request_error"),
        (RateLimitedError("x"), "rate_limit_error"),
        (QuotaExhaustedError("x"), "billing_error"),
        (InternalError("x"), "api_error"),
        (UpstreamFailedError("x"), "api_error"),
        (UpstreamFailedError("x", status=504), "timeout_error"),
        (UnavailableError("x"), "overloaded_error"),
    ],
)
def test_a_refusal_has_anthropics_type_and_our_code(error: GatewayError, kind: str) -> None:
    status, headers, body = render_error(error, "req_1", NOW_MS)

    said = json.loads(body)
    assert (said["type"], said["request_id"]) == ("error", "req_1")
    assert said["error"]["type"] == kind
    assert said["error"]["details"]["error_code"] == error.code
    assert status == error.status
    assert (b"request-id", b"req_1") in headers
    assert (b"content-length", str(len(body)).encode()) in headers


def test_a_field_is_called_what_the_caller_calls_it() -> None:
    error = InvalidRequestError("No model honours 'stop'; leave it out.", param="stop")

    said = json.loads(render_error(error, "req_1", NOW_MS)[2])["error"]

    assert said["message"] == "No model honours 'stop_sequences'; leave it out."
    assert said["details"]["param"] == "stop_sequences"


def test_a_refusal_for_the_rate_says_when_to_come_back() -> None:
    error = RateLimitedError(
        "Slow down.",
        retry_after_s=1.2,
        headers={
            "x-ratelimit-limit-requests": "10",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6m2s",
        },
    )

    headers = dict(render_error(error, "req_1", NOW_MS)[1])

    assert headers[b"retry-after"] == b"2"
    assert headers[b"x-should-retry"] == b"true"
    assert headers[b"anthropic-ratelimit-requests-remaining"] == b"0"
    assert headers[b"anthropic-ratelimit-requests-reset"] == b"2026-09-21T14:19:23Z"


@pytest.mark.parametrize(
    ("reset", "moment"),
    [
        ("120ms", "2026-09-21T14:13:22Z"),
        ("2s", "2026-09-21T14:13:23Z"),
        ("59s", "2026-09-21T14:14:20Z"),
        ("1m0s", "2026-09-21T14:14:21Z"),
    ],
)
def test_a_limit_is_told_in_anthropics_names_and_by_the_clock(reset: str, moment: str) -> None:
    ours = {
        "x-request-id": "req_1",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "900",
        "x-ratelimit-reset-tokens": reset,
    }

    assert anthropic_headers(ours, NOW_MS) == {
        "request-id": "req_1",
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "900",
        "anthropic-ratelimit-tokens-reset": moment,
    }


@pytest.mark.parametrize(
    ("query", "names", "has_more"),
    [
        ({}, "abcde", False),
        ({"limit": "2"}, "ab", True),
        ({"limit": "2", "after_id": "b"}, "cd", True),
        ({"limit": "2", "after_id": "d"}, "e", False),
        ({"after_id": "e"}, "", False),
        ({"limit": "2", "before_id": "e"}, "cd", True),
        ({"limit": "4", "before_id": "e"}, "abcd", False),
        ({"before_id": "a"}, "", False),
        ({"limit": "1", "after_id": "a", "before_id": "d"}, "c", True),
    ],
)
def test_models_come_in_pages(query: dict[str, str], names: str, has_more: bool) -> None:
    page = model_page(ROWS, query)

    assert "".join([model["id"] for model in page["data"]]) == names
    assert page["has_more"] is has_more
    assert page["first_id"] == (names[0] if names else None)
    assert page["last_id"] == (names[-1] if names else None)


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "٣"}, {"limit": "1" * 99}, {"after_id": "z"}]
)
def test_a_page_that_cannot_be_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        model_page(ROWS, query)

    assert refused.value.param in query
