"""What people write to say which spend they mean, for the API and the command line."""

from datetime import UTC, date, datetime
from typing import cast

from gateway.ledger.contract import DIMENSIONS, Dimension


class PeriodError(ValueError):
    """Not a dimension or a date; the message says what is expected."""


def dimensions(text: str) -> tuple[Dimension, ...]:
    """A comma list, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or not names:
        raise PeriodError(f"by: {unknown[0] if unknown else text!r} is none of {', '.join(DIMENSIONS)}.")
    return cast("tuple[Dimension, ...]", names)


def moment(text: str | None) -> int | None:
    """Unix milliseconds of a day's first instant in UTC, or of a time that names its zone."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-21"):
            day = date.fromisoformat(text)
            return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        parsed = datetime.fromisoformat(text)
    except ValueError as exc:
        raise PeriodError(f"{text[:40]!r} is not a date such as 2026-11-01 or 2026-11-01T00:00:00Z.") from exc
    if parsed.tzinfo is None:
        raise PeriodError(f"{text[:40]!r} does not say its time zone; write it as in 2026-11-01T00:00:00Z.")
    return round(parsed.timestamp() * 1000)


def month_start(now_ms: int) -> int:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return round(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp() * 1000)
