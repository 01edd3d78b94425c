"""Deferral by plain rules: what anybody would say of an answer who had to judge it without understanding it."""

import math
import re

import msgspec

from gateway.scoring.contract import Answer, AnswerSignals, Asked

_HOPELESS = 0.02
"""What is empty, declined or broken is hardly ever what was wanted, whoever wrote it."""
_CUT = 1.5
_AGREES = 1.5
_SURE = 0.25
"""Logits: lost by an answer that was cut short, won or lost by agreement, and the usual mean surprise of a good answer."""
_WORD = re.compile(r"\w+")


class RuleDeferral:
    """Implements `gateway.scoring.contract.Deferral`."""

    def signals(self, asked: Asked, answer: Answer, second: Answer | None) -> AnswerSignals:
        text = answer.text.strip()
        return AnswerSignals(
            finish_reason=answer.finish_reason,
            answer_chars=len(text),
            is_empty=not text and not answer.calls,
            is_refusal=answer.is_refusal,
            is_valid_json=_is_valid(asked, answer),
            has_tool_calls=bool(answer.calls),
            mean_logprob=sum(answer.logprobs) / len(answer.logprobs) if answer.logprobs else None,
            min_logprob=min(answer.logprobs, default=None),
            agreement=None if second is None else _likeness(text, second.text),
            input_chars=len(asked.prompt.user),
            size=asked.size,
            complexity=asked.complexity,
            category=asked.category,
            has_ceiling=asked.has_ceiling,
        )

    def updated(self, prior: float, signals: AnswerSignals) -> float:
        if signals.is_empty or signals.is_refusal or signals.is_valid_json is False:
            return min(prior, _HOPELESS)
        held = min(max(prior, 0.001), 0.999)
        logit = math.log(held / (1 - held))
        if signals.finish_reason == "length" and not signals.has_ceiling:
            logit -= _CUT
        if signals.mean_logprob is not None:
            logit += 2 * max(-1.0, min(1.0, (signals.mean_logprob + _SURE) / _SURE))
        if signals.agreement is not None:
            logit += _AGREES * (2 * signals.agreement - 1)
        return 1 / (1 + math.exp(-logit))


def _is_valid(asked: Asked, answer: Answer) -> bool | None:
    due = [*answer.calls, *([answer.text] if asked.prompt.wants_json and not answer.calls else [])]
    return all(map(_is_json, due)) if due else None


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _likeness(one: str, other: str) -> float:
    """Words in common, of all words."""
    first, second = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(first & second) / len(first | second) if first or second else 1.0
