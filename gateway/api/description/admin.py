"""The admin listener's description, which Litestar makes from its handlers: as JSON, and as our own page."""

from typing import Any

from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from gateway.api.description.page import page


class PagePlugin(OpenAPIRenderPlugin):
    """Instead of Litestar's pages, which have the browser fetch scripts from elsewhere."""

    def render(self, _request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return page(openapi_schema, json_path="/schema/openapi.json")


def admin_pages() -> list[OpenAPIRenderPlugin]:
    return [PagePlugin(path="/"), JsonRenderPlugin(path="/openapi.json")]
