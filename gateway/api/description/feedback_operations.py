"""What callers say of answers."""

from typing import Literal

import msgspec

from gateway.api.description.operation import WRITING, Example, Operation
from gateway.api.feedback import FeedbackBody

_REQUEST_ID = "req_019a9c0de1f05b3d9e6f4c2a1b7d"


class FeedbackRecord(msgspec.Struct):
    object: Literal["feedback"]
    request_id: str
    model: str
    """Whose answer it was."""
    score: float
    reason: str | None
    counts: bool
    """False once you have given more votes in a day than count; it is kept all the same."""
    created_at: int


FEEDBACK = Operation(
    method="post",
    path="/v1/weighbridge/feedback",
    summary="Say how good an answer was",
    tag="Feedback",
    description="The gateway learns from it which prompts each model answers well for you. Each user has one vote on an "
    "answer, and the latest stands. It costs nothing and has a rate of its own. While a request is not yet in the ledger "
    "the answer is 409 with `retry-after`, which SDKs obey by themselves.",
    request=FeedbackBody,
    examples=(
        Example("A thumb", {"request_id": _REQUEST_ID, "rating": "up"}),
        Example("A score with a reason", {"request_id": _REQUEST_ID, "score": 0.25, "reason": "incomplete"}),
    ),
    response=FeedbackRecord,
    response_example={
        "object": "feedback",
        "request_id": _REQUEST_ID,
        "model": "small",
        "score": 1.0,
        "reason": None,
        "counts": True,
        "created_at": 1795247431,
    },
    refusals=WRITING,
)
