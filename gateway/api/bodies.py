"""What every surface asks of a request's body: one JSON object of bounded depth, without fields that redirect a call."""

import re
from collections.abc import Mapping, Set
from typing import Annotated, Any

import msgspec
from litestar import Request

from gateway.errors import InvalidRequestError

MAX_DEPTH = 64
_FORBIDDEN = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "extra_headers", "extra_query", "extra_body",
        "custom_llm_provider", "organization", "headers", "proxy", "proxies", "callbacks", "success_callback",
        "failure_callback", "mock_response", "fallbacks", "context_window_fallbacks", "deployment_id", "azure_endpoint",
        "aws_access_key_id", "aws_secret_access_key", "aws_bedrock_runtime_endpoint", "vertex_credentials",
        "litellm_embedding_config", "litellm_params", "litellm_metadata", "model_list", "input_cost_per_token",
        "output_cost_per_token", "user_config", "tier", "tenant", "budget", "models", "route", "provider", "plugins", "preset",
        "kv_transfer_params", "data_sources",
    }
)  # fmt: skip
"""Fields by which other gateways let a caller redirect a call, or say who he is. Here only the key says that."""

_DEARER = frozenset({"priority", "scale", "fast", "ultrafast"})
"""Service tiers that cost more for each token than any price book here knows."""

_MENTIONS_FORBIDDEN = re.compile(b'"(?:' + b"|".join(sorted(name.encode() for name in _FORBIDDEN)) + b')"')
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""A string without an end is one too: looked for from each of its quotes again, it would take hours."""

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
"""Of tokens that were asked for."""
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


async def json_body(request: Request[Any, Any, Any]) -> bytes:
    """Of a handler of the framework's. Raises InvalidRequestError for another content type."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidRequestError(
            "Send the body as `content-type: application/json`.", status=415, code="unsupported_media_type"
        )
    return await request.body()


def read_object(raw: bytes) -> dict[str, Any]:
    """Raises InvalidRequestError."""
    if not raw.strip():
        raise InvalidRequestError("The request has no body; send a JSON object.", code="invalid_json")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise InvalidRequestError(
            f"The JSON is nested more than {MAX_DEPTH} levels deep.", code="invalid_json"
        )
    try:
        body = _ANY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequestError(f"The body is not valid JSON: {exc}.", code="invalid_json") from exc
    if not isinstance(body, dict):
        raise InvalidRequestError("The body must be a JSON object.", code="invalid_json")
    return body


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for token in _STRUCTURE.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def refuse_forbidden(raw: bytes, body: dict[str, Any], *, open_content: Set[str]) -> None:
    """`open_content` names the fields that hold what the caller wrote for the model: any name may stand in there.

    Looks at the parsed body only if the bytes mention such a field, or could spell one by escapes.
    """
    if not _MENTIONS_FORBIDDEN.search(raw) and b"\\u" not in raw:
        return
    todo: list[tuple[str, Any]] = [(name, value) for name, value in body.items() if name not in open_content]
    todo += [(name, None) for name in body]
    while todo:
        name, value = todo.pop()
        if name.rpartition(".")[2] in _FORBIDDEN:
            raise InvalidRequestError(
                f"Unknown parameter: {name[:128]!r}.", code="unknown_parameter", param=name[:128]
            )
        if isinstance(value, dict):
            todo += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            todo += [(f"{name}.{index}", inner) for index, inner in enumerate(value)]


def refuse_dearer(service_tier: Any) -> None:
    if isinstance(service_tier, str) and service_tier in _DEARER:
        raise InvalidRequestError(
            f"There is no price here for the 'service_tier' {service_tier!r}; leave it out.",
            code="unsupported_parameter",
            param="service_tier",
        )


def mentions(raw: bytes, *names: str) -> bool:
    """Whether the body may hold a field of one of these names. What is written with escapes may be any of them."""
    return b"\\u" in raw or any(b'"%b"' % name.encode() in raw for name in names)


def cache_wishes(headers: Mapping[bytes, bytes]) -> tuple[bool, bool]:
    """From `cache-control`: answer without looking into our cache; the answer may be kept."""
    control = headers.get(b"cache-control", b"").lower()
    is_private = b"no-store" in control
    return is_private or b"no-cache" in control, not is_private


def invalid(message: str) -> InvalidRequestError:
    """From what msgspec says: it names the place as `$.a[0].b`; a missing field stands in the text instead."""
    what, _, at = message.partition(" - at `$")
    param = at.rstrip("`").lstrip(".") or None
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
        return InvalidRequestError(
            f"Missing required parameter: {param!r}.", code="missing_required_parameter", param=param
        )
    return InvalidRequestError(f"Invalid value for {param!r}: {what[0].lower()}{what[1:]}.", param=param)
