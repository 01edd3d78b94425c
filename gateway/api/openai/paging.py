"""Lists that are read page by page: OpenAI's query parameters, and the shape of a page."""

import re
from collections.abc import Sequence
from typing import Any

from litestar import Request

from gateway.errors import InvalidRequestError
from gateway.ledger.files import Page

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_name(text: str) -> bool:
    """Whether anything of ours can be called so; what cannot need not be looked for."""
    return _NAME.fullmatch(text) is not None


def number_in(text: str, least: int, most: int) -> int | None:
    """None for what is no such number, written plainly."""
    is_plain = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    return int(text) if is_plain and least <= int(text) <= most else None


def page_of(request: Request[Any, Any, Any], *, usual: int, largest: int) -> Page:
    query = request.query_params
    limit = number_in(query.get("limit", str(usual)), 1, largest)
    if limit is None:
        raise InvalidRequestError(f"`limit` is a number from 1 to {largest}.", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequestError("`order` is `asc` or `desc`.", param="order")
    after = query.get("after")
    if after is not None and not is_name(after):
        raise InvalidRequestError("`after` is the id of the last object that you have seen.", param="after")
    return Page(after=after, limit=limit, is_ascending=order == "asc")


def paged(rows: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """OpenAI's document wants strings for the ids of an empty page too."""
    return {
        "object": "list",
        "data": rows,
        "first_id": rows[0]["id"] if rows else "",
        "last_id": rows[-1]["id"] if rows else "",
        "has_more": has_more,
    }
