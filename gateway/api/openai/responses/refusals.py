"""What the Responses API has and this gateway has not: refused by name, never left out in silence."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequestError

_SEND_IT_ALL = "send what was said so far as `input`"
NOT_HERE: Mapping[str, str] = {
    "conversation": f"This gateway keeps no conversations: {_SEND_IT_ALL}.",
    "prompt": "This gateway keeps no prompt templates: send the text as `instructions` and `input`.",
    "context_management": "This gateway does not compact conversations: send an `input` that fits.",
    "moderation": "Nothing is moderated on the way here: ask /v1/moderations.",
    "access_programs": "This gateway knows no access programs.",
    "image": "This gateway does not compress images.",
}
MOVED: Mapping[str, str] = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "functions": "tools",
    "function_call": "tool_choice",
    "logprobs": "top_logprobs",
}
_CHATS_ONLY = frozenset({"n", "best_of", "modalities", "audio", "prediction", "web_search_options"})


class MovedParameterError(InvalidRequestError):
    """A name that only a chat completion gives to what has another one here."""


def unsupported(message: str, param: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="unsupported_value", param=param)


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Raises InvalidRequestError for a field that cannot be honoured. What is null is not asked for."""
    for name, value in body.items():
        if value is None:
            continue
        if name in NOT_HERE and value != []:
            raise InvalidRequestError(NOT_HERE[name], code="unsupported_parameter", param=name)
        if name in MOVED:
            raise MovedParameterError(
                f"Unsupported parameter: {name!r}. Here it is {MOVED[name]!r}.",
                code="unsupported_parameter",
                param=name,
            )
        if name in _CHATS_ONLY:
            raise MovedParameterError(f"Unknown parameter: {name!r}.", code="unknown_parameter", param=name)
    if (previous := body.get("previous_response_id")) is not None:
        raise InvalidRequestError(
            f"Previous response with id {str(previous)[:128]!r} not found: this gateway keeps no responses. "
            f"Instead, {_SEND_IT_ALL}.",
            code="previous_response_not_found",
            param="previous_response_id",
        )
    if body.get("store"):
        raise unsupported("This gateway keeps no responses: send `store: false`, or leave it out.", "store")
    if body.get("background"):
        raise unsupported("Answers are not made in the background here: wait, or send a batch.", "background")
    if body.get("truncation") == "auto":
        raise unsupported("Nothing is cut off a conversation here: shorten `input` yourself.", "truncation")


def refuse_reasoning(reasoning: Any) -> None:
    """Wishes beyond effort and summary; what every server does anyway is no wish."""
    for name, value in reasoning.items() if isinstance(reasoning, dict) else ():
        is_usual = value is None or (name, value) in (("context", "auto"), ("mode", "standard"))
        if name not in ("effort", "summary", "generate_summary") and not is_usual:
            raise unsupported(
                f"No model here can be asked for {name!r} of its reasoning.", f"reasoning.{name}"
            )
