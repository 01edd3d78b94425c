"""What was spent on each day: from the ledger's hours, from a file, or from a list."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.traffic import Traffic

DAY = timedelta(days=1)
_MOST_DAYS = 3660
_MOST = Decimal("1e15")
_DAY_NAMES = ("day", "date", "usage_date", "time")
_AMOUNT_NAMES = ("amount", "cost_usd", "cost", "spend_usd", "spend", "usd", "total")
_NANO = 1e9


class Daily(msgspec.Struct, frozen=True, kw_only=True):
    """Spend by day; days from `first` to before `end` are whole."""

    spent: Mapping[date, float]
    """All money that is known of, that of left-out days and of the day that is not over included."""
    first: date
    end: date
    """The first day that is not over: the forecast begins with it."""
    left_out: frozenset[date] = frozenset()

    @property
    def history(self) -> list[float | None]:
        """Of the whole days. A day without an entry had no spend, unless it is left out."""
        return [None if day in self.left_out else self.spent.get(day, 0.0) for day in self.days]

    @property
    def days(self) -> list[date]:
        return [self.first + at * DAY for at in range((self.end - self.first).days)]

    @property
    def silent(self) -> list[date]:
        """Whole days without any spend that count as such."""
        return [
            day
            for day, amount in zip(self.days, self.history, strict=True)
            if amount is not None and not amount
        ]

    @property
    def so_far(self) -> float:
        """Of the day that is not over."""
        return self.spent.get(self.end, 0.0)

    @property
    def in_month(self) -> float:
        """Of the month of `end`, before it."""
        return sum(
            amount
            for day, amount in self.spent.items()
            if (day.year, day.month) == (self.end.year, self.end.month) and day < self.end
        )


def zone(name: str) -> tzinfo:
    """Raises PlanError."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise PlanError(
            f"No time zone {name[:64]!r} is known here; write it as in Europe/Berlin, or install tzdata.",
            param="timezone",
        ) from exc


def from_traffic(traffic: Traffic, where: tzinfo, left_out: frozenset[date]) -> Daily:
    """Raises PlanError if nothing was spent.

    An hour belongs to the day in which it begins. A first day of which only a part was read is no whole day.
    """
    by_hour: dict[int, int] = defaultdict(int)
    for hour in traffic.hours:
        by_hour[hour.start_ms] += hour.cost
    spent: dict[date, int] = defaultdict(int)
    for start_ms, cost in by_hour.items():
        spent[_moment(start_ms, where).date()] += cost
    start = _moment(traffic.from_ms, where)
    begun = start.date() + (DAY if start.timetz().replace(tzinfo=None) != datetime.min.time() else 0 * DAY)
    return _daily(
        {day: amount / _NANO for day, amount in spent.items()},
        begun,
        _moment(traffic.to_ms, where).date(),
        left_out,
    )


def from_file(
    text: str, today: date, left_out: frozenset[date], *, gaps: Literal["zero", "leave-out"] = "zero"
) -> Daily:
    """CSV or JSON of days and amounts; several rows of one day add up. Today is not over. Raises PlanError."""
    spent: dict[date, Decimal] = defaultdict(Decimal)
    for day, amount in _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text):
        spent[day] += amount
    if not spent:
        raise PlanError("The file has no days.", param="file")
    last = max(spent)
    if last > today:
        raise PlanError(f"{last} is not here yet: leave planned days out.", param="file")
    end = last if last == today else last + DAY
    known = {day: float(amount) for day, amount in spent.items()}
    if gaps == "leave-out":
        days = (end - min(spent)).days
        left_out |= {min(spent) + at * DAY for at in range(min(days, _MOST_DAYS))} - spent.keys()
    return _daily(known, min(spent), end, left_out)


def from_list(text: str, today: date, left_out: frozenset[date]) -> Daily:
    """Amounts by commas or blanks, one a day up to yesterday. Raises PlanError."""
    amounts = [_amount(word, "daily") for word in text.replace(",", " ").split()]
    if not amounts:
        raise PlanError("There are no amounts.", param="daily")
    first = today - len(amounts[:_MOST_DAYS]) * DAY
    return _daily(
        {first + at * DAY: float(amount) for at, amount in enumerate(amounts)}, first, today, left_out
    )


