"""Reads one mapping of a policy document: every key must be asked for, every refusal names its place."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from policies.contract import SIZES, Size

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_ITEMS = 100


class PolicyError(Exception):
    """A policy cannot be used. The message names the place and what was expected, in one line."""


class Section:
    """`at` is the path shown in messages, such as `threshold.yaml: objective`."""

    def __init__(self, value: Any, at: str, *, is_top: bool = False) -> None:
        self.at = at
        self._separator = ": " if is_top else "."
        if not isinstance(value, dict):
            raise self.refuse("expected a mapping")
        self._value: dict[Any, Any] = value
        self._asked: set[str] = set()

    def refuse(self, problem: str, key: str = "") -> PolicyError:
        return PolicyError(f"{self._place(key)}: {problem}")

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._value

    def text(self, key: str, max_chars: int = 1000) -> str:
        value = self._need(key)
        if not isinstance(value, str) or not value.strip() or len(value) > max_chars:
            raise self.refuse(f"expected text of 1 to {max_chars} characters", key)
        return value.strip()

    def text_unless_false(self, key: str) -> str | None:
        """None for `false`, and for a key that is not there."""
        return None if self._need(key, False) is False else self.text(key, 200)

    def name(self, key: str) -> str:
        value = self._need(key)
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise self.refuse("expected a name of letters, digits, `.`, `_` and `-`", key)
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._need(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(f"expected a whole number between {low:,} and {high:,}", key)
        return value

    def share(self, key: str, default: float | None = None) -> float:
        value = self._need(key, default)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise self.refuse("expected a number between 0 and 1", key)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._need(key, default)
        if not isinstance(value, bool):
            raise self.refuse("expected true or false", key)
        return value

    def usd(self, key: str) -> int:
        """An amount in USD as nano-dollars, exactly."""
        value = self._need(key)
        wanted = "expected an amount in USD such as 0.002, no finer than a billionth"
        # YAML reads 1e-4 as text: it is as good an amount as 0.0001.
        if type(value) not in (int, float, str):
            raise self.refuse(wanted, key)
        try:
            nano = Decimal(str(value)) * 1_000_000_000
        except InvalidOperation:
            raise self.refuse(wanted, key) from None
        if not (nano.is_finite() and 0 <= nano <= 10**18 and nano == int(nano)):
            raise self.refuse(wanted, key)
        return int(nano)

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self._need(key, default)
        if value not in choices:
            raise self.refuse(f"expected one of {', '.join(choices)}", key)
        return str(value)

    def size(self, key: str) -> Size:
        return next(size for size in SIZES if size == self.choice(key, SIZES))

    def sizes(self, key: str) -> frozenset[Size]:
        values = self._list(key)
        for index, value in enumerate(values):
            if value not in SIZES:
                raise self.refuse(f"expected one of {', '.join(SIZES)}", f"{key}[{index}]")
        return frozenset(values)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._list(key)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value or len(value) > 200:
                raise self.refuse("expected text of 1 to 200 characters", f"{key}[{index}]")
        return tuple(values)

    def sections(self, key: str) -> list["Section"]:
        return [Section(value, self._place(f"{key}[{index}]")) for index, value in enumerate(self._list(key))]

    def section(self, key: str, *, optional: bool = False) -> "Section":
        return Section(self._need(key, {} if optional else None), self._place(key))

    def done(self) -> None:
        """Refuse what nobody asked for: a misspelt rule must not be a rule that is silently off."""
        for key in self._value:
            if key not in self._asked:
                known = f"; known here: {', '.join(sorted(self._asked))}" if self._asked else ""
                raise self.refuse(f"unknown key{known}", str(key)[:60])

    def _need(self, key: str, default: Any = None) -> Any:
        self._asked.add(key)
        value = self._value.get(key, default)
        if value is None:
            raise self.refuse("is missing" if key not in self._value else "is empty", key)
        return value

    def _list(self, key: str) -> list[Any]:
        values = self._need(key)
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_ITEMS:
            raise self.refuse(f"expected a list of 1 to {MAX_ITEMS} items", key)
        return values

    def _place(self, key: str) -> str:
        return f"{self.at}{self._separator}{key}" if key else self.at
