"""What is asked of a response after it was given: nothing is kept, so there never is one."""

from typing import Any

from litestar import HttpMethod, Request, Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.errors import NotFoundError
from gateway.stages.authenticate import Authenticate

_OFFERS = frozenset({"compact", "input_tokens"})
"""Paths of OpenAI's at which no response is named."""


def response_handlers(authenticate: Authenticate) -> list[HTTPRouteHandler]:
    @route(
        "/v1/responses/{response_id:str}",
        http_method=[HttpMethod.GET, HttpMethod.DELETE, HttpMethod.POST],
        status_code=404,
    )
    async def find_response(request: Request[Any, Any, Any], response_id: FromPath[str]) -> Response[None]:
        await authenticate(request.scope["headers"])
        if response_id in _OFFERS:
            raise NotFoundError(f"This gateway does not offer /v1/responses/{response_id}.")
        raise NotFoundError(
            f"Response with id {response_id[:128]!r} not found: this gateway keeps no responses.",
            param="response_id",
        )

    return [find_response]
