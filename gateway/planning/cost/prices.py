"""What GPUs and tokens cost, from shipped lists or the reader's own, each price with its currency, day and source.

Lists of GPUs are CSV as SkyPilot's catalogues are: columns by name in any order, prices per hour of the whole instance.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.sizing import gpus
from gateway.planning.units import Money

_DATA = Path(__file__).parent.parent / "data"
_NEEDED = ("instancetype", "acceleratorname", "acceleratorcount", "price")
_NUMBERS = ("price", "spotprice", "acceleratorcount", "vcpus", "memorygib")
_CURRENCY = re.compile(r"[A-Z]{3}")


class GpuPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Of an instance with `count` of these GPUs, per hour."""

    instance: str
    gpu: str
    count: int
    price: Money
    spot: Money | None = None
    region: str = ""
    cloud: str = ""
    as_of: str = ""
    source: str = ""

    @property
    def of_each(self) -> Money:
        return self.price / self.count


class ApiPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Per million tokens."""

    model: str
    provider: str
    input: Money
    output: Money
    cached_input: Money
    as_of: str = ""
    source: str = ""


class Exchange:
    """Rates that somebody gave, as `USD:EUR=0.92`: one US dollar is 0.92 euro. There are no others."""

    def __init__(self, given: Sequence[str], to: str) -> None:
        """`to` is the currency of the answer. Raises PlanError."""
        if not _CURRENCY.fullmatch(to):
            raise PlanError(
                f"{to[:20]!r} is no currency; write its three letters, as in USD.", param="currency"
            )
        self.to = to
        self._rates: dict[str, Decimal] = {}
        for text in given:
            one, other, rate = _rate(text)
            if to not in (one, other):
                raise PlanError(f"{text} says nothing of {to}, the currency of the answer.", param="exchange")
            self._rates[other if to == one else one] = 1 / rate if to == one else rate

    def __call__(self, money: Money) -> Money:
        """Raises PlanError where nobody gave a rate."""
        if money.currency == self.to:
            return money
        rate = self._rates.get(money.currency)
        if rate is None:
            raise PlanError(
                f"A price is in {money.currency} and the answer in {self.to}: "
                f"give the exchange rate {money.currency}:{self.to}=RATE, or your own price in {self.to}.",
                param="exchange",
            )
        return Money(money.amount * rate, self.to)


@cache
def gpu_prices() -> tuple[GpuPrice, ...]:
    """The shipped list."""
    return tuple(_gpu_rows((_DATA / "prices.csv").read_text("utf-8"), "prices.csv", "USD"))


def read_gpu_prices(text: str, *, currency: str = "USD") -> tuple[GpuPrice, ...]:
    """A reader's own list, in `currency` where it has no such column. Raises PlanError, which names line and column."""
    return tuple(_gpu_rows(text, "the price list", currency))


@cache
def api_prices() -> Mapping[str, ApiPrice]:
    """The shipped list, by model."""
    rows = _rows(
        (_DATA / "api_prices.csv").read_text("utf-8"), "api_prices.csv", ("model", "input", "output")
    )
    return {row["model"]: _api_price(row) for _, row in rows}


def api_price(model: str) -> ApiPrice:
    """Raises PlanError for one that is not in the list."""
    known = api_prices()
    if model in known:
        return known[model]
    near = difflib.get_close_matches(model, list(known), 3, 0.4)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    raise PlanError(
        f"No price is known for the API model {model[:64]!r}: give its input and output price.{hint}",
        param="api",
    )


def same_gpu(one: str, other: str) -> bool:
    """Catalogues call a GPU by several names: A100-80GB, A100-80, NVIDIA A100 80GB."""
    return _name(one) == _name(other)


