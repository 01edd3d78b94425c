"""Tenants, users and keys: who pays, who asked, with what. Synchronous; the checks of a value raise AccountError."""

from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.ledger import audit
from gateway.ledger.account_records import (
    AccountError,
    AuditRecord,
    IssuedKey,
    Key,
    LimitChanges,
    Tenant,
    User,
    check_id,
    check_label,
    check_limits,
)
from gateway.ledger.credentials import Credentials, key_id
from gateway.ledger.database import Database
from gateway.ledger.operators import Operators
from gateway.ledger.schema import keys, marks, tenants, tiers, users
from gateway.ledger.tiers import Tiers, tier_from, unknown_tier
from gateway.values import Caller, Limits

DEFAULT_USER = "default"


class Accounts:
    """Every change takes an `actor` and is noted in the audit in the same transaction."""

    def __init__(self, database: Database, clock: Clock, credentials: Credentials) -> None:
        self._database = database
        self._clock = clock
        self._credentials = credentials
        self.tiers = Tiers(database, clock)
        self.operators = Operators(database, clock, credentials)

    def check_pepper(self) -> None:
        """Refuse to run with another pepper than the keys were made with: every valid key would get 401."""
        fingerprint = self._credentials.fingerprint
        with self._database.changing() as connection:
            known = connection.scalar(sa.select(marks.c.value).where(marks.c.name == "pepper"))
            if known is None:
                connection.execute(sa.insert(marks).values(name="pepper", value=fingerprint))
            elif known != fingerprint:
                raise ConfigError(
                    "keys: this is not the pepper that the database's keys were made with; restore "
                    "`secrets/pepper`, or give every gateway the same one by keys.pepper_file or keys.pepper_env"
                )

    def create_tenant(
        self, tenant_id: str, *, tier: str, name: str = "", limits: LimitChanges | None = None, actor: str
    ) -> Tenant:
        check_id("tenant", tenant_id)
        tenant = Tenant(
            id=tenant_id,
            name=name,
            tier=tier,
            limits=limits or LimitChanges(),
            is_active=True,
            created_ms=self._clock.now_ms(),
        )
        with self._database.changing() as connection:
            _check_tenant(connection, tenant)
            if _tenant(connection, tenant_id) is not None:
                raise AccountError("exists", "tenant", f"tenant: there is a tenant {tenant_id!r} already")
            connection.execute(sa.insert(tenants).values(_row(tenant)))
            self._note(connection, actor, "tenant.create", tenant_id, None, tenant)
        return tenant

    def tenant(self, tenant_id: str) -> Tenant:
        with self._database.reading() as connection:
            return _known_tenant(connection, tenant_id)

    def all_tenants(self) -> list[Tenant]:
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(tenants).order_by(tenants.c.id)).mappings()
            return [_tenant_from(row) for row in rows]

    def update_tenant(
        self,
        tenant_id: str,
        *,
        tier: str | None = None,
        name: str | None = None,
        limits: LimitChanges | None = None,
        is_active: bool | None = None,
        actor: str,
    ) -> Tenant:
        """None leaves as it is; `limits` replaces all changes to the tier's limits."""
        wanted = {"tier": tier, "name": name, "limits": limits, "is_active": is_active}
        changes: dict[str, Any] = {field: value for field, value in wanted.items() if value is not None}
        with self._database.changing() as connection:
            before = _known_tenant(connection, tenant_id)
            after = msgspec.structs.replace(before, **changes)
            _check_tenant(connection, after)
            connection.execute(sa.update(tenants).where(tenants.c.id == tenant_id).values(_row(after)))
            self._note(connection, actor, "tenant.update", tenant_id, before, after)
        return after

    def create_user(self, tenant_id: str, user_id: str, *, limits: Limits | None = None, actor: str) -> User:
        with self._database.changing() as connection:
            _known_tenant(connection, tenant_id)
            if _user(connection, tenant_id, user_id) is not None:
                raise AccountError(
                    "exists", "user", f"user: tenant {tenant_id!r} has a user {user_id!r} already"
                )
            return self._add_user(connection, tenant_id, user_id, limits or Limits(), actor)

    def all_users(self, tenant_id: str) -> list[User]:
        with self._database.reading() as connection:
            _known_tenant(connection, tenant_id)
            query = sa.select(users).where(users.c.tenant_id == tenant_id).order_by(users.c.id)
            return [_user_from(row) for row in connection.execute(query).mappings()]

    def update_user(self, tenant_id: str, user_id: str, *, limits: Limits, actor: str) -> User:
        check_limits(limits)
        with self._database.changing() as connection:
            before = _user(connection, tenant_id, user_id)
            if before is None:
                raise AccountError("unknown", "user", f"user: tenant {tenant_id!r} has no user {user_id!r}")
            after = msgspec.structs.replace(before, limits=limits)
            connection.execute(
                sa.update(users)
                .where(users.c.tenant_id == tenant_id, users.c.id == user_id)
                .values(limits=_json(limits))
            )
            self._note(connection, actor, "user.update", f"{tenant_id}/{user_id}", before, after)
        return after

    def create_key(
        self,
        tenant_id: str,
        *,
        user_id: str = DEFAULT_USER,
        label: str = "",
        limits: Limits | None = None,
        expires_ms: int | None = None,
        actor: str,
    ) -> IssuedKey:
        """The user is created if there is none of that name. The key's text is in the answer and nowhere else."""
        check_label("label", label)
        issued = self._credentials.issue("sk-wb")
        key = Key(
            id=issued.id,
            tenant=tenant_id,
            user=user_id,
            label=label,
            limits=limits or Limits(),
            created_ms=self._clock.now_ms(),
            expires_ms=expires_ms,
            revoked_ms=None,
        )
        check_limits(key.limits)
        if expires_ms is not None and not key.created_ms < expires_ms < 2**62:
            raise AccountError("invalid", "expires_ms", "expires_ms: is not in the future")
        with self._database.changing() as connection:
            _known_tenant(connection, tenant_id)
            if _user(connection, tenant_id, user_id) is None:
                self._add_user(connection, tenant_id, user_id, Limits(), actor)
            connection.execute(
                sa.insert(keys).values(
                    id=key.id,
                    tenant_id=tenant_id,
                    user_id=user_id,
                    label=label,
                    digest=issued.digest,
                    limits=_json(key.limits),
                    created_ms=key.created_ms,
                    expires_ms=expires_ms,
                )
            )
            self._note(connection, actor, "key.create", key.id, None, key)
        return IssuedKey(key, issued.text)

    def all_keys(self, tenant_id: str | None = None) -> list[Key]:
        query = sa.select(keys).order_by(keys.c.tenant_id, keys.c.created_ms, keys.c.id)
        with self._database.reading() as connection:
            if tenant_id is not None:
                _known_tenant(connection, tenant_id)
                query = query.where(keys.c.tenant_id == tenant_id)
            return [_key_from(row) for row in connection.execute(query).mappings()]

    def revoke_key(self, found_id: str, *, actor: str) -> Key:
        """For ever; a second time changes nothing."""
        with self._database.changing() as connection:
            row = connection.execute(sa.select(keys).where(keys.c.id == found_id)).mappings().one_or_none()
            if row is None:
                raise AccountError("unknown", "key", f"key: there is no key {found_id!r}")
            before = _key_from(row)
            if before.revoked_ms is not None:
                return before
            after = msgspec.structs.replace(before, revoked_ms=self._clock.now_ms())
            connection.execute(
                sa.update(keys).where(keys.c.id == found_id).values(revoked_ms=after.revoked_ms)
            )
            self._note(connection, actor, "key.revoke", found_id, before, after)
        return after

    def resolve(self, text: str) -> Caller | None:
        """Whose key this is; None for every kind of wrong one. A malformed key costs no query.

        Raises DatabaseUnavailableError.
        """
        found = key_id(text, "sk-wb")
        if found is None:
            return None
        with self._database.reading() as connection:
            row = connection.execute(_CALLER.where(keys.c.id == found)).mappings().one_or_none()
        if not self._credentials.matches(text, row["digest"] if row else None) or row is None:
            return None
        return self._caller_from(row)

    def caller(self, known_id: str) -> Caller | None:
        """For what a key has begun and what goes on without it: None once the key counts no more.

        Raises DatabaseUnavailableError.
        """
        with self._database.reading() as connection:
            row = connection.execute(_CALLER.where(keys.c.id == known_id)).mappings().one_or_none()
        return None if row is None else self._caller_from(row)

    def _caller_from(self, row: sa.RowMapping) -> Caller | None:
        is_expired = row["expires_ms"] is not None and row["expires_ms"] <= self._clock.now_ms()
        if row["revoked_ms"] is not None or is_expired or not row["is_active"]:
            return None
        tier = tier_from(row, "tier_")
        return Caller(
            tenant=row["tenant_id"],
            user=row["user_id"],
            key=row["id"],
            tier=tier,
            tenant_limits=msgspec.json.decode(row["tenant_limits"], type=LimitChanges).on_top_of(tier.limits),
            user_limits=msgspec.json.decode(row["user_limits"], type=Limits),
            key_limits=msgspec.json.decode(row["key_limits"], type=Limits),
            salt=self._credentials.salt(row["tenant_id"]),
        )

    def audit(self, *, limit: int = 100, before_id: int | None = None) -> list[AuditRecord]:
        """Newest first."""
        with self._database.reading() as connection:
            return audit.latest(connection, limit, before_id)

    def _add_user(
        self, connection: sa.Connection, tenant_id: str, user_id: str, limits: Limits, actor: str
    ) -> User:
        check_id("user", user_id)
        check_limits(limits)
        user = User(tenant=tenant_id, id=user_id, limits=limits, created_ms=self._clock.now_ms())
        connection.execute(
            sa.insert(users).values(
                tenant_id=tenant_id, id=user_id, limits=_json(limits), created_ms=user.created_ms
            )
        )
        self._note(connection, actor, "user.create", f"{tenant_id}/{user_id}", None, user)
        return user

    def _note(
        self,
        connection: sa.Connection,
        actor: str,
        action: str,
        subject: str,
        before: msgspec.Struct | None,
        after: msgspec.Struct,
    ) -> None:
        audit.note(
            connection,
            at_ms=self._clock.now_ms(),
            actor=actor,
            action=action,
            subject=subject,
            before=before,
            after=after,
        )


