"""Accounts as people read them: money in USD, times as ISO 8601, no secrets."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.ledger.account_records import Key, LimitChanges, Operator, Tenant, User
from gateway.money import usd
from gateway.values import Limits, Tier


def tenant_view(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "tier": tenant.tier,
        "limits": limits_view(tenant.limits),
        "is_active": tenant.is_active,
        "created_at": iso(tenant.created_ms),
    }


def user_view(user: User) -> dict[str, Any]:
    return {
        "tenant": user.tenant,
        "id": user.id,
        "limits": limits_view(user.limits),
        "created_at": iso(user.created_ms),
    }


def key_view(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "user": key.user,
        "label": key.label,
        "limits": limits_view(key.limits),
        "created_at": iso(key.created_ms),
        "expires_at": iso(key.expires_ms),
        "revoked_at": iso(key.revoked_ms),
    }


def operator_view(operator: Operator) -> dict[str, Any]:
    return {
        "id": operator.id,
        "role": operator.role,
        "label": operator.label,
        "created_at": iso(operator.created_ms),
        "revoked_at": iso(operator.revoked_ms),
    }


def tier_view(tier: Tier) -> dict[str, Any]:
    return {**msgspec.structs.asdict(tier), "limits": limits_view(tier.limits)}


def limits_view(limits: Limits | LimitChanges) -> dict[str, Any]:
    view = {
        name: value for name, value in msgspec.structs.asdict(limits).items() if value is not msgspec.UNSET
    }
    if "budget_per_month" in view:
        budget = view.pop("budget_per_month")
        view["budget_usd_per_month"] = None if budget is None else usd(budget)
    return view


def iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return (
        datetime.fromtimestamp(milliseconds / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
