"""A type per unit: what is not of one unit cannot be added, compared or handed over for another.

GB is 10^9 bytes (disks, bandwidth, egress) and GiB 2^30 (memory of a GPU). A month is 730 hours, which is 8,760 / 12.
"""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import ClassVar, Self, overload

HOURS_PER_MONTH = 730
MONTHS_PER_YEAR = 12
DAYS_PER_MONTH = 365 / 12

_CENT = Decimal("0.01")


class Quantity:
    """A number of one unit. Adds to and compares with its own kind only; scales by plain numbers."""

    __slots__ = ("value",)
    unit: ClassVar[str] = ""

    def __init__(self, value: float) -> None:
        self.value = value

    def __add__(self, other: Self) -> Self:
        return type(self)(self.value + self._same(other))

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.value - self._same(other))

    def __neg__(self) -> Self:
        return type(self)(-self.value)

    def __mul__(self, factor: float) -> Self:
        return type(self)(self.value * _plain(factor))

    __rmul__ = __mul__

    @overload
    def __truediv__(self, other: Self) -> float: ...
    @overload
    def __truediv__(self, other: float) -> Self: ...
    def __truediv__(self, other: "Self | float") -> "Self | float":
        if isinstance(other, Quantity):
            return self.value / self._same(other)
        return type(self)(self.value / _plain(other))

    def __lt__(self, other: Self) -> bool:
        return self.value < self._same(other)

    def __le__(self, other: Self) -> bool:
        return self.value <= self._same(other)

    def __gt__(self, other: Self) -> bool:
        return self.value > self._same(other)

    def __ge__(self, other: Self) -> bool:
        return self.value >= self._same(other)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"

    def _same(self, other: "Quantity") -> float:
        if type(other) is not type(self):
            raise TypeError(f"{type(self).__name__} and {type(other).__name__} are not of one unit")
        return other.value


class Bytes(Quantity):
    unit = "B"

    @property
    def gib(self) -> float:
        return self.value / 2**30

    @property
    def gb(self) -> float:
        return self.value / 1e9

    @classmethod
    def of_gib(cls, gib: float) -> Self:
        return cls(gib * 2**30)

    @classmethod
    def of_gb(cls, gb: float) -> Self:
        return cls(gb * 1e9)


class Flops(Quantity):
    """Floating-point operations; a multiplication with its addition counts as two."""

    unit = "FLOP"


class Seconds(Quantity):
    unit = "s"

    @property
    def hours(self) -> "Hours":
        return Hours(self.value / 3600)


class Hours(Quantity):
    unit = "h"


class Tokens(Quantity):
    unit = "tokens"

    @property
    def millions(self) -> float:
        return self.value / 1e6


class BytesPerSecond(Quantity):
    unit = "B/s"

    def time_of(self, amount: Bytes) -> Seconds:
        return Seconds(amount.value / self.value)


class FlopsPerSecond(Quantity):
    unit = "FLOP/s"

    def time_of(self, amount: Flops) -> Seconds:
        return Seconds(amount.value / self.value)


class TokensPerSecond(Quantity):
    unit = "tokens/s"

    def time_of(self, amount: Tokens) -> Seconds:
        return Seconds(amount.value / self.value)

    def over(self, time: Seconds) -> Tokens:
        return Tokens(self.value * time.value)


class Kilowatts(Quantity):
    unit = "kW"

    def over(self, time: Hours) -> "KilowattHours":
        return KilowattHours(self.value * time.value)


class KilowattHours(Quantity):
    unit = "kWh"


class Money:
    """An exact amount of one currency. Currencies are never mixed, and never converted without a rate that somebody gave."""

    __slots__ = ("amount", "currency")

    def __init__(self, amount: Decimal | int | str, currency: str = "USD") -> None:
        """A float is refused: it has been rounded already. `Money.of` takes what was calculated in floats."""
        if isinstance(amount, float):
            raise TypeError("money is a Decimal; a float has been rounded already")
        self.amount = Decimal(amount)
        self.currency = currency

    @classmethod
    def of(cls, amount: float, currency: str = "USD") -> Self:
        """The shortest decimal that reads as this float."""
        return cls(Decimal(repr(float(amount))), currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __mul__(self, factor: Decimal | float) -> "Money":
        return Money(self.amount * _decimal(factor), self.currency)

    __rmul__ = __mul__

    @overload
    def __truediv__(self, other: "Money") -> float: ...
    @overload
    def __truediv__(self, other: Decimal | float) -> "Money": ...
    def __truediv__(self, other: "Money | Decimal | float") -> "Money | float":
        if isinstance(other, Money):
            return float(self.amount / self._same(other))
        return Money(self.amount / _decimal(other), self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._same(other)

    def __gt__(self, other: "Money") -> bool:
        return self.amount > self._same(other)

    def __ge__(self, other: "Money") -> bool:
        return self.amount >= self._same(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))

    def __repr__(self) -> str:
        return f"Money({str(self.amount)!r}, {self.currency!r})"

    def _same(self, other: "Money") -> Decimal:
        if getattr(other, "currency", None) != self.currency:
            raise TypeError(f"{self!r} and {other!r} are not of one currency")
        return other.amount


def total(parts: Sequence[Money], currency: str = "USD") -> Money:
    """`currency` is that of the sum of nothing."""
    return sum(parts[1:], parts[0]) if parts else Money(0, currency)


def in_cents(parts: Sequence[Money]) -> list[Decimal]:
    """The parts rounded to the cent, so that they sum to their total rounded to the cent: largest remainders go up."""
    down = [part.amount.quantize(_CENT, ROUND_FLOOR) for part in parts]
    missing = int((sum((part.amount for part in parts), Decimal(0)).quantize(_CENT) - sum(down)) / _CENT)
    by_remainder = sorted(range(len(parts)), key=lambda at: down[at] - parts[at].amount)
    for at in by_remainder[:missing]:
        down[at] += _CENT
    return down


def _plain(number: float) -> float:
    if not isinstance(number, int | float):
        raise TypeError(f"a quantity is scaled by a plain number, not by {number!r}")
    return number


def _decimal(number: Decimal | float) -> Decimal:
    if isinstance(number, Decimal):
        return number
    return Decimal(repr(_plain(number)))
