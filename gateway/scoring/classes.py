"""What kind of thing a token is: a number, a sign, a word that asks for reasoning, ... Read when a model is trained.

The answers are stored in the model, so this runs once for each entry of the vocabulary and never for a request.
"""

from gateway.scoring.vocabulary import OPENINGS, WORDS

CLASSES = (
    "word",
    "capital",
    "number",
    "maths_sign",
    "code_sign",
    "latex",
    "line",
    "question",
    "sentence",
    "comma",
    "quote",
    "blank",
    "unit",
    "negation",
    "premise",
    "who",
    "what",
    "how",
    "task",
    "reasoning",
    "maths",
    "code",
    "constraints",
    "lookup",
    "chinese",
    "unread",
)
"""`unread` marks what no embedding stands for: other scripts, and pieces of characters."""

_SIGNS = {
    "maths_sign": frozenset("=+*/^<>%|~±×÷∑∫√π≤≥≠∈→"),  # noqa: RUF001 - signs of mathematics look like letters
    "code_sign": frozenset("{}[]();_#`&@"),
    "latex": frozenset("\\$"),
    "line": frozenset("\n"),
    "question": frozenset("?\N{FULLWIDTH QUESTION MARK}"),
    "sentence": frozenset(".!?;:\N{IDEOGRAPHIC FULL STOP}"),
    "comma": frozenset(",\N{FULLWIDTH COMMA}\N{IDEOGRAPHIC COMMA}"),
    "quote": frozenset("\"'\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"),
}
_WORDS = {
    "unit": "kg g mg km cm mm meters metres miles feet inches hours hour minutes seconds days weeks years dollars "
    "cents percent degrees litres liters grams mph",
    "negation": "not except never no cannot least false incorrect without neither nor",
    "premise": "suppose assume given let consider if such according following statement each every twice half per",
    "who": "who whom whose when where",
    "what": "what which name",
    "how": "how why",
}
_CLASS_OF_WORD = {word: name for name, words in _WORDS.items() for word in words.split()}
_KNOWN = {word.decode(): name for word, name in WORDS.items()}
_LOOKUP = frozenset(word.decode() for word in OPENINGS)


def classes_of(piece: bytes) -> tuple[str, ...]:
    """The classes of one entry of the tokenizer's vocabulary."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return ("unread",)
    found = [name for name, signs in _SIGNS.items() if not signs.isdisjoint(text)]
    word = text.strip()
    lower = word.lower()
    if word[:1].isalpha() and word.isascii():
        found.append("word")
        if word[0].isupper():
            found.append("capital")
    if word[:1].isdigit():
        found.append("number")
    if "__" in word:
        found.append("blank")
    by_word = (_CLASS_OF_WORD.get(lower), _KNOWN.get(lower), "lookup" if lower in _LOOKUP else None)
    found.extend(name for name in by_word if name is not None)
    if any("\N{CJK UNIFIED IDEOGRAPH-4E00}" <= sign <= "\N{CJK UNIFIED IDEOGRAPH-9FFF}" for sign in text):
        found.append("chinese")
    elif not word.isascii() and any(sign.isalpha() for sign in word):
        found.append("unread")
    return tuple(dict.fromkeys(found))
