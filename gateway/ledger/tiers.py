"""The customers' plans: seeded from the file, then the admins'."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.config import TierConfig
from gateway.ledger import audit
from gateway.ledger.account_records import AccountError, check_tier, tier_of
from gateway.ledger.database import Database
from gateway.ledger.schema import tiers
from gateway.values import Limits, Tier
from policies.contract import Size


class Tiers:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def seed(self, configured: Mapping[str, TierConfig]) -> None:
        """Bring the file's tiers in. One that an admin has edited stays as it is."""
        with self._database.changing() as connection:
            edited = {
                row.name: row.is_edited
                for row in connection.execute(sa.select(tiers.c.name, tiers.c.is_edited))
            }
            for name, config in configured.items():
                if edited.get(name):
                    continue
                _write(connection, tier_of(name, config), is_new=name not in edited, is_edited=False)

    def all(self) -> list[Tier]:
        with self._database.reading() as connection:
            query = sa.select(tiers).order_by(tiers.c.priority, tiers.c.name)
            return [tier_from(row) for row in connection.execute(query).mappings()]

    def get(self, name: str) -> Tier:
        with self._database.reading() as connection:
            tier = _find(connection, name)
        if tier is None:
            raise unknown_tier(name)
        return tier

    def put(self, tier: Tier, *, actor: str) -> None:
        """Create or replace."""
        check_tier(tier)
        with self._database.changing() as connection:
            before = _find(connection, tier.name)
            _write(connection, tier, is_new=before is None, is_edited=True)
            audit.note(
                connection,
                at_ms=self._clock.now_ms(),
                actor=actor,
                action="tier.put",
                subject=tier.name,
                before=before,
                after=tier,
            )


def unknown_tier(name: str) -> AccountError:
    return AccountError("unknown", "tier", f"tier: there is no tier {name!r}")


def tier_from(row: sa.RowMapping, prefix: str = "") -> Tier:
    def column(name: str) -> Any:
        return row[prefix + name]

    return Tier(
        name=column("name"),
        priority=column("priority"),
        limits=msgspec.json.decode(column("limits"), type=Limits),
        sizes=msgspec.json.decode(column("sizes"), type=tuple[Size, ...]),
        default_output_tokens=column("default_output_tokens"),
        max_output_tokens=column("max_output_tokens"),
        max_choices=column("max_choices"),
    )


def _find(connection: sa.Connection, name: str) -> Tier | None:
    row = connection.execute(sa.select(tiers).where(tiers.c.name == name)).mappings().one_or_none()
    return tier_from(row) if row else None


def _write(connection: sa.Connection, tier: Tier, *, is_new: bool, is_edited: bool) -> None:
    values = msgspec.structs.asdict(tier) | {
        "limits": msgspec.json.encode(tier.limits).decode(),
        "sizes": msgspec.json.encode(tier.sizes).decode(),
        "is_edited": is_edited,
    }
    if is_new:
        connection.execute(sa.insert(tiers).values(values))
    else:
        connection.execute(sa.update(tiers).where(tiers.c.name == tier.name).values(values))
