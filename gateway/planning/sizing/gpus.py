"""The GPUs the planner knows: memory, bandwidth, dense speed, power, links, and what one costs to buy where known."""

import csv
import difflib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.units import Bytes, BytesPerSecond, FlopsPerSecond, Kilowatts, Money


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One card. Speeds are dense, as the data sheet states them: without sparsity, accumulating in 32 bits."""

    name: str
    vram: Bytes
    """As its driver reports it, which is less than its name says."""
    bandwidth: BytesPerSecond
    """Of its own memory."""
    fp16: FlopsPerSecond
    fp8: FlopsPerSecond | None
    """None: it has no such units, and computes in 16 bits."""
    int8: FlopsPerSecond | None
    power: Kilowatts
    """The most it draws."""
    link: str
    link_bandwidth: BytesPerSecond
    """To other cards, both directions together."""
    price: Money | None
    """To buy one."""
    price_as_of: str
    price_source: str
    source: str
    as_of: str


def gpu(name: str) -> Gpu:
    """By name in any case and with any dashes (`h100`, `RTX 4090`, `A100-80GB`); raises PlanError with what is near."""
    key = _plain(name)
    known = _names()
    found = known.get(key) or known.get(f"rtx{key}")
    if found is None:
        near = difflib.get_close_matches(key, list(known), 1, 0.5)
        hint = f" Did you mean {known[near[0]].name!r}?" if near else ""
        names = ", ".join(each.name for each in gpus())
        raise PlanError(f"No GPU {name[:64]!r} is in the catalogue.{hint} There are {names}.", param="gpu")
    return found


@cache
def gpus() -> Sequence[Gpu]:
    """All of them, least memory first; among equals the one that is older."""
    return sorted((_gpu(row) for row in _rows()), key=lambda each: each.vram)


@cache
def _names() -> Mapping[str, Gpu]:
    names = {}
    for row in _rows():
        for name in (row["name"], *row["aliases"].split(";")):
            if name:
                names[_plain(name)] = _gpu(row)
    return names


@cache
def _rows() -> Sequence[Mapping[str, str]]:
    text = (Path(__file__).parent.parent / "data" / "gpus.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _gpu(row: Mapping[str, str]) -> Gpu:
    return Gpu(
        name=row["name"],
        vram=Bytes.of_gib(float(row["vram_gib"])),
        bandwidth=BytesPerSecond(float(row["hbm_gb_s"]) * 1e9),
        fp16=FlopsPerSecond(float(row["fp16_tflops"]) * 1e12),
        fp8=FlopsPerSecond(float(row["fp8_tflops"]) * 1e12) if row["fp8_tflops"] else None,
        int8=FlopsPerSecond(float(row["int8_tops"]) * 1e12) if row["int8_tops"] else None,
        power=Kilowatts(float(row["watts"]) / 1000),
        link=row["link"],
        link_bandwidth=BytesPerSecond(float(row["link_gb_s"]) * 1e9),
        price=Money(Decimal(row["price_usd"])) if row["price_usd"] else None,
        price_as_of=row["price_as_of"],
        price_source=row["price_source"],
        source=row["source"],
        as_of=row["as_of"],
    )


def _plain(name: str) -> str:
    return re.sub(r"(nvidia|amd|tesla|geforce|[^a-z0-9])", "", name.lower())
