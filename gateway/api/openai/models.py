"""GET /v1/models and /v1/models/{id}: what the caller's key may ask for, and nothing else.

Anthropic's clients call the same paths; the header that all of them send tells them apart.
"""

from collections.abc import Container
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.api.anthropic.models import model_info, model_page
from gateway.catalogue import AUTO, Catalogue, Offer
from gateway.config import ABILITIES, Kind
from gateway.errors import NotFoundError
from gateway.stages.authenticate import Authenticate
from gateway.values import Tier

_ANTHROPIC = "anthropic-version"
_CHAT: frozenset[Kind] = frozenset({"chat"})
_CREATED = 1_700_000_000
"""OpenAI's clients want a number here; a configured model has no day of birth."""


def model_handlers(
    catalogue: Catalogue, authenticate: Authenticate, policies: tuple[str, ...]
) -> list[HTTPRouteHandler]:
    @get("/v1/models")
    async def list_models(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        caller = await authenticate(request.scope["headers"])
        if _ANTHROPIC in request.headers:
            rows = _visible(catalogue, policies, caller.tier, kinds=_CHAT)
            return Response(model_page(rows, request.query_params))
        return Response({"object": "list", "data": _visible(catalogue, policies, caller.tier)})

    @get("/v1/models/{model:path}")
    async def retrieve_model(
        request: Request[Any, Any, Any], model: FromPath[str]
    ) -> Response[dict[str, Any]]:
        caller = await authenticate(request.scope["headers"])
        name = model.removeprefix("/")
        is_anthropic = _ANTHROPIC in request.headers
        for row in _visible(catalogue, policies, caller.tier, kinds=_CHAT if is_anthropic else None):
            if row["id"] == name:
                return Response(model_info(row) if is_anthropic else row)
        raise NotFoundError(
            f"The model {name[:128]!r} does not exist or you do not have access to it.",
            code="model_not_found",
            param="model",
        )

    return [list_models, retrieve_model]


def _visible(
    catalogue: Catalogue, policies: tuple[str, ...], tier: Tier, *, kinds: Container[Kind] | None = None
) -> list[dict[str, Any]]:
    models = catalogue.models(tier)
    rows = [_row(name, offers) for name, offers in models.items() if kinds is None or offers[0].kind in kinds]
    if not rows:
        return []
    auto = [AUTO, *(f"{AUTO}:{policy}" for policy in policies)]
    return [
        {"id": name, "object": "model", "created": _CREATED, "owned_by": "weighbridge"} for name in auto
    ] + rows


def _row(name: str, offers: tuple[Offer, ...]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "weighbridge",
        "kind": offers[0].kind,
        "size": offers[0].size,
        "context_window": max(offer.context_window for offer in offers),
        "max_output_tokens": max(offer.max_output_tokens for offer in offers),
        "abilities": sorted(
            {ability for offer in offers for ability in offer.abilities if ability in ABILITIES}
        ),
    }