def days_of(texts: Sequence[str]) -> frozenset[date]:
    """`2026-11-03`, or `2026-11-03/2026-11-05` with both ends. Raises PlanError."""
    days: set[date] = set()
    for text in texts:
        start, _, last = text.partition("/")
        try:
            low, high = date.fromisoformat(start.strip()), date.fromisoformat((last or start).strip())
        except ValueError as exc:
            raise PlanError(
                f"{text[:40]!r} is no day; write 2026-11-03, or 2026-11-03/2026-11-05.", param="leave_out"
            ) from exc
        if not 0 <= (high - low).days < _MOST_DAYS:
            raise PlanError(f"{text[:40]!r} ends before it begins, or is very long.", param="leave_out")
        days |= {low + at * DAY for at in range((high - low).days + 1)}
    return frozenset(days)


def _daily(spent: Mapping[date, float], begun: date, end: date, left_out: frozenset[date]) -> Daily:
    """Days before the first spend are not days without any: there was nobody yet."""
    spending = [day for day, amount in spent.items() if amount > 0]
    if not spending:
        raise PlanError("Nothing was spent: there is nothing to forecast.")
    first = min(max(begun, min(spending)), end)
    if (end - first).days > _MOST_DAYS:
        raise PlanError(f"That is more than {_MOST_DAYS:,} days; take the last year or two.")
    return Daily(spent=spent, first=first, end=end, left_out=left_out)


def _moment(ms: int, where: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms / 1000, where)


def _csv_rows(text: str) -> Iterator[tuple[date, Decimal]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    day_at, amount_at = 0, 1
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if reader.line_num == 1 and not row[0][:4].isdigit():
                names = [cell.strip().lower() for cell in row]
                day_at, amount_at = _place(names, _DAY_NAMES, "day"), _place(names, _AMOUNT_NAMES, "amount")
                continue
            if len(row) <= max(day_at, amount_at):
                raise PlanError(f"Line {reader.line_num} has no day and amount.", param="file")
            where = f"line {reader.line_num}"
            yield _day(row[day_at], where), _amount(row[amount_at], "file", where)
    except csv.Error as exc:
        raise PlanError(f"Line {reader.line_num}: {exc}.", param="file") from exc


def _place(names: Sequence[str], wanted: Sequence[str], what: str) -> int:
    for name in wanted:
        if name in names:
            return names.index(name)
    raise PlanError(f"The file has no column {what} (or {', '.join(wanted[1:])}).", param="file")


def _json_rows(text: str) -> Iterator[tuple[date, Decimal]]:
    """`{day: amount}`, a list of records, or what `weighbridge spend --by day --json` prints."""
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise PlanError(f"The file is not JSON: {exc}", param="file") from exc
    if isinstance(found, dict) and isinstance(found.get("rows"), list):
        found = found["rows"]
    if isinstance(found, dict):
        found = [{"day": day, "amount": amount} for day, amount in found.items()]
    for at, row in enumerate(found):
        where = f"entry {at + 1}"
        if not isinstance(row, dict):
            raise PlanError(f"The file's {where} is no record with a day and an amount.", param="file")
        names = list(row)
        day, amount = (
            row[names[_place(names, _DAY_NAMES, "day")]],
            row[names[_place(names, _AMOUNT_NAMES, "amount")]],
        )
        yield _day(str(day), where), _amount(str(amount), "file", where)


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text.strip()[:10])
    except ValueError as exc:
        raise PlanError(
            f"The file's {where}: {text[:40]!r} is no day; write 2026-11-21.", param="file"
        ) from exc


def _amount(text: str, param: str, where: str = "") -> Decimal:
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("nan")
    if not (amount.is_finite() and 0 <= amount < _MOST):
        at = f"The file's {where}: " if where else ""
        raise PlanError(f"{at}{text[:40]!r} is no amount of at least 0.", param=param)
    return amount
