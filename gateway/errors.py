"""Every refusal that a caller can meet, in OpenAI's shape. Raised where it is known, rendered once in `api.render`.

GatewayError
├── InvalidRequestError        400  (413, 415, 431, 405 with their own codes)
├── AuthenticationError        401
├── PermissionDeniedError      403
├── NotFoundError              404
├── RequestTimeoutError        408
├── IdempotencyError           409  the same Idempotency-Key still runs
├── NotYetError                409  what it is about is not there yet
├── RateLimitedError           429  come back later
├── QuotaExhaustedError        429  money or quota: coming back at once does not help
├── InternalError              500
├── UpstreamFailedError        502, 504
└── UnavailableError           503
"""

from collections.abc import Mapping, Sequence


class ConfigError(Exception):
    """The configuration cannot be used. The message names the place and what to do, in one line."""


class GatewayError(Exception):
    status = 500
    type = "server_error"
    code = "internal_error"
    should_retry: bool | None = None
    """What `x-should-retry` tells SDKs, which otherwise repeat 408, 409, 429 and 5xx by themselves."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.attempts = attempts
        """Which models were tried, and why each failed: told in the body, beside OpenAI's four keys."""
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if should_retry is not None:
            self.should_retry = should_retry


class InvalidRequestError(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_value"
    should_retry = False


class AuthenticationError(GatewayError):
    """One wording for no key, an unknown, a revoked and an expired one."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    should_retry = False

    def __init__(self) -> None:
        super().__init__("Incorrect API key provided. Send a valid key as `Authorization: Bearer <key>`.")
        self.headers["www-authenticate"] = "Bearer"


class PermissionDeniedError(GatewayError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"
    should_retry = False


class NotFoundError(GatewayError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    should_retry = False


class RequestTimeoutError(GatewayError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class IdempotencyError(GatewayError):
    """Says nothing about repeating: SDKs repeat 409 by themselves, after `retry-after`."""

    status = 409
    type = "idempotency_error"
    code = "idempotency_request_in_progress"


class NotYetError(GatewayError):
    """Shortly it may be there."""

    status = 409
    type = "invalid_request_error"
    code = "request_not_settled"
    should_retry = True


class RateLimitedError(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    should_retry = True


class QuotaExhaustedError(GatewayError):
    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    should_retry = False


class InternalError(GatewayError):
    """A fault of ours. The message tells nothing: the request id leads to the log."""


class UpstreamFailedError(GatewayError):
    status = 502
    type = "server_error"
    code = "upstream_error"


class UnavailableError(GatewayError):
    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"
    should_retry = True
