"""A route that takes a body in a dialect: a raw ASGI handler, because it must be noticed when the client leaves."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from gateway.api.dialect import Dialect
from gateway.api.exchange import AsgiExchange
from gateway.config import Server
from gateway.errors import GatewayError, InternalError, UnavailableError
from gateway.exchange import Exchange
from gateway.telemetry.logs import Logger
from gateway.ticket import Ticket


class Answering(Protocol):
    """What answers a route's requests: the pipeline, where they are billed."""

    def ticket(self) -> Ticket: ...

    async def __call__(self, ticket: Ticket, exchange: Exchange, /) -> None:
        """Raises GatewayError as long as nothing has been sent."""
        ...


def post_handler(
    path: str,
    dialect: Dialect,
    answering: Answering,
    server: Server,
    log: Logger,
    *,
    tasks: Callable[[], asyncio.TaskGroup],
    is_draining: Callable[[], bool],
) -> ASGIRouteHandler:
    """`tasks` gives the group that owns what a request starts beside itself, and outlives all requests."""

    @asgi(path, copy_scope=False, opt={"render": dialect.render})
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        ticket = answering.ticket()
        exchange = AsgiExchange(
            scope,
            receive,
            send,
            tasks(),
            dialect,
            max_body_bytes=server.max_body_bytes,
            body_timeout_s=server.body_timeout_s,
        )
        try:
            if is_draining():
                raise UnavailableError(
                    "This gateway is shutting down; try again.", code="draining", retry_after_s=1
                )
            await answering(ticket, exchange)
        except GatewayError as error:
            await exchange.refuse(error, ticket.request_id)
        except Exception as exc:
            log.error("http.failed", request_id=ticket.request_id, exc_info=exc)
            await exchange.refuse(_ours(ticket), ticket.request_id)
        finally:
            exchange.close()

    return answer


def _ours(ticket: Ticket) -> InternalError:
    return InternalError(
        "Something went wrong here; the request id leads to the log.",
        should_retry=False if any(entry.cost for entry in ticket.entries) else None,
    )
