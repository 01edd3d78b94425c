"""Tenants, users, keys, tiers and operators. A key's text is in the answer to its making, and nowhere else."""

from typing import Any

from litestar import Request, delete, get, patch, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.api.admin.bodies import (
    NewKey,
    NewOperator,
    NewTenant,
    NewUser,
    TenantChange,
    TierBody,
    UserChange,
    milliseconds,
)
from gateway.api.operators import actor_of
from gateway.ledger.accounts import Accounts
from gateway.ledger.views import key_view, operator_view, tenant_view, tier_view, user_view

_Request = Request[Any, Any, Any]


def account_handlers(accounts: Accounts) -> list[HTTPRouteHandler]:
    return [
        *_tenants(accounts),
        *_users(accounts),
        *_keys(accounts),
        *_tiers(accounts),
        *_operators(accounts),
    ]


def _tenants(accounts: Accounts) -> list[HTTPRouteHandler]:
    @get("/admin/tenants", sync_to_thread=True)
    def list_tenants() -> list[dict[str, Any]]:
        return [tenant_view(tenant) for tenant in accounts.all_tenants()]

    @post("/admin/tenants", sync_to_thread=True)
    def create_tenant(request: _Request, data: JSONBody[NewTenant]) -> dict[str, Any]:
        tenant = accounts.create_tenant(
            data.id, tier=data.tier, name=data.name, limits=data.limits.changes(), actor=actor_of(request)
        )
        return tenant_view(tenant)

    @get("/admin/tenants/{tenant:str}", sync_to_thread=True)
    def show_tenant(tenant: FromPath[str]) -> dict[str, Any]:
        return tenant_view(accounts.tenant(tenant))

    @patch("/admin/tenants/{tenant:str}", sync_to_thread=True)
    def change_tenant(
        request: _Request, tenant: FromPath[str], data: JSONBody[TenantChange]
    ) -> dict[str, Any]:
        changed = accounts.update_tenant(
            tenant,
            tier=data.tier,
            name=data.name,
            limits=data.limits.changes() if data.limits else None,
            is_active=data.is_active,
            actor=actor_of(request),
        )
        return tenant_view(changed)

    return [list_tenants, create_tenant, show_tenant, change_tenant]


def _users(accounts: Accounts) -> list[HTTPRouteHandler]:
    @get("/admin/tenants/{tenant:str}/users", sync_to_thread=True)
    def list_users(tenant: FromPath[str]) -> list[dict[str, Any]]:
        return [user_view(user) for user in accounts.all_users(tenant)]

    @post("/admin/tenants/{tenant:str}/users", sync_to_thread=True)
    def create_user(request: _Request, tenant: FromPath[str], data: JSONBody[NewUser]) -> dict[str, Any]:
        return user_view(
            accounts.create_user(tenant, data.id, limits=data.limits.limits(), actor=actor_of(request))
        )

    @patch("/admin/tenants/{tenant:str}/users/{user:str}", sync_to_thread=True)
    def change_user(
        request: _Request, tenant: FromPath[str], user: FromPath[str], data: JSONBody[UserChange]
    ) -> dict[str, Any]:
        return user_view(
            accounts.update_user(tenant, user, limits=data.limits.limits(), actor=actor_of(request))
        )

    return [list_users, create_user, change_user]


def _keys(accounts: Accounts) -> list[HTTPRouteHandler]:
    @get("/admin/keys", sync_to_thread=True)
    def list_keys(tenant: FromQuery[str | None] = None) -> list[dict[str, Any]]:
        return [key_view(key) for key in accounts.all_keys(tenant)]

    @post("/admin/keys", sync_to_thread=True)
    def create_key(request: _Request, data: JSONBody[NewKey]) -> dict[str, Any]:
        issued = accounts.create_key(
            data.tenant,
            user_id=data.user,
            label=data.label,
            limits=data.limits.limits(),
            expires_ms=milliseconds(data.expires_at, "expires_at"),
            actor=actor_of(request),
        )
        return {**key_view(issued.key), "key": issued.text}

    @delete("/admin/keys/{key:str}", status_code=200, sync_to_thread=True)
    def revoke_key(request: _Request, key: FromPath[str]) -> dict[str, Any]:
        return key_view(accounts.revoke_key(key, actor=actor_of(request)))

    return [list_keys, create_key, revoke_key]


def _tiers(accounts: Accounts) -> list[HTTPRouteHandler]:
    @get("/admin/tiers", sync_to_thread=True)
    def list_tiers() -> list[dict[str, Any]]:
        return [tier_view(tier) for tier in accounts.tiers.all()]

    @get("/admin/tiers/{tier:str}", sync_to_thread=True)
    def show_tier(tier: FromPath[str]) -> dict[str, Any]:
        return tier_view(accounts.tiers.get(tier))

    @put("/admin/tiers/{tier:str}", sync_to_thread=True)
    def put_tier(request: _Request, tier: FromPath[str], data: JSONBody[TierBody]) -> dict[str, Any]:
        made = data.tier(tier)
        accounts.tiers.put(made, actor=actor_of(request))
        return tier_view(made)

    return [list_tiers, show_tier, put_tier]


def _operators(accounts: Accounts) -> list[HTTPRouteHandler]:
    operators = accounts.operators

    @get("/admin/operators", sync_to_thread=True)
    def list_operators() -> list[dict[str, Any]]:
        return [operator_view(operator) for operator in operators.all()]

    @post("/admin/operators", sync_to_thread=True)
    def create_operator(request: _Request, data: JSONBody[NewOperator]) -> dict[str, Any]:
        issued = operators.create(data.role, label=data.label, actor=actor_of(request))  # type: ignore[arg-type]  # it checks the role itself, with a better message
        return {**operator_view(issued.operator), "key": issued.text}

    @delete("/admin/operators/{operator:str}", status_code=200, sync_to_thread=True)
    def revoke_operator(request: _Request, operator: FromPath[str]) -> dict[str, Any]:
        return operator_view(operators.revoke(operator, actor=actor_of(request)))

    return [list_operators, create_operator, revoke_operator]
