"""How many gateways a request has passed: one's upstream may be another, and must not in the end be itself."""

from collections.abc import Iterable

from gateway.errors import InvalidRequestError

HEADER = "x-weighbridge-hops"
_NAME = HEADER.encode()
_MOST = 2


def hops_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Raises InvalidRequestError if there were too many."""
    found = [value for name, value in headers if name == _NAME]
    if not found:
        return 0
    hops = int(found[0]) if len(found[0]) == 1 and found[0].isdigit() else _MOST + 1
    if len(found) > 1 or hops > _MOST:
        raise InvalidRequestError(
            f"This request has passed {_MOST} gateways before. Is an upstream's `base_url` that of a gateway which it "
            "comes from?",
            code="request_loop_detected",
        )
    return hops


def one_more(hops: int) -> dict[str, str]:
    """The header with which a request is sent on."""
    return {HEADER: str(hops + 1)}
