"""What is told of a request: response headers, the log line, the metrics. One source for all three: the ticket."""

import math

from gateway.attempt import ClientGoneError
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.money import usd
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Step, Ticket

_MAX_REASON_CHARS = 200


class Report:
    def __init__(self, clock: Clock, metrics: Metrics, log: Logger) -> None:
        self._clock = clock
        self._metrics = metrics
        self._log = log

    def following(self, ticket: Ticket) -> "_Following":
        """Counts the request while it runs and writes its one `request.done` line when it ends, however it ends."""
        return _Following(self, ticket)

    def begin(self, ticket: Ticket) -> None:
        if not ticket.is_background:
            self._metrics.in_flight += 1

    def end(self, ticket: Ticket, code: str | None) -> None:
        if not ticket.is_background:
            self._metrics.in_flight -= 1
        self._done(ticket, code)

    def headers(self, ticket: Ticket) -> dict[str, str]:
        elapsed_ms = (self._clock.monotonic() - ticket.started) * 1000
        headers = {
            "x-request-id": ticket.request_id,
            "openai-processing-ms": str(round(elapsed_ms)),
            "x-weighbridge-cache": ticket.cache,
        }
        served = ticket.served
        if served is not None:
            headers["x-weighbridge-model"] = served.model
            headers["x-weighbridge-decision"] = _header_text(served.reason)
            # No finer: a caller who searches for what raises it needs to see small steps.
            headers["x-weighbridge-complexity"] = f"{served.complexity:.2f}"
            headers["x-weighbridge-cost-usd"] = usd(sum(entry.cost for entry in ticket.entries))
        elif ticket.answering and ticket.decision and ticket.score:
            # A stream begins before its cost is known: that follows as a comment before [DONE].
            headers["x-weighbridge-model"] = ticket.answering.model
            headers["x-weighbridge-decision"] = _header_text(ticket.decision.reason)
            headers["x-weighbridge-complexity"] = f"{ticket.score.complexity:.2f}"
        if ticket.steps:
            headers["x-weighbridge-steps"] = str(len(ticket.steps))
            headers["x-weighbridge-cascade"] = _header_text("; ".join(map(_step_text, ticket.steps)))
        headers.update(self.rate_headers(ticket))
        return headers

    @staticmethod
    def rate_headers(ticket: Ticket) -> dict[str, str]:
        standing = ticket.standing
        headers: dict[str, str] = {}
        if standing is None:
            return headers
        if standing.limit_requests is not None:
            headers["x-ratelimit-limit-requests"] = str(standing.limit_requests)
            headers["x-ratelimit-remaining-requests"] = str(max(0, standing.remaining_requests or 0))
            headers["x-ratelimit-reset-requests"] = _duration(standing.reset_requests_s)
        if standing.limit_tokens is not None:
            headers["x-ratelimit-limit-tokens"] = str(standing.limit_tokens)
            headers["x-ratelimit-remaining-tokens"] = str(max(0, standing.remaining_tokens or 0))
            headers["x-ratelimit-reset-tokens"] = _duration(standing.reset_tokens_s)
        return headers

    @staticmethod
    def trailer(ticket: Ticket) -> bytes:
        """An SSE comment, which clients skip: what a stream's headers could not yet say."""
        return f": x-weighbridge-cost-usd {usd(sum(entry.cost for entry in ticket.entries))}\n\n".encode()

    def _done(self, ticket: Ticket, code: str | None) -> None:
        seconds = self._clock.monotonic() - ticket.started
        served = ticket.served
        for step in ticket.steps:
            self._metrics.cascaded(step.model, step.verdict)
        if code is not None:
            self._metrics.refused(code)
        if ticket.caller is not None:
            self._metrics.served(
                model=served.model if served else "",
                size=served.size if served else "",
                status=ticket.status,
                cache=ticket.cache,
                seconds=seconds,
                added=max(0.0, seconds - ticket.upstream_s),
            )
        if served and ticket.first_token_ms is not None:
            self._metrics.first_token(served.model, ticket.first_token_ms / 1000)
        self._log.info(
            "request.done",
            request_id=ticket.request_id,
            status=ticket.status,
            code=code,
            tenant=ticket.caller.tenant if ticket.caller else None,
            user=ticket.caller.user if ticket.caller else None,
            key=ticket.caller.key if ticket.caller else None,
            tier=ticket.caller.tier.name if ticket.caller else None,
            endpoint=ticket.request.endpoint if ticket.request else None,
            background=ticket.is_background,
            requested=ticket.request.model if ticket.request else None,
            model=served.model if served else None,
            upstream=served.upstream if served else None,
            policy=served.policy if served else None,
            decision=served.reason if served else None,
            complexity=served.complexity if served else None,
            p_good=served.p_good if served else None,
            p_good_after=served.p_good_after if served else None,
            cascade=[_step_text(step) for step in ticket.steps] or None,
            degraded=ticket.score.is_degraded if ticket.score else None,
            cache=ticket.cache,
            stream=ticket.request.is_stream if ticket.request else None,
            attempts=len(ticket.entries) + len(ticket.failures),
            failures=[f"{failure.model}: {failure.reason}" for failure in ticket.failures] or None,
            outcome=served.outcome if served else None,
            input_tokens=served.input_tokens if served else 0,
            cached_input_tokens=served.cached_input_tokens if served else 0,
            cache_write_tokens=served.cache_write_tokens if served else 0,
            cache_write_1h_tokens=served.cache_write_1h_tokens if served else 0,
            output_tokens=served.output_tokens if served else 0,
            reasoning_tokens=served.reasoning_tokens if served else 0,
            engine_s=sum(entry.engine_us for entry in ticket.entries) / 1_000_000,
            usage_source=served.usage_source if served else None,
            cost_usd=usd(sum(entry.cost for entry in ticket.entries)),
            first_token_ms=ticket.first_token_ms,
            upstream_ms=round(ticket.upstream_s * 1000, 1),
            duration_ms=round(seconds * 1000, 1),
        )


class _Following:
    """A class, because a generator costs twice as much and every request has one."""

    __slots__ = ("_report", "_ticket")

    def __init__(self, report: Report, ticket: Ticket) -> None:
        self._report = report
        self._ticket = ticket

    def __enter__(self) -> None:
        self._report.begin(self._ticket)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        ticket, code = self._ticket, None
        if isinstance(error, GatewayError):
            code, ticket.status = error.code, error.status
            error.headers.update(self._report.rate_headers(ticket))
        elif isinstance(error, ClientGoneError):
            code, ticket.status = "client_gone", 499
        elif error is not None:
            code, ticket.status = "internal_error", 500
        self._report.end(ticket, code)
        return code == "client_gone"  # there is nobody left to answer


def _header_text(text: str) -> str:
    printable = text.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in printable)[:_MAX_REASON_CHARS]


def _step_text(step: Step) -> str:
    after = "" if step.p_good_after is None else f" -> {step.p_good_after:.2f}"
    return f"{step.model} {step.p_good:.2f}{after} {step.verdict}"


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `6m0s`, `1.5s`, `120ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
