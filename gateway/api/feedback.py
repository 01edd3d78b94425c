"""POST /v1/weighbridge/feedback: what a caller says of an answer that he was given."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from gateway.api.bodies import invalid, json_body, read_object
from gateway.clock import Clock
from gateway.config import Outcomes as Settings
from gateway.errors import InvalidRequestError, NotFoundError, NotYetError, RateLimitedError
from gateway.ledger.judged import answered, outcome_of
from gateway.ledger.outcomes import Outcome, Outcomes
from gateway.ledger.store import SqlLedger
from gateway.limits.contract import Ask, Limiter, Refusal, Scope
from gateway.stages.authenticate import Authenticate
from gateway.values import Caller, Entry, Limits, Settlement

_BODY_BYTES = 16_384
_ID = re.compile(r"(?:req_|resp_|msg_|chatcmpl-|cmpl-)?([0-9a-f]{12})([0-9a-f]{16})")
"""Of a request, or of an answer whose id is ours: made from the request's, with its milliseconds in front."""
_CLOCKS_APART_S = 60
_AGAIN_S = 1.0
_HOLD_S = 60

Rating = Literal["up", "down"]
_VALUES: dict[Rating, float] = {"up": 1.0, "down": 0.0}


class FeedbackBody(msgspec.Struct, forbid_unknown_fields=True):
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    """What the answer's header `x-request-id` says; an `id` of this gateway's own making (`resp_...`) will do too."""
    rating: Rating | None = None
    """`up` is a score of 1, `down` of 0."""
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Instead of a rating: how good the answer was, from 0 to 1."""
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    """To be sure: the model that you take the answer to be from. Another one is refused."""
    reason: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,32}\Z")] | None = None
    """One short word, such as `wrong`, `incomplete`, `refused`, `format`, `slow`. There is no room for texts."""


class Feedback:
    """What the handler needs."""

    def __init__(
        self,
        outcomes: Outcomes,
        ledger: SqlLedger,
        authenticate: Authenticate,
        limiter: Limiter,
        clock: Clock,
        new_id: Callable[[], str],
        catch_up: Callable[[], Awaitable[None]],
        settings: Settings,
        *,
        longest_s: float,
    ) -> None:
        """`catch_up` brings what was answered here into the ledger; no request takes longer than `longest_s`."""
        self._outcomes = outcomes
        self._ledger = ledger
        self._authenticate = authenticate
        self._limiter = limiter
        self._clock = clock
        self._new_id = new_id
        self._catch_up = catch_up
        self._limits = Limits(requests_per_minute=settings.votes_per_minute)
        self._longest_ms = round(1000 * (longest_s + _CLOCKS_APART_S))

    async def __call__(self, request: Request[Any, Any, Any]) -> Outcome:
        caller = await self._authenticate(request.scope["headers"])
        await self._admit(caller)
        raw = await json_body(request)
        read_object(raw)  # whose words for what is no JSON object are better
        try:
            body = msgspec.json.decode(raw, type=FeedbackBody)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        value = _value(body)
        entry = await self._entry(caller, body.request_id)
        if body.model not in (None, entry.model):
            raise InvalidRequestError(
                f"That answer is from {entry.model!r}, not from {body.model!r}.", param="model"
            )
        vote = outcome_of(
            entry,
            source="feedback",
            value=value,
            created_ms=self._clock.now_ms(),
            user=caller.user,
            reason=body.reason or "",
        )
        return await asyncio.to_thread(self._outcomes.vote, vote)

    async def _admit(self, caller: Caller) -> None:
        """By a rate of its own: a vote is free, and takes nothing from what answers may be asked for."""
        ask = Ask(
            request_id=self._new_id(),
            tenant=caller.tenant,
            scopes=(Scope(kind="user", id=caller.user, limits=self._limits),),
            amounts=(0,),
            tokens=0,
            ttl_s=_HOLD_S,
        )
        granted = await self._limiter.reserve(ask)
        if isinstance(granted, Refusal):
            raise RateLimitedError(
                f"You may send {granted.limit} votes a minute.", retry_after_s=granted.retry_after_s
            )
        done = Settlement(
            request_id=ask.request_id,
            tenant=caller.tenant,
            epoch=granted.epoch,
            window=granted.window,
            cost=0,
            tokens=0,
        )
        await self._limiter.settle(done)

    async def _entry(self, caller: Caller, given: str) -> Entry:
        match = _ID.fullmatch(given)
        if match is None:
            raise _unknown(given)
        request_id = f"req_{match[1]}{match[2]}"
        entries = await self._entries(caller, request_id)
        age_ms = self._clock.now_ms() - int(match[1], 16)
        if not entries and -1000 * _CLOCKS_APART_S < age_ms < self._longest_ms:
            await self._catch_up()
            entries = await self._entries(caller, request_id)
            if not entries:
                # It may still run, or be on its way from another gateway. Another tenant's looks the same.
                raise NotYetError(
                    "Nothing is known of this request yet. If it has been answered, try again in a moment.",
                    param="request_id",
                    retry_after_s=_AGAIN_S,
                )
        if not entries:
            raise _unknown(given)
        entry = answered(entries)
        if entry is None:
            raise InvalidRequestError("That request was not answered.", param="request_id")
        return entry

    async def _entries(self, caller: Caller, request_id: str) -> list[Entry]:
        found = await asyncio.to_thread(self._ledger.entries, request_id)
        return [entry for entry in found if entry.tenant == caller.tenant]


def feedback_handlers(feedback: Feedback) -> list[HTTPRouteHandler]:
    @post("/v1/weighbridge/feedback", status_code=200, request_max_body_size=_BODY_BYTES)
    async def give_feedback(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        return Response(shown(await feedback(request)))

    return [give_feedback]


def shown(vote: Outcome) -> dict[str, Any]:
    return {
        "object": "feedback",
        "request_id": vote.subject,
        "model": vote.model,
        "score": vote.value,
        "reason": vote.reason or None,
        "counts": vote.weight > 0,
        "created_at": vote.created_ms // 1000,
    }


def _value(body: FeedbackBody) -> float:
    if body.score is not None and body.rating is None:
        return body.score
    if body.rating is not None and body.score is None:
        return _VALUES[body.rating]
    raise InvalidRequestError(
        "Send either a `rating` ('up' or 'down') or a `score` from 0 to 1.", param="rating"
    )


def _unknown(request_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no request {request_id[:64]!r} of yours. Send what `x-request-id` said with the answer.",
        param="request_id",
    )
