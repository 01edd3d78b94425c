"""Who may use the admin listener: a guard on every route of it, closed unless the route says otherwise."""

from typing import Any

import anyio.to_thread
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from gateway.errors import AuthenticationError, PermissionDeniedError, UnavailableError
from gateway.ledger.account_records import Operator
from gateway.ledger.database import DatabaseUnavailableError
from gateway.ledger.operators import Operators
from gateway.stages.authenticate import credential

OPEN = {"roles": ()}
"""For probes and metrics."""
FOR_FINANCE = {"roles": ("admin", "finance")}


class OperatorGuard:
    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        roles = handler.opt.get("roles", ("admin",))
        if not roles:
            return
        token = credential(connection.scope["headers"])
        try:
            operator = await anyio.to_thread.run_sync(self._operators.resolve, token)
        except DatabaseUnavailableError as exc:
            raise UnavailableError(
                "Keys cannot be checked at the moment. Try again shortly.",
                code="auth_unavailable",
                retry_after_s=2,
            ) from exc
        if operator is None:
            raise AuthenticationError
        if operator.role not in roles:
            raise PermissionDeniedError(f"A key with the role {operator.role!r} may not do this.")
        connection.scope["state"]["operator"] = operator


def actor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """For the audit: which credential made a change."""
    operator: Operator = connection.scope["state"]["operator"]
    return f"{operator.role}:{operator.id}"
