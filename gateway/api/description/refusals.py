"""Every refusal with its codes and what a caller should do, and the two shapes in which refusals are written."""

from collections.abc import Mapping

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    type: str
    code: str
    meaning: str


class FailedAttempt(msgspec.Struct):
    model: str
    reason: str


class ErrorBody(msgspec.Struct):
    message: str
    """What was wrong and what to do, for people."""
    type: str
    param: str | None
    """The field at fault, as a path: `messages[0].role`."""
    code: str | None
    """For programs."""
    attempts: list[FailedAttempt] | msgspec.UnsetType = msgspec.UNSET
    """Which models were tried, if all of them failed."""


class Error(msgspec.Struct):
    """Every refusal, and the last event of a stream that broke."""

    error: ErrorBody


class AnthropicErrorDetails(msgspec.Struct):
    error_code: str
    """For programs."""
    param: str | None
    """The field at fault, as a path: `messages[0].content[1].source`."""


class AnthropicErrorBody(msgspec.Struct):
    type: str
    message: str
    """What was wrong and what to do, for people."""
    details: AnthropicErrorDetails


class AnthropicError(msgspec.Struct):
    """The same refusals in the shape that Anthropic's clients expect."""

    type: str
    error: AnthropicErrorBody
    request_id: str | None = None


_WRONG = "invalid_request_error"
_BUSY = "service_unavailable_error"

REFUSALS: Mapping[int, tuple[Refusal, ...]] = {
    400: (
        Refusal(_WRONG, "invalid_json", "The body is not JSON that can be read, or not an object."),
        Refusal(_WRONG, "invalid_value", "A field has a value that it may not have; `param` names it."),
        Refusal(_WRONG, "missing_required_parameter", "A field is missing; `param` names it."),
        Refusal(_WRONG, "unknown_parameter", "A field that would redirect or re-identify the call."),
        Refusal(_WRONG, "unsupported_parameter", "No model that you may use honours this field."),
        Refusal(_WRONG, "unsupported_value", "No model that you may use can do what this value asks for."),
        Refusal(_WRONG, "previous_response_not_found", "No response is kept: send the whole conversation."),
        Refusal(_WRONG, "unsupported_model", "The model does not answer at this endpoint."),
        Refusal(
            _WRONG, "thread_unsupported_request", "No conversations are kept for `thread`; send all of it."
        ),
        Refusal(_WRONG, "context_length_exceeded", "The prompt fits into no model that you may use."),
        Refusal(_WRONG, "invalid_header", "A header is missing, doubled or contradicts another."),
        Refusal(_WRONG, "invalid_http", "What arrived is not HTTP/1.1; the connection is closed."),
        Refusal(
            _WRONG, "request_loop_detected", "It has passed too many gateways: they send it in a circle."
        ),
        Refusal(_WRONG, "idempotency_key_mismatch", "This Idempotency-Key came with another body before."),
        Refusal(
            _WRONG,
            "idempotency_replay_unavailable",
            "What was answered under this Idempotency-Key is not kept.",
        ),
    ),
    401: (Refusal(_WRONG, "invalid_api_key", "No key, or one that is unknown, revoked or expired."),),
    403: (
        Refusal("permission_error", "insufficient_permissions", "The key is known and may not do this."),
        Refusal("permission_error", "ip_not_allowed", "The key may not be used from this address."),
    ),
    404: (
        Refusal(_WRONG, "model_not_found", "No such model, or your plan does not include it."),
        Refusal(_WRONG, "not_found", "There is nothing at this path, or no such object of yours."),
    ),
    405: (Refusal(_WRONG, "method_not_allowed", "Another method; `allow` names those that work."),),
    408: (Refusal(_WRONG, "request_timeout", "The headers or the body took too long to arrive."),),
    409: (
        Refusal("idempotency_error", "idempotency_request_in_progress", "The first one is still running."),
        Refusal(
            _WRONG, "request_not_settled", "Nothing is known of the request yet: wait for `retry-after`."
        ),
    ),
    413: (Refusal(_WRONG, "request_too_large", "The body is larger than this gateway takes."),),
    415: (
        Refusal(_WRONG, "unsupported_media_type", "The body has another content type than this takes."),
        Refusal(_WRONG, "unsupported_content_encoding", "The body is compressed; send it as it is."),
    ),
    429: (
        Refusal(
            "rate_limit_error", "rate_limit_exceeded", "Too many requests or tokens: wait for `retry-after`."
        ),
        Refusal("insufficient_quota", "insufficient_quota", "The budget or the month's quota is used up."),
    ),
    431: (Refusal(_WRONG, "headers_too_large", "The headers are larger than this gateway takes."),),
    500: (
        Refusal("server_error", "internal_error", "A fault of the gateway; the request id leads to its log."),
    ),
    502: (
        Refusal("server_error", "upstream_error", "Every model that was tried failed; nothing was answered."),
        Refusal(
            "server_error", "upstream_invalid_response", "What the model's server answered was no answer."
        ),
        Refusal("server_error", "upstream_stream_interrupted", "Only inside a stream: it broke off."),
    ),
    503: (
        Refusal(
            _BUSY, "server_is_overloaded", "Every model that could answer is overloaded, or the gateway is."
        ),
        Refusal(_BUSY, "no_healthy_upstream", "Every model that could answer is being left alone."),
        Refusal(_BUSY, "budget_unavailable", "Budgets cannot be checked at the moment."),
        Refusal(_BUSY, "spend_journal_unavailable", "Spend cannot be recorded at the moment."),
        Refusal(_BUSY, "auth_unavailable", "Keys cannot be checked at the moment."),
        Refusal(_BUSY, "database_unavailable", "The database cannot be reached at the moment."),
        Refusal(_BUSY, "draining", "This gateway is shutting down; another one will answer."),
    ),
    504: (Refusal("server_error", "upstream_timeout", "No model answered in the time there was."),),
}

TITLES: Mapping[int, str] = {
    400: "The request is wrong",
    401: "The key does not count",
    403: "The key may not do this",
    404: "Not there, or not for you",
    405: "Wrong method",
    408: "The request came too slowly",
    409: "The request is still running, or not yet in the ledger",
    413: "The body is too large",
    415: "The body cannot be read in this form",
    429: "Too much, or nothing left",
    431: "The headers are too large",
    500: "A fault of the gateway",
    502: "The models failed",
    503: "Something that is needed is away or busy",
    504: "The models took too long",
}
