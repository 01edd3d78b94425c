"""Rows in aligned columns, for people: numbers with thousands and on their decimal points, long words wrapped."""

import textwrap
from collections.abc import Sequence
from decimal import Decimal
from math import floor, isfinite, log10
from typing import Any

from gateway.planning.contract import NEVER, Cell

GAP = "  "
_DASH = "-"
_SHORT = 6
_NARROWEST = 12
"""To which a column of words is wrapped at most."""


def shown(cell: Cell) -> str:
    """A cell by itself."""
    return _formatted(cell, _decimals(cell))


def plain(text: str) -> str:
    """Names come from people: nothing in them may move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def column(cells: Sequence[Cell]) -> list[str]:
    """Cells of one unit: numbers with the same decimals, and right-aligned."""
    numbers = [cell for cell in cells if is_number(cell)]
    if not numbers:
        return [shown(cell) for cell in cells]
    decimals = min(max(_decimals(cell) for cell in numbers), _most_decimals(numbers))
    return _right([_formatted(cell, decimals) for cell in cells])


def points(cells: Sequence[Cell]) -> list[str]:
    """Cells of several units: each number with its own decimals, aligned on the point."""
    texts = [shown(cell) for cell in cells]
    if not any(is_number(cell) for cell in cells):
        return texts
    after = [
        len(text.partition(".")[2]) if is_number(cell) else -1
        for text, cell in zip(texts, cells, strict=True)
    ]
    most = max((length for length in after if length > 0), default=-1)
    padded = [
        text + " " * (most - length + (length == 0)) if length >= 0 and most > 0 else text
        for text, length in zip(texts, after, strict=True)
    ]
    return _right(padded)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, is_right: Sequence[bool]
) -> list[str]:
    """Lines of at most `width`, if the numbers leave room: heads wrap to their columns, and words where they must."""
    widths = _widths(heads, rows, width, is_right)
    lines: list[str] = []
    for row in ([heads] if any(heads) else []) + list(rows):
        lines += _wrapped(row, widths, is_right, is_head=row is heads)
    return lines


def _widths(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, is_right: Sequence[bool]
) -> list[int]:
    cells = [max((len(row[at]) for row in rows), default=0) for at in range(len(heads))]
    widths = [max(_head_width(head), cell) for head, cell in zip(heads, cells, strict=True)]
    least = [
        max(_longest(_split_units(head)), cell) if right else min(_NARROWEST, full)
        for head, cell, right, full in zip(heads, cells, is_right, widths, strict=True)
    ]
    too_much = sum(widths) + len(GAP) * (len(widths) - 1) - width
    # Heads of numbers can break within their units; words wrap where that is not enough.
    for kind in (True, False):
        columns = [at for at in range(len(widths)) if is_right[at] is kind]
        while too_much > 0 and any(widths[at] > least[at] for at in columns):
            widest = max((at for at in columns if widths[at] > least[at]), key=lambda at: widths[at])
            widths[widest] -= 1
            too_much -= 1
    return widths


def _head_width(head: str) -> int:
    """Of its longest word, unless it is short."""
    return len(head) if len(head) <= _SHORT else _longest(head)


def _longest(text: str) -> int:
    return max((len(word) for word in text.split()), default=0)


def _split_units(head: str) -> str:
    return head.replace("/", "/ ")


def _wrapped(
    row: Sequence[str], widths: Sequence[int], is_right: Sequence[bool], *, is_head: bool
) -> list[str]:
    cells = [
        [text] if len(text) <= width else _lines(text, width, is_head=is_head)
        for text, width in zip(row, widths, strict=True)
    ]
    height = max(len(cell) for cell in cells)
    # Heads stand on their numbers, words hang from the first line.
    padded = [
        [""] * (height - len(cell)) + cell if is_head else cell + [""] * (height - len(cell))
        for cell in cells
    ]
    return [
        GAP.join(
            cell[line].rjust(width) if right else cell[line].ljust(width)
            for cell, width, right in zip(padded, widths, is_right, strict=True)
        ).rstrip()
        for line in range(height)
    ]


def _lines(text: str, width: int, *, is_head: bool) -> list[str]:
    if is_head and _longest(text) > width:
        return [line.replace("/ ", "/") for line in textwrap.wrap(_split_units(text), width)]
    return textwrap.wrap(text, width) or [""]


def is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)


def _decimals(cell: Cell) -> int:
    """What a reader wants: five digits or so of a float, of money all there are, up to what is written of a price."""
    if isinstance(cell, Decimal):
        exponent = cell.as_tuple().exponent
        written = -exponent if isinstance(exponent, int) and exponent < 0 else 0
        return min(written, max(2, _digits(float(cell), 4)))
    if isinstance(cell, float) and isfinite(cell):
        return len(f"{cell:.{_float_decimals(abs(cell))}f}".rstrip("0").partition(".")[2])
    return 0


def _most_decimals(numbers: Sequence[Any]) -> int:
    """The largest leads; what is small beside it shows a digit, if two more decimals are enough for that."""
    if any(isinstance(cell, Decimal) for cell in numbers):
        return max(_decimals(cell) for cell in numbers)
    sizes = [abs(cell) for cell in numbers if cell and isfinite(cell)]
    if not sizes:
        return 0
    lead = _float_decimals(max(sizes))
    return min(lead + 2, max(lead, _digits(min(sizes), 1)))


def _float_decimals(size: float) -> int:
    if size >= 1e6:
        return 0
    if size >= 1000:
        return 2
    return 3 if size >= 1 else _digits(size, 4)


def _digits(value: float, significant: int) -> int:
    """Decimals that show so many digits of it."""
    size = abs(value)
    return max(0, significant - 1 - floor(log10(size))) if size else 0


def _formatted(cell: Cell, decimals: int) -> str:
    if cell is None or cell == "":
        return _DASH
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return plain(cell)
    if isinstance(cell, float) and not isfinite(cell):
        return NEVER if cell > 0 else _DASH
    return f"{cell:,.{0 if isinstance(cell, int) else decimals}f}"


def _right(texts: list[str]) -> list[str]:
    width = max((len(text) for text in texts), default=0)
    return [text.rjust(width) for text in texts]
