"""What the tables of accounts hold, as values, and the rules that a value must keep."""

import re
from decimal import Decimal
from typing import Any, Literal

import msgspec

from gateway.config import TierConfig
from gateway.values import Limits, Tier

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}")
_LARGEST = 2**53
"""The counters are exact up to here: about 9 million dollars a month."""
_LONGEST_LABEL = 200

Role = Literal["admin", "finance"]
ROLES: tuple[Role, ...] = ("admin", "finance")


class AccountError(Exception):
    """A change that cannot be made. The message says why, and is fit to be shown to whoever asked for it."""

    def __init__(self, kind: Literal["invalid", "unknown", "exists"], field: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field


class LimitChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs from the tier's limits: unset is as in the tier, None is no ceiling."""

    requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    tokens_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    concurrency: int | msgspec.UnsetType | None = msgspec.UNSET
    requests_per_month: int | msgspec.UnsetType | None = msgspec.UNSET
    budget_per_month: int | msgspec.UnsetType | None = msgspec.UNSET

    def on_top_of(self, limits: Limits) -> Limits:
        changes = {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if not isinstance(value, msgspec.UnsetType)
        }
        return msgspec.structs.replace(limits, **changes) if changes else limits


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    tier: str
    limits: LimitChanges
    is_active: bool
    created_ms: int


class User(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    id: str
    limits: Limits
    created_ms: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    tenant: str
    user: str
    label: str
    limits: Limits
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None


class IssuedKey(msgspec.Struct, frozen=True):
    key: Key
    text: str
    """The key itself, to be shown once."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """A credential for the admin and finance listener."""

    id: str
    role: Role
    label: str
    created_ms: int
    revoked_ms: int | None


class IssuedOperator(msgspec.Struct, frozen=True):
    operator: Operator
    text: str


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def tier_of(name: str, config: TierConfig) -> Tier:
    budget = config.budget_usd_per_month
    return Tier(
        name=name,
        priority=config.priority,
        limits=Limits(
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
            concurrency=config.concurrency,
            requests_per_month=config.requests_per_month,
            budget_per_month=None if budget is None else int(budget * Decimal(10**9)),
        ),
        sizes=config.sizes,
        default_output_tokens=config.default_output_tokens,
        max_output_tokens=config.max_output_tokens,
        max_choices=config.max_choices,
    )


def check_id(field: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise AccountError(
            "invalid",
            field,
            f"{field}: 1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit",
        )


def check_label(field: str, value: str) -> None:
    if len(value) > _LONGEST_LABEL or not value.isprintable():
        raise AccountError("invalid", field, f"{field}: at most {_LONGEST_LABEL} printable characters")


def check_limits(limits: Limits | LimitChanges) -> None:
    for name, value in msgspec.structs.asdict(limits).items():
        if isinstance(value, int) and not 0 <= value <= _LARGEST:
            raise AccountError(
                "invalid", f"limits.{name}", f"limits.{name}: must be between 0 and {_LARGEST}"
            )


def check_tier(tier: Tier) -> None:
    check_id("name", tier.name)
    check_limits(tier.limits)
    if not tier.sizes:
        raise AccountError("invalid", "sizes", "sizes: name at least one, or nothing can be routed")
    for name in ("default_output_tokens", "max_output_tokens", "max_choices"):
        if not 1 <= getattr(tier, name) <= 2**31 - 1:
            raise AccountError("invalid", name, f"{name}: must be at least 1")
    if tier.default_output_tokens > tier.max_output_tokens:
        raise AccountError(
            "invalid", "default_output_tokens", "default_output_tokens: is more than max_output_tokens"
        )
