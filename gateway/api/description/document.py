"""The OpenAPI document, made from the operations and the structs that they name. Pure, and slow: made once."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from gateway.api.anthropic.errors import error_body
from gateway.api.description.headers import ALWAYS, BILLED, MEANINGS, REFUSED, WAITING
from gateway.api.description.operation import Operation, Parameter, Schema, Shape
from gateway.api.description.refusals import REFUSALS, TITLES, AnthropicError, Error, Refusal
from gateway.api.description.samples import samples
from gateway.api.description.schemas import Schemas
from gateway.errors import GatewayError, QuotaExhaustedError

_SECURITY: Mapping[Shape, list[dict[str, list[str]]]] = {
    "openai": [{"bearer": []}],
    "anthropic": [{"apiKey": []}, {"bearer": []}],
}
_SHAPES: Mapping[Shape, type] = {"openai": Error, "anthropic": AnthropicError}
_COMES_BACK = frozenset({409, 429, 503})
"""Refusals that say when to try again."""

_ABOUT = """\
Everything here speaks the language of OpenAI's or Anthropic's API: change `base_url` in the client that you have.
`model: "auto"` lets the gateway choose the cheapest model that will do, `auto:<policy>` names the policy to choose by,
and a model's own name asks for that model. Fields that are not listed are passed on to the model's server."""


def document(operations: Sequence[Operation], *, title: str, version: str) -> dict[str, Any]:
    schemas = Schemas([schema for operation in operations for schema in _schemas(operation)])
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    shapes = sorted({operation.shape for operation in operations})
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            **components(shapes, REFUSALS, schemas),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def components(
    shapes: Sequence[Shape], refusals: Mapping[int, Sequence[Refusal]], schemas: Schemas
) -> dict[str, dict[str, Any]]:
    """What operations refer to. `schemas` has those of the shapes."""
    return {
        "schemas": schemas.components,
        "responses": {
            f"{shape}-{status}": _refusal(shape, status, refusals[status], schemas)
            for shape in shapes
            for status in sorted(refusals)
        },
        "headers": {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in MEANINGS.items()
        },
    }


def refused(shape: Shape, statuses: Sequence[int]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{shape}-{status}"} for status in sorted(statuses)}


def _schemas(operation: Operation) -> list[Schema]:
    parameters = [parameter.schema for parameter in operation.parameters]
    own = [operation.request, operation.response, operation.event, _SHAPES[operation.shape], *parameters]
    return [schema for schema in own if schema is not None]


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    words = operation.path.replace("{", "").replace("}", "").replace("-", "_").split("/")
    made: dict[str, Any] = {
        "operationId": "_".join([operation.method, *(word for word in words if word not in ("", "v1"))]),
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [] if operation.is_open else _SECURITY[operation.shape],
        "responses": {
            "200": _success(operation, schemas),
            **{
                str(status): {"description": meaning, "headers": _headers(ALWAYS)}
                for status, meaning in operation.also.items()
            },
            **refused(operation.shape, operation.refusals),
        },
    }
    if operation.description:
        made["description"] = operation.description
    if operation.parameters:
        made["parameters"] = [_parameter(parameter, schemas) for parameter in operation.parameters]
    if operation.request is not None:
        made["requestBody"] = {
            "required": True,
            "content": {operation.request_media: _request(operation, schemas)},
        }
    if code := samples(operation):
        made["x-codeSamples"] = code
    return made


def _request(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    made: dict[str, Any] = {"schema": schemas[operation.request]}
    if operation.examples:
        made["examples"] = {
            example.summary: {"summary": example.summary, "value": example.body}
            for example in operation.examples
        }
    return made


def _parameter(parameter: Parameter, schemas: Schemas) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": schemas[parameter.schema],
    }


def _success(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    names = () if operation.is_open else (*ALWAYS, *(BILLED if operation.is_billable else ()))
    made: dict[str, Any] = {"description": "As asked.", "headers": _headers(names)}
    if operation.response is not None:
        reply: dict[str, Any] = {"schema": schemas[operation.response]}
        if operation.response_example is not None:
            reply["example"] = operation.response_example
        made["content"] = {operation.response_media: reply}
    if operation.event is not None:
        # OpenAPI 3.1 has no word for the events of a stream.
        stream: dict[str, Any] = {"x-event-schema": schemas[operation.event]}
        if operation.event_example:
            stream["example"] = operation.event_example
        made.setdefault("content", {})["text/event-stream"] = stream
    return made


def _refusal(shape: Shape, status: int, refusals: Sequence[Refusal], schemas: Schemas) -> dict[str, Any]:
    headers = (*ALWAYS, *REFUSED, *(WAITING if status in _COMES_BACK else ()))
    return {
        "description": f"{TITLES[status]}.",
        "headers": _headers(headers),
        "content": {
            "application/json": {
                "schema": schemas[_SHAPES[shape]],
                "examples": {
                    refusal.code: {
                        "summary": refusal.meaning,
                        "value": _refusal_body(shape, status, refusal),
                    }
                    for refusal in refusals
                },
            }
        },
        "x-status": HTTPStatus(status).phrase,
    }


def _refusal_body(shape: Shape, status: int, refusal: Refusal) -> dict[str, Any]:
    if shape == "anthropic":
        kind = QuotaExhaustedError if refusal.code == "insufficient_quota" else GatewayError
        return error_body(kind(refusal.meaning, code=refusal.code, status=status))
    return {"error": {"message": refusal.meaning, "type": refusal.type, "param": None, "code": refusal.code}}


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
