"""How far two answers to one prompt say the same: by the result they state, their calls, their code, or their words."""

import math
import re
from typing import Any

import msgspec

from gateway.scoring.contract import Answer

_BEGINNING, _END = 1000, 2000
"""How much is looked at of a long answer."""

_UNLIKE, _ALIKE = 0.25, 0.70
"""Two good texts may share few words, and two bad ones many: words alone show no more agreement or less than this."""

_ALONE = 0.1
"""One commits itself to a result, and the other ends without naming it."""

_STATED = re.compile(
    r"(?:\banswer(?:\W{0,4}\s(?:is|would be|should be|must be|to (?:this|the) question is)\b|\W{0,4}[:=])"
    r"|\bcorrect (?:option|choice) (?:is|would be)\b|^####"
    "|(?:答案|结果|結果|正确选项|正確選項)(?:应该|應該|应|應)?[是为為:\uff1a]|故选|故選|应选|應選|因此选|所以选)"
    r"(?=(?:\s+(?:option|choice)\b)?[\s:*`\uff1a]{0,9}([^\n]{1,80}))",
    re.IGNORECASE | re.MULTILINE,
)
"""The words that announce a result, and ahead of them what may be one: the next such words may stand in there."""
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\}){1,200})\}")
_CLOSE = 300
_WHOLE = 40
"""A text that is no longer is its own result."""

_LETTERS = re.compile(
    r"[\s*_`(\[\uff08]*(?:[Oo]ption |[Cc]hoice )?[*(\[\uff08]*"
    "([A-Z](?:\\s*(?:,|&|/|、|\uff0c|and)\\s*[A-Z]\\b)*)(?:[)\\].:;*\uff0c\u3002\uff09、]|\\s*$|\\s+[-\u2013(])"
)
_NUMBER = re.compile(
    r"[-\u2212]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[-\u2212]?\d+(?:\.\d+)?(?:e[-+]?\d{1,3})?(?:/\d+)?"
)
_BEFORE_NUMBER = re.compile(r"[\s*_$€£¥~≈=(\\]*(?:text|approximately|about|roughly|约|約)?[\s{]*")
_FENCE = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_WORD = re.compile("[a-z0-9]+|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[^\\W\\d_a-z]+")
_FILLING = frozenset(
    (
        "a",
        "an",
        "the",
        "of",
        "to",
        "is",
        "are",
        "was",
        "be",
        "in",
        "on",
        "and",
        "or",
        "it",
        "its",
        "for",
        "with",
        "so",
        "we",
    )
)


def result(text: str) -> str | float | None:
    """The one thing that the answer commits itself to: the letters of choices, a number, or a few words."""
    tail = text[-_END:].strip()
    announced = [*_BOXED.finditer(tail), *_STATED.finditer(tail)]
    if announced:
        return _read(max(announced, key=re.Match.start)[1])
    if tail and len(text) < _END and len(tail) <= _WHOLE:
        return _read(tail)
    return None


def agreement(first: Answer, second: Answer) -> float:
    """0 to 1. Never raises."""
    if first.calls or second.calls:
        return float(sorted(map(_canonical, first.calls)) == sorted(map(_canonical, second.calls)))
    one, other = first.text.strip(), second.text.strip()
    if one == other or (one[:1] in ("{", "[") and _canonical(one) == _canonical(other)):
        return 1.0
    if "```" in one and "```" in other:
        return 1.0 if _code(one) == _code(other) else _words_agree(one, other)
    results = result(one), result(other)
    if None in results:
        return _words_agree(one, other) if results == (None, None) else _told(results, one, other)
    if type(results[0]) is type(results[1]):
        return _of_results(*results)
    return _words_agree(one, other)


def similarity(one: str, other: str) -> float:
    """The share of words that are in both, of those in either (Dice). Of long texts, the beginnings and the ends."""
    words, others = _words(one), _words(other)
    if not words or not others:
        return 0.0
    return 2 * len(words & others) / (len(words) + len(others))


def _words_agree(one: str, other: str) -> float:
    return _UNLIKE + (_ALIKE - _UNLIKE) * similarity(one, other)


def _told(results: tuple[str | float | None, str | float | None], one: str, other: str) -> float:
    """Of two answers of which one commits itself: whether the other names the same thing in the end."""
    stated, text = (results[0], other) if results[1] is None else (results[1], one)
    end = text[-_CLOSE:]
    if isinstance(stated, float):
        is_named = any(_value(number) == stated for number in _NUMBER.findall(end))
    elif stated and stated.isupper():
        is_named = re.search(rf"[(*]{stated}[)*.]", end) is not None
    else:
        is_named = _words(str(stated)) <= _words(end)
    return _ALIKE if is_named else _ALONE


def _read(stated: str) -> str | float | None:
    if letters := _LETTERS.match(stated):
        return "".join(sorted(set(re.sub("and|[^A-Z]", "", letters[1]))))
    before = _BEFORE_NUMBER.match(stated)
    number = _NUMBER.match(stated, before.end() if before else 0)
    if number and not stated[number.end() : number.end() + 1].isalpha():
        return _value(number[0])
    words = " ".join(_WORD.findall(stated.lower()))
    return words or None


def _value(number: str) -> float:
    whole, _, parts = number.replace(",", "").replace("\u2212", "-").partition("/")
    value = float(whole)
    return value / float(parts) if parts and float(parts) else value


def _of_results(one: str | float | None, other: str | float | None) -> float:
    if isinstance(one, float) and isinstance(other, float):
        # Whole numbers are exact; others may be rounded.
        is_same = (
            one == other
            if one.is_integer() and other.is_integer()
            else math.isclose(one, other, rel_tol=0.005)
        )
        return float(is_same)
    if one == other:
        return 1.0
    words, others = _words(str(one).lower()), _words(str(other).lower())
    if words and others and (words <= others or others <= words):
        return 0.9
    return 0.0 if not words & others else _UNLIKE


def _words(text: str) -> set[str]:
    seen = text if len(text) <= _BEGINNING + _END else f"{text[:_BEGINNING]} {text[-_END:]}"
    return set(_WORD.findall(seen.lower())) - _FILLING


def _code(text: str) -> str:
    """Of all fenced blocks, without what spacing adds."""
    return "".join("".join(_FENCE.findall(text)).split())


def _canonical(text: str) -> str:
    """JSON in one form; other text as it is."""
    try:
        value: Any = msgspec.json.decode(text)
        return msgspec.json.encode(value, order="sorted").decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text.strip()
