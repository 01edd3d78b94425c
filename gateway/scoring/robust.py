"""How far one part of a text may raise its score: pure functions around any scorer.

`parts` parts a text, `runs` names the runs of parts that are requests by themselves, and `settled` caps the score of the
whole by theirs. A gadget before or behind a question leaves the question such a run; a hard question with "Answer in
English." behind it stays hard, as that is no request by itself. It bounds, and does not prevent: who knows the scores
finds texts that pass (figures in bench/results).
"""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import re
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, combinations, islice, pairwise
from typing import NamedTuple

from gateway.scoring.essence import COURTESIES, iterate_words

FROM_START = 1.0
ELSEWHERE = 1.5
"""How far above a run the whole may be scored, in standard deviations of the score over ordinary traffic, for each share
of the text that the run leaves out. What comes before a question more often belongs to it than what comes after."""


class Run(NamedTuple):
    """Neighbouring parts of a text, at least one of them a request."""

    start: int
    stop: int
    room: float
    """How far above this run the whole may be scored, in standard deviations."""


# With a capital in the middle of a sentence they tell that somebody has put words before a question.
_OPENINGS = (
    "What How Why When Where Who Which Is Are Can Could Do Does Did Should Would Will Please Write Give Explain Tell Make "
    "Create Translate Summarize Describe List Find Help Design Implement Compare Convert Suggest Plan Compute Calculate "
    "Solve Prove Show Define My We You Your The This There These If In On At For Suppose Let Consider Hi Hello Thanks"
)
_CUT = re.compile(rf"[.!?](?=\s)|[。！？]|(?<=[^\s.!?]) (?=[A-Z])(?=(?:{'|'.join(_OPENINGS.split())})\b)")
_BLOCK = re.compile(r"```.*?(?:```|\Z)|(?:[^\n`]|`(?!``))*[^\s`](?:[^\n`]|`(?!``))*", re.DOTALL)
"""A block of code or a line; neither is parted."""

_HOW_TO_ANSWER = """
    answer answers reply respond response explain explanation reasoning think what do keep short brief briefly concise
    simple simply english german french spanish chinese detail details detailed step by be use only just also then give
    make sure and or as possible at end of each two three sentence sentences word words bullet points list format table
    example examples thoughts opinion why how about any ideas know let
    """
_ON_THE_ANSWER = COURTESIES | frozenset(_HOW_TO_ANSWER.split())
"""A request of these alone asks for nothing by itself."""
_REQUEST = (
    r"\s*(?:please |now |then |so )?(?:write|give|explain|tell|make|create|translate|summari[sz]e|describe|list"
    r"|find|help|design|implement|compare|convert|suggest|recommend|plan|turn|rewrite|compute|calculate|solve|prove|show"
    r"|define|name|evaluate|determine|generate|draft|fix|debug|build|add|provide|analy[sz]e|what|how|why|when|where|who"
    r"|which|is|are|can|could|do|does|did|should|would|will)\b"
)
_ASKS_AT_ONCE = re.compile(_REQUEST)
_ASKS_LATER = re.compile(f"[.!:\n]{_REQUEST}")
"""Two patterns for one: the search for a mark is quick, that for a mark or the beginning is not."""
_ASKS_IN_CHINESE = re.compile("[请写求吗哪？]|怎么|如何|什么|帮我|翻译|推荐|多少|证明")
_WORDS_OF_REQUEST = 2
_HAN = re.compile("[\u4e00-\u9fff]")
_HAN_OF_REQUEST = 6


def parts(text: str) -> tuple[str, ...]:
    """The first part of the text, the last, and what is between them in two: at most four, which make up the text.

    Parts are lines and blocks of code; or sentences, where there is but one line.
    """
    places = _cuts(text)
    if not places:
        return (text,)
    middle = min(places, key=lambda place: abs(2 * place - len(text)))
    bounds = [0, *sorted({places[0], middle, places[-1]}), len(text)]
    return tuple(text[start:stop] for start, stop in pairwise(bounds))


def runs(of_text: Sequence[str]) -> tuple[Run, ...]:
    """All runs of parts, but the whole, that are requests by themselves."""
    if len(of_text) == 1:
        return ()
    ends = [0, *accumulate(map(len, of_text))]
    return tuple(
        Run(start, stop, factor * (1 - (ends[stop] - ends[start]) / ends[-1]))
        for start, stop, factor in _places(tuple(map(_is_request, of_text)))
    )


@cache
def _places(is_request: tuple[bool, ...]) -> tuple[tuple[int, int, float], ...]:
    """Where runs begin and end, and the room for each share that they leave out. There are at most four parts."""
    parts = len(is_request)
    return tuple(
        (start, stop, ELSEWHERE if start else FROM_START)
        for start, stop in combinations(range(parts + 1), 2)
        if stop - start < parts and any(is_request[start:stop])
    )


def settled(whole: float, of_runs: Sequence[float], rooms: Sequence[float]) -> float:
    """The score of the whole, no further above the score of any run than there is room."""
    return min([whole, *(score + room for score, room in zip(of_runs, rooms, strict=True))])


def _cuts(text: str) -> list[int]:
    """Where parts after the first begin: the first and the last such place, and those about the middle."""
    if "```" in text:
        return [match.start() for match in _BLOCK.finditer(text)][1:]
    if "\n" in text:
        half = text.find("\n", len(text) // 2)
        before = text.rfind("\n", 0, len(text) // 2)
        return [
            at + 1 for at in (text.index("\n"), before, half, text.rindex("\n")) if 0 <= at < len(text) - 1
        ]
    return [match.end() for match in _CUT.finditer(text) if match.end() < len(text)]


def _is_request(part: str) -> bool:
    """It asks for something, and not only for how it should be told."""
    lower = part.lower()
    if "?" in part or _ASKS_AT_ONCE.match(lower) or _ASKS_LATER.search(lower):
        words = (word for word in iterate_words(lower) if word not in _ON_THE_ANSWER)
        if len(list(islice(words, _WORDS_OF_REQUEST))) == _WORDS_OF_REQUEST:
            return True
    if part.isascii() or not _ASKS_IN_CHINESE.search(part):
        return False
    return len(_HAN.findall(part)) >= _HAN_OF_REQUEST
