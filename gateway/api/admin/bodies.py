"""Accounts as admins write them: money in USD, times with their zone."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.ledger.account_records import LimitChanges
from gateway.money import nano_usd
from gateway.values import Limits, Tier
from policies.contract import Size

Maybe = int | msgspec.UnsetType | None


class LimitsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Left out: as in the plan (for a tenant), or no ceiling. null: no ceiling."""

    requests_per_minute: Maybe = msgspec.UNSET
    tokens_per_minute: Maybe = msgspec.UNSET
    concurrency: Maybe = msgspec.UNSET
    requests_per_month: Maybe = msgspec.UNSET
    budget_usd_per_month: Decimal | msgspec.UnsetType | None = msgspec.UNSET

    def changes(self) -> LimitChanges:
        return LimitChanges(**self._given())

    def limits(self) -> Limits:
        return Limits(**self._given())

    def _given(self) -> dict[str, Any]:
        given = {
            name: value
            for name in ("requests_per_minute", "tokens_per_minute", "concurrency", "requests_per_month")
            if (value := getattr(self, name)) is not msgspec.UNSET
        }
        budget = self.budget_usd_per_month
        if budget is not msgspec.UNSET:
            given["budget_per_month"] = (
                None if budget is None else nano(budget, "limits.budget_usd_per_month")
            )
        return given


class NewTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    tier: str
    name: str = ""
    limits: LimitsBody = LimitsBody()


class TenantChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tier: str | None = None
    name: str | None = None
    limits: LimitsBody | None = None
    is_active: bool | None = None


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    limits: LimitsBody = LimitsBody()


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limits: LimitsBody


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str
    user: str = "default"
    label: str = ""
    limits: LimitsBody = LimitsBody()
    expires_at: datetime | None = None


class NewOperator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: str
    label: str = ""


class TierBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    priority: int
    sizes: tuple[Size, ...]
    limits: LimitsBody
    default_output_tokens: int
    max_output_tokens: int
    max_choices: int = 1

    def tier(self, name: str) -> Tier:
        return Tier(
            name=name,
            priority=self.priority,
            limits=self.limits.limits(),
            sizes=self.sizes,
            default_output_tokens=self.default_output_tokens,
            max_output_tokens=self.max_output_tokens,
            max_choices=self.max_choices,
        )


def nano(amount: Decimal, param: str) -> int:
    try:
        return nano_usd(amount)
    except ValueError as exc:
        raise InvalidRequestError(f"{param}: {exc}.", param=param) from exc


def milliseconds(moment: datetime | None, param: str) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidRequestError(f"{param}: say the time zone, as in 2027-01-31T00:00:00Z.", param=param)
    return round(moment.timestamp() * 1000)
