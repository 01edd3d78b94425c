"""Errors to JSON: the one place where a refusal becomes bytes, always with OpenAI's four keys and a request id."""

import math

import msgspec

from gateway.errors import GatewayError

Headers = list[tuple[bytes, bytes]]


def render(error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
    said: dict[str, object] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if error.attempts:
        said["attempts"] = error.attempts
    body = msgspec.json.encode({"error": said})
    return error.status, error_headers(error, request_id, body), body


def error_headers(error: GatewayError, request_id: str, body: bytes) -> Headers:
    """For a body of any dialect."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
        headers.append((b"retry-after-ms", str(max(1, math.ceil(error.retry_after_s * 1000))).encode()))
    headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    return headers
