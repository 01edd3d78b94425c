"""The first scorer: length, vocabulary and structure of a prompt, in microseconds and without a model.

Every feature is capped, and so is all vocabulary together: no one kind of text can buy the dear model alone. A phrase
that holds every kind at once can, for one caller at a time; what it may cost is bounded by tier and budget.
"""

import math
import re
from collections.abc import Sequence

from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.quality import p_good
from gateway.scoring.vocabulary import OPENINGS, TERMS, WORDS
from gateway.values import Score

# All weights are logits. Where they come from: a non-negative least-squares fit of (strong model right - weak model
# right) to these features on public routing data, each source standardised by itself (MMLU, MMLU-Pro and the nine tasks
# of LLMRouter, 9,978 prompts, November 2026) gives, up to a factor, length 1.9, parts 1.4, task 1.4, code 2.6,
# constraints 1.3, lookup -0.9, reasoning 0, maths 0; leaving out a source moves them, and turns no sign. Exam
# questions, which are all that the fit knows, say nothing of context, tools, images and JSON, and little of reasoning.
# So those and the base are set by hand, for everyday prompts to spread over the sizes; length is held above the fit
# for the same reason, and the rest below it, so that no one kind of text outweighs the others. Measured as in
# bench/routing: macro APGR 0.543, length alone 0.523, chance 0.5.
BASE = -2.0
LENGTH = 2.4
SIGNS = 0.4
BRACES = 0.7
PARTS = 1.0
CONTEXT = 0.8
TOOLS = 0.3
IMAGES = 0.3
JSON = 0.2
PER_WORD = {
    "task": (0.40, 2),
    "reasoning": (0.36, 3),
    "maths": (0.10, 4),
    "code": (0.18, 4),
    "constraints": (0.24, 5),
    "lookup": (-0.30, 2),
}
"""For each different word, up to so many. Repeating one adds nothing."""
MOST_VOCABULARY = 1.6
"""What words alone can add, whichever they are."""

# How much is looked at of a long text, from its beginning and its end. Longer ones differ in length, which counts
# anyway. Where a character takes three bytes it also says more, and costs more to look at.
_ENDS = (600, 200)
_DENSE_ENDS = (300, 100)

_OPENING = 32
_ASKED = "\N{FULLWIDTH QUESTION MARK}"
_CHOICES = ("\nA.", "\nA)", "\n(A)")
_CHOICES_WITHIN = 4000

# Words are lower-case letters, digits, hyphens and apostrophes of ASCII; everything else parts them.
_FOLD = bytes(
    ord(chr(i).lower()) if i < 128 and (chr(i).isalnum() or chr(i) in "-'") else 32 for i in range(256)
)
_KNOWN = frozenset(WORDS)
_TERM = re.compile("|".join(TERMS))


def _all_but(kept: bytes) -> bytes:
    return bytes(i for i in range(256) if i not in kept)


_NOT_SIGNS = _all_but(b"0123456789=+*/^<>\\$%|~")
_NOT_BRACES = _all_but(b"{}[]();_#")
_NOT_HAN = _all_but(bytes(range(0xE4, 0xEA)))
"""In UTF-8 the common Chinese characters begin with one of these bytes, and no other byte is one of them."""


class LexicalScorer:
    """Implements `Scorer`. Never raises, whatever the text."""

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Scorable]) -> Sequence[Score]:
        return [_score(prompt, candidates) for prompt in prompts]


def explain(prompt: Prompt) -> dict[str, float]:
    """Logits that each feature adds; their sum, through a sigmoid, is the complexity."""
    text = prompt.user
    seen, raw = _look(text)
    words = set(raw.translate(_FOLD).split())
    han = 0 if len(raw) == len(seen) else len(raw.translate(None, _NOT_HAN))
    background = len(prompt.system) + len(prompt.history)
    # A row of question marks is one question, and one question is no sign of anything.
    questions = seen.count("? ") + seen.count("?\n") + seen.endswith("?")
    questions += max(seen.count(_ASKED) - 2 * seen.count(_ASKED * 2), 0)

    logits = _vocabulary(words, set(raw[:_OPENING].translate(_FOLD).split()), seen if han else "")
    logits["base"] = BASE
    logits["length"] = LENGTH * _ramp(_content(text, seen, len(raw), len(words), han), 20, 4000)
    logits["maths"] += SIGNS * _ramp(len(raw.translate(None, _NOT_SIGNS)), 1, 60)
    logits["code"] += BRACES * (1.0 if "```" in seen else _ramp(len(raw.translate(None, _NOT_BRACES)), 1, 60))
    logits["parts"] = PARTS * _ramp(questions, 1, 4)
    logits["context"] = CONTEXT / 2 * (_ramp(background, 500, 16_000) + _ramp(prompt.turns, 1, 8))
    logits["tools"] = TOOLS * prompt.has_tools
    logits["images"] = IMAGES * prompt.has_images
    logits["json"] = JSON * prompt.wants_json
    return logits


def _score(prompt: Prompt, candidates: Sequence[Scorable]) -> Score:
    complexity = 1 / (1 + math.exp(-sum(explain(prompt).values())))
    return Score(complexity=complexity, p_good={one.id: p_good(complexity, one) for one in candidates})


def _look(text: str) -> tuple[str, bytes]:
    """The part of the text that is looked at, and the same in UTF-8."""
    seen = _ends(text, *_ENDS)
    raw = seen.encode("utf-8", "replace")
    if len(raw) > 2 * len(seen):
        seen = _ends(text, *_DENSE_ENDS)
        raw = seen.encode("utf-8", "replace")
    return seen, raw


def _ends(text: str, head: int, tail: int) -> str:
    return text if len(text) <= head + tail else f"{text[:head]} {text[-tail:]}"


def _vocabulary(words: set[bytes], opening: set[bytes], unspaced: str) -> dict[str, float]:
    counts = dict.fromkeys(PER_WORD, 0)
    counts["lookup"] = len(OPENINGS & opening)
    for word in _KNOWN & words:
        counts[WORDS[word]] += 1
    if unspaced:
        for term in set(_TERM.findall(unspaced)):
            counts[TERMS[term]] += 1
    logits = {feature: each * min(counts[feature], most) for feature, (each, most) in PER_WORD.items()}
    lookup = logits.pop("lookup")
    share = MOST_VOCABULARY / max(sum(logits.values()), MOST_VOCABULARY)
    logits = {feature: logit * share for feature, logit in logits.items()}
    logits["lookup"] = lookup
    return logits


def _content(text: str, seen: str, seen_bytes: int, words: int, han: int) -> float:
    """Length in characters of English, without the choices of a multiple-choice question and without filling.

    A Chinese character says as much as 2.5 English ones. More than 16 characters to each different word, or about 3 to
    each different Chinese character, is repetition or a blob. Other scripts count by their bytes in UTF-8.
    """
    beyond_ascii = 2 * (seen_bytes - len(seen))
    if han:
        beyond_ascii = min(beyond_ascii, 6 * len(set(seen[::2])))  # every other one takes half the time
    most = 16 * words + beyond_ascii
    if most < len(seen):
        return most
    choices = [at for mark in _CHOICES if (at := text.find(mark, 0, _CHOICES_WITHIN)) >= 0]
    return min(choices, default=len(text)) + 1.5 * han * len(text) / max(len(seen), 1)


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high`, even steps per doubling in between."""
    if value <= low:
        return 0.0
    return 1.0 if value >= high else math.log(value / low) / math.log(high / low)
