"""What a cheap answer tells of its own worth: P(good) after it, from P(good) before it.

Every weight is of the log-odds, or a parameter of two models' joint success; where they come from stands beside them.
"""

import math
import zlib

from gateway.scoring.agreement import agreement, result
from gateway.scoring.contract import Answer, AnswerSignals, Asked
from gateway.scoring.refusal import is_refusal
from gateway.scoring.validity import are_valid_calls, is_valid_reply

# Measured on the published answers of seven instruct models of 4B to 8B to MMLU-Pro (5,129 prompts each, and each
# with the answers of the six others; Apache-2.0 and MIT; November 2026), every prompt's P(good) before the answer being
# that of a head fitted on the other subjects. bench/routing/deferral.py measures what they are worth together.
CUT = -2.0
"""Cut short by its length, other than by the caller's own ceiling, or in a loop. -1.8 to -2.2, whichever subject is left
out: 9 % of the answers of an 8B model, right in 8 %, where one in ten is right by chance. 9 of 10 of them are loops."""
STATED = 0.15
"""It came to its end and states a result: 0.13 to 0.25."""
LENGTH = -0.3
"""For each doubling of a stated result's text beyond 900 characters, up to two. Most of what a weak answer's length tells
of its worth is loops, which are told apart: of answers that ended, only such long ones are worse (-0.1, then -0.4, then
-1.5), and models of today take longer. Preferences between open answers do not depend on length (59 models of AlpacaEval:
mean rank correlation 0.01), so without a stated result it counts for nothing."""
SHARED = 0.4
"""Correlation of two models' success at a prompt, given each one's P(good): 0.38 to 0.58, fitted with the next two."""
SAME_ERROR = 0.33
"""How often two wrong answers are the same: counted among ten choices, 0.23 to 0.56 by pair, where chance is 0.11. With
fewer choices it is more: 0.4 to 0.7 among four, and 0.6 of the errors elsewhere (Kim et al., ICML 2025)."""
MISREAD = 0.05
"""How often two good answers look different."""

# Not measured on these: no public answers of such models hold log-probabilities, and there are hardly any refusals.
CERTAINTY = 3.0
"""For each nat of the mean log-probability of a stated result's tokens, from SURE: a part of what was seen. 7B and 8B
models' mean tells right from wrong with an AUC of 0.65 to 0.83 (arXiv 2605.02241), which is 3 to 7 a nat where it
varies by 0.2; SmolLM2-135M on 345 short questions gave 0.75 and 5 a nat. The mean, as sums depend on length (Gupta et
al., ICLR 2024) and the least token's says less (SmolLM2: 0.64)."""
SURE = -0.3
MOST_CERTAINTY, LEAST_CERTAINTY = 0.5, -1.0
HOPELESS = 0.02
"""Nobody can use it: it is empty, or not the JSON that was asked for."""
REFUSED = 0.05
"""Sometimes declining is right."""

UNTOLD = 0.45
"""The agreement that changes nothing."""

_USUAL_CHARS, _MOST_DOUBLINGS = 900, 2.0
_LOOP_CHARS, _LOOP_RATIO = 1200, 0.2
"""Its end is one thing over and over if it packs into a fifth. So do 85 to 95 % of the answers of small models that were
cut short, and 3 of 293 as long ones of a frontier model."""