def offers(
    prices: Iterable[GpuPrice],
    gpu: str,
    *,
    at_least: int = 1,
    cloud: str | None = None,
    region: str | None = None,
) -> list[GpuPrice]:
    """Instances with so many of that GPU or more; the cheapest per GPU first."""
    found = [
        each
        for each in prices
        if same_gpu(each.gpu, gpu)
        and each.count >= at_least
        and (cloud is None or each.cloud == cloud)
        and (region is None or each.region == region)
    ]
    return sorted(found, key=lambda each: each.of_each.amount)


@cache
def _name(gpu: str) -> str:
    """The catalogue's; of a card that is not in it, its letters and digits."""
    try:
        return gpus.gpu(gpu).name
    except PlanError:
        return re.sub(r"[^a-z0-9]", "", gpu.lower())


def _rate(text: str) -> tuple[str, str, Decimal]:
    pair, _, number = text.partition("=")
    one, _, other = pair.strip().partition(":")
    try:
        rate = Decimal(number.strip())
    except InvalidOperation:
        rate = Decimal(0)
    if not (_CURRENCY.fullmatch(one) and _CURRENCY.fullmatch(other) and rate.is_finite() and rate > 0):
        raise PlanError(
            f"{text[:40]!r} is no exchange rate; write it as USD:EUR=0.92, one dollar being 0.92 euro.",
            param="exchange",
        )
    return one, other, rate


def _rows(text: str, name: str, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row by its column names in small letters, with its line in the file."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        heads = [head.strip().lower().replace("_", "") for head in next(reader, [])]
        missing = [each for each in needed if each not in heads]
        if missing:
            raise PlanError(f"{name}, line 1: has no column {', '.join(missing)}.", param="prices")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(heads):
                raise PlanError(
                    f"{name}, line {reader.line_num}: has {len(row)} cells, and line 1 names {len(heads)} columns.",
                    param="prices",
                )
            yield reader.line_num, dict(zip(heads, (cell.strip() for cell in row), strict=True))
    except csv.Error as exc:
        raise PlanError(f"{name}, line {reader.line_num}: {exc}.", param="prices") from exc


def _gpu_rows(text: str, name: str, currency: str) -> Iterator[GpuPrice]:
    for line, row in _rows(text, name, _NEEDED):
        numbers = {column: _number(row[column], name, line, column) for column in _NUMBERS if column in row}
        count, price = numbers["acceleratorcount"], numbers["price"]
        if not row["acceleratorname"] or not count or not price:
            continue  # catalogues list machines without a GPU, and those that only come as spot
        if count != int(count):
            continue  # a share of a card holds no model of its own
        own = row.get("currency") or currency
        if not _CURRENCY.fullmatch(own):
            raise PlanError(f"{name}, line {line}, currency: {own[:20]!r} is none.", param="prices")
        spot = numbers.get("spotprice")
        yield GpuPrice(
            instance=row["instancetype"],
            gpu=row["acceleratorname"],
            count=int(count),
            price=Money(price, own),
            spot=Money(spot, own) if spot else None,
            region=row.get("region", ""),
            cloud=row.get("cloud") or row.get("provider", ""),
            as_of=_day(row.get("asof", ""), name, line),
            source=row.get("source") or name,
        )


def _number(text: str, name: str, line: int, column: str) -> Decimal | None:
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not (number.is_finite() and 0 <= number < Decimal("1e9")):
        raise PlanError(
            f"{name}, line {line}, {column}: {text[:20]!r} is no price or number.", param="prices"
        )
    return number


def _day(text: str, name: str, line: int) -> str:
    if text and not re.fullmatch(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?", text):
        raise PlanError(
            f"{name}, line {line}, asof: {text[:20]!r} is no day; write 2026-11-21.", param="prices"
        )
    return text


def _api_price(row: Mapping[str, str]) -> ApiPrice:
    currency = row["currency"]
    return ApiPrice(
        model=row["model"],
        provider=row["provider"],
        input=Money(row["input"], currency),
        output=Money(row["output"], currency),
        cached_input=Money(row["cachedinput"] or row["input"], currency),
        as_of=row["asof"],
        source=row["source"],
    )
