"""The same prompt as another hand would type it: none of these changes what is asked."""

# ruff: noqa: RUF001 - look-alike letters are one of the changes

import random
import re
from collections.abc import Callable

Change = Callable[[str], str]

_CODE = re.compile(r"(```.*?```|`[^`]*`|\$[^$]*\$)", re.DOTALL)
_LOOK_ALIKE = str.maketrans("aeopcxyAEOPCTKMHB", "аеорсхуАЕОРСТКМНВ")


def typos(text: str) -> str:
    """Two neighbouring letters change places in about one long word of six."""
    chance = random.Random(len(text))

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        if chance.random() > 1 / 6:
            return word
        at = chance.randrange(1, len(word) - 2)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return _outside_code(text, lambda prose: re.sub(r"[a-z]{5,}", swap, prose))


def missing_letters(text: str) -> str:
    chance = random.Random(len(text) + 1)
    return _outside_code(
        text,
        lambda prose: re.sub(r"\B[a-z]\B", lambda match: "" if chance.random() < 1 / 40 else match[0], prose),
    )


def look_alikes(text: str) -> str:
    """One letter of twelve comes from another alphabet."""
    chance = random.Random(len(text) + 2)
    return "".join(c.translate(_LOOK_ALIKE) if chance.random() < 1 / 12 else c for c in text)


def bold(text: str) -> str:
    return _outside_code(text, lambda prose: re.sub(r"\b([A-Za-z]{7,})\b", r"**\1**", prose, count=2))


def _outside_code(text: str, change: Change) -> str:
    return "".join(part if i % 2 else change(part) for i, part in enumerate(_CODE.split(text)))


CHANGES: dict[str, Change] = {
    "typos": typos,
    "missing letters": missing_letters,
    "lower case": str.lower,
    "upper case": str.upper,
    "capital first": lambda text: text[:1].upper() + text[1:],
    "no mark at the end": lambda text: text.rstrip("?.!？。！ "),
    "blanks around and doubled": lambda text: "  " + text.replace(" ", "  ") + " \n\n",
    "line breaks of Windows": lambda text: text.replace("\n", "\r\n"),
    "zero-width characters": lambda text: text.replace(" ", " \u200b"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "look-alike letters": look_alikes,
    "curly quotes and dashes": lambda text: text.replace("'", "’").replace('"', "”").replace(" - ", " – "),
    "bold words": bold,
    "as a quotation": lambda text: "> " + text.replace("\n", "\n> "),
    "under a heading": lambda text: f"## Question\n\n{text}",
    "please": lambda text: f"Please help me with this. {text}",
    "greeting and thanks": lambda text: f"Hi! {text} Thanks!",
}
