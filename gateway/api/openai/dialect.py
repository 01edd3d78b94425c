"""What all surfaces of OpenAI's have in common: the mark at a stream's end, the headers and the shape of errors."""

from collections.abc import Mapping

from gateway.api.render import Headers, render
from gateway.errors import GatewayError


class OpenAIDialect:
    """A surface adds `decode` and `voice`, and is a `gateway.api.dialect.Dialect`."""

    done = b"data: [DONE]\n\n"

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return headers

    def render(self, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
        return render(error, request_id)
