"""The output of a batch: what came of each line, as OpenAI has it. Pure."""

from collections.abc import Mapping

import msgspec

from gateway.ledger.batch_work import Answered, Ending

_NOT_RUN: Mapping[Ending, tuple[str, str]] = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
    "revoked": (
        "invalid_api_key",
        "The key that created this batch has been revoked or has expired, or its tenant is switched off.",
    ),
}


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str
    message: str


class _OutputLine(msgspec.Struct):
    id: str
    custom_id: str
    response: _Response | None
    error: _Error | None


def is_success(line: Answered) -> bool:
    """Successes stand in the output file, the others in the error file."""
    return line.answer is not None and line.answer.status_code == 200


def output_line(batch_id: str, line: Answered, ending: Ending) -> bytes:
    response = error = None
    if line.answer is not None:
        body = msgspec.Raw(msgspec.json.format(line.answer.reply, indent=-1))  # on one line
        response = _Response(line.answer.status_code, line.answer.request_id, body)
    else:
        error = _Error(*_NOT_RUN[ending])
    line_id = f"batch_req_{batch_id.rpartition('_')[2]}{line.number:06x}"
    return msgspec.json.encode(_OutputLine(line_id, line.custom_id, response, error)) + b"\n"
