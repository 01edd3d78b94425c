"""The list of models as Anthropic's clients read it, in pages: of those that can answer messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import InvalidRequestError

_CREATED = "1970-01-01T00:00:00Z"
"""What Anthropic says for a date that nobody knows."""
_PAGE = 20
_LARGEST_PAGE = 1000


def model_info(row: Mapping[str, Any]) -> dict[str, Any]:
    """From a row of OpenAI's list."""
    return {
        "type": "model",
        "id": row["id"],
        "display_name": row["id"],
        "created_at": _CREATED,
        "lifecycle": "active",
        "max_input_tokens": row.get("context_window"),
        "max_tokens": row.get("max_output_tokens"),
        "capabilities": None,
    }


def model_page(rows: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Raises InvalidRequestError for a limit or a cursor that cannot be one."""
    names = [row["id"] for row in rows]
    limit = _limit(query.get("limit"))
    start = _place(names, query, "after_id", -1) + 1
    end = _place(names, query, "before_id", len(names))
    if "before_id" in query and end - limit > start:
        start, has_more = end - limit, True
    else:
        has_more = end - start > limit
    data = [model_info(row) for row in rows[start : min(end, start + limit)]]
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= _LARGEST_PAGE:
        raise InvalidRequestError(f"`limit` is a number from 1 to {_LARGEST_PAGE}.", param="limit")
    return int(text)


def _place(names: list[str], query: Mapping[str, str], field: str, default: int) -> int:
    name = query.get(field)
    if name is None:
        return default
    if name not in names:
        raise InvalidRequestError(f"There is no model {name[:128]!r} to go on from.", param=field)
    return names.index(name)
