"""The framework's own errors (a wrong path, a wrong method, a broken query) through the same renderer as ours."""

from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from gateway.api.render import render
from gateway.errors import GatewayError, InternalError, InvalidRequestError, NotFoundError, UnavailableError
from gateway.ledger.account_records import AccountError
from gateway.ledger.database import DatabaseUnavailableError
from gateway.telemetry.logs import Logger

_CODES = {413: "request_too_large", 415: "unsupported_media_type"}

ErrorHandler = Callable[[Request[Any, Any, Any], Any], Response[bytes]]


def error_handler(new_id: Callable[[], str], log: Logger) -> ErrorHandler:
    def handle(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
        request_id = new_id()
        error = translate(exc, request)
        if isinstance(error, InternalError):
            log.error("http.failed", request_id=request_id, path=request.scope["path"], exc_info=exc)
        status, headers, body = render(error, request_id)
        return Response(
            body,
            status_code=status,
            media_type="application/json",
            headers={
                name.decode(): value.decode("latin-1")
                for name, value in headers
                if name not in (b"content-type", b"content-length")
            },
        )

    return handle


def translate(exc: Exception, request: Request[Any, Any, Any]) -> GatewayError:
    if isinstance(exc, GatewayError):
        return exc
    if isinstance(exc, AccountError):
        return _account_error(exc)
    if isinstance(exc, DatabaseUnavailableError):
        return UnavailableError(
            "The database cannot be reached at the moment. Try again shortly.",
            code="database_unavailable",
            retry_after_s=2,
        )
    if isinstance(exc, ValidationException):
        return InvalidRequestError(_first_problem(exc))
    if not isinstance(exc, HTTPException) or exc.status_code >= 500:
        return InternalError("Something went wrong here; the request id leads to the log.")
    if exc.status_code == 404:
        return NotFoundError(
            f"There is nothing at {request.method} {request.scope['path'][:200]}.", code="not_found"
        )
    if exc.status_code == 405:
        return InvalidRequestError(
            f"{request.method} is not possible here.",
            status=405,
            code="method_not_allowed",
            headers=dict(exc.headers or {}),
        )
    return InvalidRequestError(
        exc.detail or "The request is invalid.", status=exc.status_code, code=_CODES.get(exc.status_code)
    )


def _account_error(exc: AccountError) -> GatewayError:
    if exc.kind == "unknown":
        return NotFoundError(str(exc), param=exc.field)
    if exc.kind == "exists":
        return InvalidRequestError(str(exc), status=409, code="already_exists", param=exc.field)
    return InvalidRequestError(str(exc), param=exc.field)


def _first_problem(exc: ValidationException) -> str:
    problems: Any = exc.extra
    if isinstance(problems, list) and problems and isinstance(problems[0], dict):
        problem = problems[0]
        return f"{problem.get('key') or 'The request'}: {problem.get('message', 'is invalid')}"
    return exc.detail or "The request is invalid."
