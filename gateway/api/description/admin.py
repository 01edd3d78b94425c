"""The admin listener's description, which Litestar makes from its handlers: as JSON, and as our own page."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from gateway.api.admin.scorer import ExplainBody, ScoreBody
from gateway.api.description.document import components, refused
from gateway.api.description.operation import READING, WRITING
from gateway.api.description.page import page
from gateway.api.description.plan_operations import PATH as PLAN_PATH
from gateway.api.description.plan_operations import plan_paths, plan_schemas
from gateway.api.description.refusals import REFUSALS, Error, Refusal
from gateway.api.description.schemas import Schemas
from gateway.ledger.outcome_import import OutcomeLine

_REFUSALS: Mapping[int, Sequence[Refusal]] = {
    **REFUSALS,
    409: (Refusal("invalid_request_error", "already_exists", "There is one of this name already."),),
    503: (
        *REFUSALS[503],
        Refusal("service_unavailable_error", "scorer_unavailable", "The scorer's model is not loaded here."),
        Refusal(
            "service_unavailable_error", "plots_unavailable", "What draws diagrams is not installed here."
        ),
    ),
}
_ALSO = {"/finance/spend": "text/csv"}
"""What else an operation answers with, if it is asked to."""
_BODIES = {
    "/admin/outcomes": list[OutcomeLine],
    "/admin/scorer/explain": ExplainBody,
    "/v1/weighbridge/score": ScoreBody,
}
"""What is posted that Litestar does not know, because the handler reads it."""
_LINES = ("/admin/outcomes",)
"""Where it may come line by line too."""
_NAMES = {
    "/admin/scorer": ("Show the scorer", "Scorer"),
    "/admin/scorer/explain": ("Explain a score", "Scorer"),
    "/v1/weighbridge/score": ("Score prompts", "Scorer"),
    "/admin/plan": ("List the planning tools", "Plan"),
}
"""Of what is no list of things, or has a tag of its own."""
_VERBS = {"get": "Show", "post": "Add", "put": "Write", "patch": "Change", "delete": "End"}
_OPEN = ("/healthz", "/readyz", "/metrics")


class _Json(JsonRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, with_refusals(openapi_schema))


class _Page(OpenAPIRenderPlugin):
    """Instead of Litestar's pages, which have the browser fetch scripts from elsewhere."""

    def render(self, _request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return page(with_refusals(openapi_schema), json_path="/schema/openapi.json")


def admin_pages() -> list[OpenAPIRenderPlugin]:
    return [_Page(path="/"), _Json(path="/openapi.json")]


def with_refusals(document: dict[str, Any]) -> dict[str, Any]:
    """Litestar knows neither our shape of an error nor which refusals there are."""
    schemas = Schemas([Error, *_BODIES.values()])
    ours = components(["openai"], _REFUSALS, schemas)
    theirs = document.get("components", {})
    merged = {name: {**theirs.get(name, {}), **made} for name, made in ours.items()}
    merged["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    paths = {
        path: {
            method: {**operation, "summary": path[1:], "tags": ["Service"]}
            for method, operation in item.items()
        }
        if path in _OPEN
        else {
            method: {
                **_with_refusals({**operation, **_body(method, path, schemas)}, _ALSO.get(path)),
                **_named(method, path),
            }
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    merged["schemas"] |= plan_schemas()
    paths |= plan_paths(paths.pop(PLAN_PATH)["post"])
    return {**document, "paths": paths, "components": {**theirs, **merged}}


def _body(method: str, path: str, schemas: Schemas) -> dict[str, Any]:
    if method != "post" or path not in _BODIES:
        return {}
    content = {"application/json": {"schema": schemas[_BODIES[path]]}}
    if path in _LINES:
        content["application/x-ndjson"] = {"schema": {"type": "string"}}
    return {"requestBody": {"required": True, "content": content}}


def _with_refusals(operation: dict[str, Any], also: str | None) -> dict[str, Any]:
    good = {status: reply for status, reply in operation["responses"].items() if status.startswith("2")}
    if also:
        [reply] = good.values()
        good = {"200": {**reply, "content": {**reply["content"], also: {"schema": {"type": "string"}}}}}
    statuses = (*READING, 403, *(WRITING if "requestBody" in operation else ()))
    return {
        **operation,
        "security": [{"bearer": []}],
        "responses": {**good, **refused("openai", sorted({*statuses, 408, 413}))},
    }


def _named(method: str, path: str) -> dict[str, Any]:
    """Litestar takes the names of functions, and has lost those that run in a thread."""
    if path in _NAMES:
        summary, tag = _NAMES[path]
        return {"summary": summary, "tags": [tag]}
    _, group, *words = path.split("/")
    named = [word for word in words if not word.startswith("{")]
    noun = named[-1]
    if method == "get" and not words[-1].startswith("{"):
        return {"summary": f"List {noun}", "tags": [group.capitalize()]}
    return {"summary": f"{_VERBS[method]} one of {noun}", "tags": [group.capitalize()]}
