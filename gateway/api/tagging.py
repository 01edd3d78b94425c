"""An id on every answer of the framework's own handlers; what is billable, or refused, has one of its own."""

from collections.abc import Callable
from typing import Any

from litestar import Response


def request_ids(new_id: Callable[[], str]) -> Callable[[Response[Any]], Response[Any]]:
    """For Litestar's `after_request`."""

    def tag(response: Response[Any]) -> Response[Any]:
        response.headers.setdefault("x-request-id", new_id())
        return response

    return tag
