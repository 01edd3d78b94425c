"""What of a text counts: all but invisible characters, filling, courtesies, and words to the router."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

_BLOB = 60
"""Text without a blank for twice as many characters is no word; of such only the beginning counts."""
_LONG_WORD = re.compile(rf"([!-~]{{24}})[!-~]{{{2 * _BLOB - 24},}}")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]+"
)
_PILE_OF_MARKS = re.compile("([\u0300-\u036f\u20d0-\u20ff])[\u0300-\u036f\u20d0-\u20ff]+")
_FEW_WORDS = 40
_REPETITION = 4
_MOST_OF_A_WORD = 4
_WORD_AND_BLANK = re.compile(r"\S+\s*")
_SHOUTED_WORDS = 4
_RUN = re.compile(r"([^\x00-\x7f])\1{3,}")
_BLANKS = re.compile(r" (?<=[^\n ] ) +| {9,}")
"""Begins with what there is to find, so that the search for it is quick. Code keeps its indentation."""
_BOLD = re.compile(r"(?<![\w*])\*\*(?=\w)([^*\n]+)(?<=[\w.:?!,)])\*\*(?![\w*])")
_QUOTED = re.compile(r"^> ?", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n[^\S\n]*\n\s*\n")
_CHAT_MARKS = re.compile(r"<\|[^|<>\n]{1,40}\|>|\[/?INST\]|<</?SYS>>")

_SUPERLATIVE = (
    r"(?:largest|biggest|strongest|best|smartest|dearest|priciest|top|premium|frontier|flagship|smallest|cheapest"
    r"|weakest|(?:most|more) (?:powerful|capable|advanced|expensive|intelligent)|stronger|larger|bigger)"
)
_GRADE = r"(?:hard|difficult|complex|complicated|challenging|expert|tough|demanding|easy|simple|trivial)"
_MODELS = "model llm gpt claude gemini"
_GRADES = "hard difficult compl challeng expert tough demanding easy simple trivial"
# Each pattern with words of which one is in all that it matches: most texts have none, and are never searched.
_TO_THE_ROUTER = tuple(
    (tuple(hints), re.compile(pattern))
    for hints, pattern in (
        (
            (*_MODELS.split(), " ai"),
            rf"\b{_SUPERLATIVE}\b[^.!?\n]{{0,24}}\b(?:models?|llms?|ai|gpt|claude|gemini)\b",
        ),
        (("use the", "use your"), rf"\buse (?:the|your) {_SUPERLATIVE}(?: one| available| possible)"),
        (("model",), r"\b(?:small|cheap|weak|tiny)(?:er)? models?\b"),
        (
            ("rout",),
            r"\broute (?:me|this|it|my|the)\b[^.!?\n]{0,40}\b(?:models?|tier|opus)\b|\brouting rules\b|\b(?:ignore the router|router:)",
        ),
        (
            _GRADES.split(),
            rf"\b(?:this|following|next|my)\b[^.!?\n]{{0,24}}\b{_GRADE}\b[^.!?\n]{{0,12}}\b(?:question|problem|task|prompt|request|query)\b",
        ),
        (
            _GRADES.split(),
            rf"\b(?:classif|label|mark|treat|rate|judg)\w*\b[^.!?\n]{{0,30}}\bas\b[^.!?\n]{{0,10}}\b{_GRADE}\b",
        ),
        (("level",), r"\b(?:ph\.?d|expert)[ -]level\b"),
        (
            ("compl", "difficult", "size", "model", "tier"),
            r"\b(?:complexity|difficulty)[\"']?\s{0,3}[=:]\s{0,3}[\"']?(?:[01]\b|hard|easy|expert|high|low|max)|\b(?:size|model|tier)[\"']?\s{0,3}[=:]\s{0,3}[\"']?(?:large|small|hard|easy|expert|high|low|max)",
        ),
        (("step",), r"\b(?:think|reason)\b[^.!?\n]{0,20}\bstep[- ]by[- ]step\b"),
        (("模型",), r"(?:最大|最强|最好|最贵|最先进|最小|最便宜|更强)[^。！？\n]{0,8}模型|(?:小|普通)模型"),
        (
            ("难", "复杂", "简单", "容易"),
            (
                r"(?:这|本|下面)[^。！？\n]{0,10}(?:难|复杂|简单|容易)[^。！？\n]{0,14}(?:问题|题目|任务)"
                r"|(?:这个|这道)(?:问题|题)[^。！？\n]{0,4}(?:很|非常|极|特别|十分)(?:难|复杂|简单|容易)"
            ),
        ),
    )
)
_PATTERNS = {
    hint: [pattern for hints, pattern in _TO_THE_ROUTER if hint in hints]
    for hint in sorted({hint for hints, _ in _TO_THE_ROUTER for hint in hints})
}
_ENGLISH_HINTS = [hint for hint in _PATTERNS if hint.isascii()]
_CHINESE_HINTS = [hint for hint in _PATTERNS if not hint.isascii()]

_ONE_SENTENCE = 300
"""Longer ones are looked at up to here: the search takes a millisecond for a thousand characters of hints."""
_SENTENCE = re.compile(r"[^.!?\n。！？]*(?:[.!?。！？]+|\n|\Z)")

_COURTEOUS = """
    hi hello hey there dear sir madam all everyone good morning afternoon evening day thanks thank you please help me with
    this that it so very much a lot in advance for your the bye best kind regards cheers could can would i need have
    question some one my here is hope are doing well am want to ask quick
    你好 您好 谢谢 谢谢你 谢谢您 多谢 大家好 请帮帮我 请帮忙 麻烦了
    """
COURTESIES = frozenset(_COURTEOUS.split())
_GREETING = "hi hello hey dear thanks thank please help bye regards cheers morning afternoon evening 你好 您好 谢谢 谢谢你 谢谢您 多谢 大家好"
_GREETINGS = frozenset(_GREETING.split())
_MOST_OF_COURTESY = 60
_NO_MATTER = re.compile(r"(?:[^\W\d_]|[\s,.:;!?'…。！？，~()-])+")
_FIRST = re.compile(r"[^.!?\n。！？]*[.!?\n。！？]+\s*")
_LAST = re.compile(r"(?<=[.!?\n。！？])[^.!?\n。！？]*[.!?\s。！？]*\Z")
_HAIL = re.compile(r"(?:hi|hello|hey|dear all)(?: there| all| everyone)?[,!] +", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+")


def essence(text: str) -> str:
    """The text without what a reader would not read, or what speaks of other things than the matter."""
    if not text.isascii():
        text = _RUN.sub(r"\1\1\1", _PILE_OF_MARKS.sub(r"\1", _INVISIBLE.sub("", text)))
        text = text.replace("\u00a0", " ")
    if "  " in text or "\t" in text:
        text = _BLANKS.sub(" ", text.replace("\t", " "))
    if "\n\n" in text or "\n " in text:
        text = _EMPTY_LINES.sub("\n\n", text)
    if "**" in text:
        text = _BOLD.sub(r"\1", text)
    if text.startswith(">"):
        text = _QUOTED.sub("", text)
    if text.isupper() and _is_shouted(text):
        text = text.lower()
    if _may_hold_a_blob(text):
        text = _LONG_WORD.sub(r"\1", text)
    text = _said_once(text)
    if "<|" in text or "[INST" in text or "<<SYS" in text:
        text = _CHAT_MARKS.sub(" ", text)
    return _without_courtesies(_to_the_matter(text).strip())


def iterate_words(lower: str) -> Iterator[str]:
    """Runs of letters, of a text in lower case."""
    return (match[0] for match in _WORDS.finditer(lower))


def _is_shouted(text: str) -> bool:
    """Choices named by capitals, below a question in a script that has none, are no shouting."""
    words = (word for word in text.split() if len(word) > 1 and word.isascii() and word.isupper())
    return len(list(islice(words, _SHOUTED_WORDS))) == _SHOUTED_WORDS


def _said_once(text: str) -> str:
    """Without what is only repetition. Ordinary texts of any length repeat themselves far less."""
    words = text.split()
    if len(words) < _FEW_WORDS or len(set(words)) * _REPETITION > len(words):
        return text
    seen: Counter[str] = Counter()
    kept: list[str] = []
    for piece in _WORD_AND_BLANK.findall(text):
        seen[piece.strip()] += 1
        if seen[piece.strip()] <= _MOST_OF_A_WORD:
            kept.append(piece)
    return "".join(kept)


def _may_hold_a_blob(text: str) -> bool:
    """Each run of twice `_BLOB` characters without a blank covers one of these blocks."""
    blocks = (text[start : start + _BLOB] for start in range(0, len(text) - _BLOB, _BLOB))
    return any(" " not in block and "\n" not in block for block in blocks)


def _to_the_matter(text: str) -> str:
    lower = text.lower()
    hints = [hint for hint in _ENGLISH_HINTS if hint in lower]
    if not text.isascii():
        hints += [hint for hint in _CHINESE_HINTS if hint in lower]
    if not hints:
        return text
    # Sentences end alike in either case, though a letter's two cases may differ in length.
    is_said = [_speaks_to_the_router(sentence, hints) for sentence in _SENTENCE.findall(lower)]
    if not any(is_said):
        return text
    sentences = _SENTENCE.findall(text)
    matter = "".join(sentence for sentence, said in zip(sentences, is_said, strict=True) if not said)
    if matter.strip():
        return matter
    # Without another sentence it is a question about models, and only the words themselves go.
    words = lower[:_ONE_SENTENCE]
    for _, pattern in _TO_THE_ROUTER:
        words = pattern.sub("", words)
    return words + text[_ONE_SENTENCE:]


def _speaks_to_the_router(sentence: str, hints: Sequence[str]) -> bool:
    for hint in hints:
        if hint in sentence:
            for pattern in _PATTERNS[hint]:
                if pattern.search(sentence, 0, _ONE_SENTENCE):
                    return True
    return False


def _without_courtesies(text: str) -> str:
    """Greetings and thanks in sentences of their own, unless there is nothing else."""
    matter = text
    while (found := _FIRST.match(matter)) and _is_courtesy(found[0]):
        matter = matter[found.end() :]
    while (found := _LAST.search(matter, max(len(matter) - _MOST_OF_COURTESY, 0))) and _is_courtesy(found[0]):
        matter = matter[: found.start()].rstrip()
    if found := _HAIL.match(matter):
        matter = matter[found.end() :]
    return matter or text


def _is_courtesy(sentence: str) -> bool:
    if len(sentence) > _MOST_OF_COURTESY or not _NO_MATTER.fullmatch(sentence):
        return False
    found = set(iterate_words(sentence.lower()))
    return COURTESIES.issuperset(found) and not _GREETINGS.isdisjoint(found)
