"""Stage 6: try the candidates in order until one answers, or until one answers well enough where answers are weighed."""

from collections.abc import Mapping

from gateway.asking import Asking, upstream_body
from gateway.attempt import Answered, Attempt, ClientGoneError
from gateway.cascade import Cascade
from gateway.catalogue import Terms
from gateway.clock import Clock
from gateway.errors import GatewayError, InvalidRequestError, UnavailableError, UpstreamFailedError
from gateway.exchange import Exchange
from gateway.ticket import Ticket
from gateway.upstreams.contract import UpstreamError
from gateway.values import PASSED_OVER


class Dispatch:
    def __init__(self, asking: Asking, cascade: Cascade, clock: Clock, *, total_s: float) -> None:
        self._asking = asking
        self._cascade = cascade
        self._clock = clock
        self._total_s = total_s

    async def __call__(
        self, ticket: Ticket, exchange: Exchange, terms: Mapping[str, Terms], attempts: list[Attempt]
    ) -> Answered:
        """Leaves in `attempts` those that may have been billed. Raises GatewayError, ClientGoneError."""
        assert ticket.decision and ticket.request  # noqa: S101, PT018 - made by the stages before
        deadline = ticket.started + self._total_s
        errors: list[UpstreamError] = []
        if ticket.decision.acceptance is None or ticket.request.kind != "chat":
            answer = await self._first(ticket, exchange, terms, attempts, deadline, errors)
        else:
            answer = await self._cascade(ticket, exchange, terms, attempts, deadline, errors)
        if answer is not None:
            return answer
        if errors and errors[-1].caller_error is not None:
            raise _blamed(errors[-1]) from errors[-1]
        error = _exhausted(ticket, errors)
        if any(attempt.outcome in PASSED_OVER for attempt in attempts):
            error.should_retry = False  # it would be paid for once more
        raise error

    async def _first(
        self,
        ticket: Ticket,
        exchange: Exchange,
        terms: Mapping[str, Terms],
        attempts: list[Attempt],
        deadline: float,
        errors: list[UpstreamError],
    ) -> Answered | None:
        """The answer of the first that gives one."""
        assert ticket.decision and ticket.request  # noqa: S101, PT018 - made by the stages before
        for number, candidate in enumerate(ticket.decision.candidates, start=1):
            if exchange.is_gone:
                raise ClientGoneError
            if self._clock.monotonic() >= deadline:
                break
            attempt = self._asking.attempt(ticket, number, candidate, terms[candidate.id])
            body = upstream_body(ticket.request, attempt.terms, attempt.form)
            ask = self._asking.stream if ticket.request.is_stream else self._asking.whole
            try:
                return await ask(ticket, exchange, attempt, attempts, deadline, body)
            except UpstreamError as exc:
                self._asking.failed(ticket, attempt, attempts, exc)
                errors.append(exc)
                if exc.caller_error is not None and exc.kind != "untranslatable":
                    break
            except (GatewayError, ClientGoneError):
                raise
            except Exception:
                attempt.outcome = "failed"  # a fault of ours is on the house
                raise
            finally:
                self._asking.ended(ticket, attempt)
        return None


def _blamed(exc: UpstreamError) -> GatewayError:
    """The upstream says that the request itself is wrong: so do we, in its words but our shape."""
    blame = exc.caller_error or {}
    return InvalidRequestError(
        blame.get("message") or "The upstream refused the request as invalid.",
        status=400 if exc.status == 422 else exc.status,
        code=blame.get("code") or "invalid_value",
        param=blame.get("param"),
    )


def _exhausted(ticket: Ticket, errors: list[UpstreamError]) -> GatewayError:
    tried = "; ".join(f"{failure.model}: {failure.reason}" for failure in ticket.failures)
    attempts = [{"model": failure.model, "reason": failure.reason} for failure in ticket.failures]
    if all(error.kind == "busy" for error in errors):
        hints = [error.retry_after_s for error in errors if error.retry_after_s is not None]
        return UnavailableError(
            f"Every upstream for this request is overloaded or being left alone ({tried}).",
            code="server_is_overloaded" if any(error.status for error in errors) else "no_healthy_upstream",
            retry_after_s=min(hints, default=2),
            attempts=attempts,
        )
    code = {"timeout": "upstream_timeout", "invalid": "upstream_invalid_response"}.get(
        errors[-1].kind, "upstream_error"
    )
    return UpstreamFailedError(
        f"No upstream answered this request ({tried}).",
        status=504 if code == "upstream_timeout" else 502,
        code=code,
        should_retry=False if any(error.may_have_charged for error in errors) else None,
        attempts=attempts,
    )