class AnswerDeferral:
    """Implements `Deferral`."""

    def signals(self, asked: Asked, answer: Answer, second: Answer | None) -> AnswerSignals:
        text = answer.text.strip()
        is_whole = answer.finish_reason != ""
        says_no = answer.is_refusal or (not answer.calls and is_refusal(text, asked.prompt.user))
        return AnswerSignals(
            finish_reason=answer.finish_reason,
            answer_chars=len(text),
            is_empty=is_whole and not text.strip("\u200b\ufeff\u2060") and not answer.calls,
            is_refusal=says_no,
            is_valid_json=_is_valid(asked, answer) if is_whole and not says_no else None,
            has_tool_calls=bool(answer.calls),
            mean_logprob=sum(answer.logprobs) / len(answer.logprobs) if answer.logprobs else None,
            min_logprob=min(answer.logprobs, default=None),
            agreement=None if second is None or not _is_told(second) else agreement(answer, second),
            input_chars=len(asked.prompt.user),
            size=asked.size,
            complexity=asked.complexity,
            category=asked.category,
            has_ceiling=asked.has_ceiling,
            second_p_good=asked.second_p_good,
            has_result=is_whole and not answer.calls and result(text) is not None,
            is_looping=answer.finish_reason == "length" and _is_looping(text),
        )

    def updated(self, prior: float, signals: AnswerSignals) -> float:
        """Signs of failure never raise it, agreement never lowers it below what none would leave."""
        if signals.is_empty or signals.is_valid_json is False:
            return min(prior, HOPELESS)
        if signals.is_refusal:
            return min(prior, REFUSED)
        p_good = _moved(prior, _evidence(signals))
        if signals.agreement is None or not 0 < p_good < 1:
            return p_good
        return _agreed(p_good, signals.agreement, signals.second_p_good)

    def ceiling(self, prior: float, *, has_logprobs: bool, second: float | None) -> float:
        best = AnswerSignals(
            finish_reason="stop",
            answer_chars=1,
            has_result=True,
            mean_logprob=0.0 if has_logprobs else None,
            agreement=None if second is None else 1.0,
            second_p_good=second,
        )
        return self.updated(prior, best)


def _evidence(signals: AnswerSignals) -> float:
    logits = 0.0
    if signals.finish_reason == "length" and (signals.is_looping or not signals.has_ceiling):
        logits += CUT
    if signals.has_result:
        logits += STATED if signals.finish_reason != "length" else 0.0
        logits += LENGTH * min(math.log2(max(signals.answer_chars / _USUAL_CHARS, 1.0)), _MOST_DOUBLINGS)
        if signals.mean_logprob is not None:
            certainty = CERTAINTY * (signals.mean_logprob - SURE)
            logits += min(max(certainty, LEAST_CERTAINTY), MOST_CERTAINTY)
    return logits


def _moved(p_good: float, logits: float) -> float:
    if logits == 0 or not 0 < p_good < 1:
        return p_good
    return 1 / (1 + (1 - p_good) / p_good * math.exp(-logits))


def _agreed(first: float, agreement: float, second: float | None) -> float:
    """P(the first is good | how far the second agrees), even steps from none over UNTOLD to all.

    Success is correlated by SHARED; two wrong answers are the same with probability SAME_ERROR, two good ones with
    1 - MISREAD.
    """
    second = first if second is None else min(max(second, 0.01), 0.99)
    both = first * second + SHARED * math.sqrt(first * (1 - first) * second * (1 - second))
    both = min(both, first, second)
    read = (1 - MISREAD) * both
    same = read + SAME_ERROR * (1 - first - second + both)
    if agreement >= UNTOLD:
        if_same = max(read / same, first)
        return first + (if_same - first) * min((agreement - UNTOLD) / (1 - UNTOLD), 1.0)
    if_not = min((first - read) / (1 - same), first)
    return first + (if_not - first) * min((UNTOLD - agreement) / UNTOLD, 1.0)


def _is_told(second: Answer) -> bool:
    """Whether it says anything: silence agrees with nobody, and says little of the prompt."""
    return bool(second.calls or second.text.strip()) and not (second.is_refusal or is_refusal(second.text))


def _is_looping(text: str) -> bool:
    if len(text) < _LOOP_CHARS:
        return False
    end = text[-_LOOP_CHARS:].encode("utf-8", "replace")
    return len(zlib.compress(end, 1)) < _LOOP_RATIO * len(end)


def _is_valid(asked: Asked, answer: Answer) -> bool | None:
    if asked.prompt.wants_json and not answer.calls:
        return is_valid_reply(answer.text, asked.schema)
    return are_valid_calls(answer.calls)