_CALLER = (
    sa.select(
        keys.c.id,
        keys.c.tenant_id,
        keys.c.user_id,
        keys.c.digest,
        keys.c.expires_ms,
        keys.c.revoked_ms,
        keys.c.limits.label("key_limits"),
        users.c.limits.label("user_limits"),
        tenants.c.limits.label("tenant_limits"),
        tenants.c.is_active,
        *(column.label(f"tier_{column.name}") for column in tiers.columns),
    )
    .select_from(keys)
    .join(users, sa.and_(users.c.tenant_id == keys.c.tenant_id, users.c.id == keys.c.user_id))
    .join(tenants, tenants.c.id == keys.c.tenant_id)
    .join(tiers, tiers.c.name == tenants.c.tier)
)


def _tenant(connection: sa.Connection, tenant_id: str) -> Tenant | None:
    row = connection.execute(sa.select(tenants).where(tenants.c.id == tenant_id)).mappings().one_or_none()
    return _tenant_from(row) if row else None


def _known_tenant(connection: sa.Connection, tenant_id: str) -> Tenant:
    tenant = _tenant(connection, tenant_id)
    if tenant is None:
        raise AccountError("unknown", "tenant", f"tenant: there is no tenant {tenant_id!r}")
    return tenant


def _check_tenant(connection: sa.Connection, tenant: Tenant) -> None:
    check_label("name", tenant.name)
    check_limits(tenant.limits)
    if connection.scalar(sa.select(tiers.c.name).where(tiers.c.name == tenant.tier)) is None:
        raise unknown_tier(tenant.tier)


def _user(connection: sa.Connection, tenant_id: str, user_id: str) -> User | None:
    query = sa.select(users).where(users.c.tenant_id == tenant_id, users.c.id == user_id)
    row = connection.execute(query).mappings().one_or_none()
    return _user_from(row) if row else None


def _tenant_from(row: sa.RowMapping) -> Tenant:
    return Tenant(**dict(row) | {"limits": msgspec.json.decode(row["limits"], type=LimitChanges)})


def _user_from(row: sa.RowMapping) -> User:
    return User(
        tenant=row["tenant_id"],
        id=row["id"],
        limits=msgspec.json.decode(row["limits"], type=Limits),
        created_ms=row["created_ms"],
    )


def _key_from(row: sa.RowMapping) -> Key:
    return Key(
        id=row["id"],
        tenant=row["tenant_id"],
        user=row["user_id"],
        label=row["label"],
        limits=msgspec.json.decode(row["limits"], type=Limits),
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
        revoked_ms=row["revoked_ms"],
    )


def _row(tenant: Tenant) -> dict[str, Any]:
    return msgspec.structs.asdict(tenant) | {"limits": _json(tenant.limits)}


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
