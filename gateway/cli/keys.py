"""`weighbridge keys`: make, list and revoke."""

import argparse
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

import msgspec

from gateway.cli.accounts import actor, opened_accounts
from gateway.cli.table import print_table
from gateway.errors import ConfigError
from gateway.ledger.account_records import Role
from gateway.ledger.accounts import Accounts
from gateway.ledger.period import PeriodError, moment
from gateway.ledger.views import key_view, operator_view
from gateway.money import nano_usd
from gateway.values import Limits


def create(args: argparse.Namespace) -> int:
    if (args.tenant is None) == (args.role is None):
        raise ConfigError(
            "keys create: give either --tenant (an app's key) or --role (for the admin listener)"
        )
    limits, expires_ms = _limits(args), _expires(args)
    with opened_accounts(args) as accounts:
        made = _operator(args, accounts) if args.role else _key(args, accounts, limits, expires_ms)
    if args.json:
        print(msgspec.json.encode(made).decode())
        return 0
    print(made["key"])
    print(f"\n{made['id']}: shown this once; only its hash is kept.", flush=True)
    return 0


def list_(args: argparse.Namespace) -> int:
    with opened_accounts(args) as accounts:
        rows = [key_view(key) for key in accounts.all_keys(args.tenant)]
        if args.tenant is None:
            rows += [
                {**operator_view(operator), "tenant": "-", "user": operator.role, "expires_at": None}
                for operator in accounts.operators.all()
            ]
    if args.json:
        print(msgspec.json.encode(rows).decode())
    else:
        print_table(rows, ("id", "tenant", "user", "label", "created_at", "expires_at", "revoked_at"))
    return 0


def revoke(args: argparse.Namespace) -> int:
    with opened_accounts(args) as accounts:
        is_operator = args.key in {operator.id for operator in accounts.operators.all()}
        view = (
            operator_view(accounts.operators.revoke(args.key, actor=actor()))
            if is_operator
            else key_view(accounts.revoke_key(args.key, actor=actor()))
        )
    if args.json:
        print(msgspec.json.encode(view).decode())
    else:
        print(f"{args.key}: revoked; running gateways know within seconds.")
    return 0


def _key(
    args: argparse.Namespace, accounts: Accounts, limits: Limits, expires_ms: int | None
) -> dict[str, Any]:
    known = {tenant.id for tenant in accounts.all_tenants()}
    if args.tenant not in known:
        if args.tier is None:
            raise ConfigError(f"keys create: there is no tenant {args.tenant!r}; --tier PLAN makes it")
        accounts.create_tenant(args.tenant, tier=args.tier, actor=actor())
    elif args.tier is not None and accounts.tenant(args.tenant).tier != args.tier:
        raise ConfigError(
            f"keys create: tenant {args.tenant!r} is on the plan {accounts.tenant(args.tenant).tier!r}; "
            "PATCH /admin/tenants changes that"
        )
    issued = accounts.create_key(
        args.tenant, user_id=args.user, label=args.name, limits=limits, expires_ms=expires_ms, actor=actor()
    )
    return {**key_view(issued.key), "key": issued.text}


def _operator(args: argparse.Namespace, accounts: Accounts) -> dict[str, Any]:
    role: Role = next(role for role in get_args(Role) if role == args.role)
    issued = accounts.operators.create(role, label=args.name, actor=actor())
    return {**operator_view(issued.operator), "key": issued.text}


def _limits(args: argparse.Namespace) -> Limits:
    if args.budget_usd is None:
        return Limits(requests_per_minute=args.rpm)
    try:
        budget = nano_usd(Decimal(args.budget_usd))
    except (InvalidOperation, ValueError) as exc:
        raise ConfigError(f"--budget-usd: {args.budget_usd!r} is not an amount such as 20 or 0.50") from exc
    return Limits(requests_per_minute=args.rpm, budget_per_month=budget)


def _expires(args: argparse.Namespace) -> int | None:
    try:
        return moment(args.expires)
    except PeriodError as exc:
        raise ConfigError(f"--expires: {exc}") from exc
