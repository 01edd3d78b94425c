"""What an answer that a cascade has bought is worth. A part that fails leaves P(good) as it was before the answer."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.scoring.contract import Answer, AnswerSignals, Asked, Deferral
from gateway.scoring.prompt import prompt_of
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request, Ticket
from policies.contract import Candidate


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """Without texts, so that it may be kept."""

    p_good: float
    """After the answer; of several choices, that of the worst."""
    least: float
    """What it would be if a second answer did not agree at all."""
    most: float
    """What it would be if a second answer agreed."""
    is_empty: bool
    """There is nothing in it that a caller could use."""


class Weighing:
    def __init__(self, deferral: Deferral, metrics: Metrics, log: Logger) -> None:
        self._deferral = deferral
        self._metrics = metrics
        self._log = log

    def __call__(
        self,
        ticket: Ticket,
        candidate: Candidate,
        answers: Sequence[Answer],
        *,
        sampled: Candidate | None = None,
        second: Answer | None = None,
    ) -> Weighed:
        """`sampled` is who would give, or gave, a second answer."""
        assert ticket.request and ticket.score  # noqa: S101, PT018 - made by earlier stages
        asked = Asked(
            prompt=prompt_of(ticket.request.body),
            size=candidate.size,
            complexity=ticket.score.complexity,
            category=ticket.score.category,
            has_ceiling=_has_ceiling(ticket.request),
            schema=_schema(ticket.request),
            second_p_good=sampled.p_good if sampled else None,
        )
        prior = candidate.p_good
        try:
            signals = [self._deferral.signals(asked, answer, second) for answer in answers]
            values = [self._worst(prior, signals)]
            values += [self._worst(prior, _with_agreement(signals, value)) for value in (0.0, 1.0)]
            error = "" if all(0 <= value <= 1 for value in values) else "no probability"
        except Exception as exc:  # noqa: BLE001 - the answer is paid for: no fault in judging it may cost the request
            error = type(exc).__name__
        if error:
            self._metrics.degraded("deferral")
            self._log.warning("cascade.weighing_failed", request_id=ticket.request_id, error=error)
            values = [prior] * 3
        p_good, least, most = values
        is_empty = not any(answer.text.strip() or answer.calls for answer in answers)
        return Weighed(p_good=p_good, least=least, most=most, is_empty=is_empty)

    def ceiling(self, candidate: Candidate, *, has_logprobs: bool, second: Candidate | None) -> float:
        """The highest P(good) that an answer of its could be found to have. A part that fails rules nothing out."""
        try:
            ceiling = self._deferral.ceiling(
                candidate.p_good, has_logprobs=has_logprobs, second=second.p_good if second else None
            )
            error = "" if 0 <= ceiling <= 1 else "no probability"
        except Exception as exc:  # noqa: BLE001 - no fault in judging answers may cost the request
            error = type(exc).__name__
        if error:
            self._metrics.degraded("deferral")
            self._log.warning("cascade.ceiling_failed", model=candidate.model, error=error)
            return 1.0
        return ceiling

    def _worst(self, prior: float, signals: Sequence[AnswerSignals]) -> float:
        return min([self._deferral.updated(prior, each) for each in signals], default=prior)


def _with_agreement(signals: Sequence[AnswerSignals], agreement: float) -> list[AnswerSignals]:
    return [msgspec.structs.replace(each, agreement=agreement) for each in signals]


def _has_ceiling(request: Request) -> bool:
    return request.output_tokens is not None or request.most_output_tokens is not None


def _schema(request: Request) -> dict[str, Any] | None:
    """That an answer was to follow; what is no such thing is no fault of the answer's."""
    asked = request.body.get("response_format")
    named = asked.get("json_schema") if isinstance(asked, dict) else None
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else None
