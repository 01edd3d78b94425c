"""Our gateway with everything on, as the processes that users start, and the audit of its ledger."""

import json
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from errors import BenchError
from load import Billed, MockUpstream
from processes import Process, free_port
from targets import Target

# USD per million tokens, input and output. A millionth of a dollar per million tokens is a pico-dollar per token, and
# these are whole nano-dollars per token: the expected cost has nothing to round.
PRICES = {
    "small": ("0.05", "0.20"),
    "medium": ("0.15", "0.60"),
    "large": ("0.50", "1.50"),
    "cloud": ("2.50", "10.00"),
}
LIMITS = {
    "requests_per_minute": 1_000_000,
    "tokens_per_minute": 1_000_000_000,
    "concurrency": 1_000,
    "requests_per_month": 1_000_000_000,
    "budget_usd_per_month": "1000000",
}
"""Of the tenant (by its tier) and of the user. The key has a rate and a budget."""
SETTLE_TIMEOUT_S = 60.0


def start(
    upstream: MockUpstream,
    folder: Path,
    *,
    name: str = "weighbridge",
    checkout: Path | None = None,
    second: MockUpstream | None = None,
) -> Target:
    """Everything on: keys, every limit and budget set (far above what the load needs), cache, journal, ledger.

    From another checkout, on the same interpreter and packages, if one is given. With a `second`, both are servers of
    one upstream that is our own.
    """
    port, admin_port = free_port(), free_port()
    folder.mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(json.dumps(_config(upstream, second, port, admin_port, folder)))  # JSON is YAML
    key = _make_key(
        config,
        checkout,
        "--tenant",
        "bench",
        "--user",
        "load",
        "--tier",
        "bench",
        "--budget-usd",
        "1000000",
        "--rpm",
        "1000000",
    )
    admin_key = _make_key(config, checkout, "--role", "admin")
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
    process = Process(name, command, cwd=checkout)
    process.wait_for_port(port, timeout_s=30)
    process.wait_for_port(admin_port, timeout_s=30)
    _limit_user(admin_port, admin_key)
    ledger = Ledger(folder / "data" / "weighbridge.db")
    return Target(name, port, key=key, process=process, books=ledger)


def _config(
    upstream: MockUpstream, second: MockUpstream | None, port: int, admin_port: int, folder: Path
) -> dict[str, object]:
    where: dict[str, object] = {"base_url": upstream.base_url}
    if second is not None:
        where = {"base_urls": [upstream.base_url, second.base_url], "is_worker": True}
    models = {
        size: {"size": size, "price": {"input": price[0], "output": price[1]}, "context_window": 32_768}
        for size, price in PRICES.items()
    }
    return {
        "data_dir": str(folder / "data"),
        "server": {"port": port, "admin_port": admin_port},
        "upstreams": {"mock": {**where, "models": models}},
        "tiers": {
            "bench": {
                "priority": 20,
                **LIMITS,
            }
        },
    }


def _make_key(config: Path, checkout: Path | None, *options: str) -> str:
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "keys",
        "create",
        "--config",
        str(config),
        "--json",
        *options,
    ]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise BenchError(f"weighbridge: no key could be made: {done.stderr.strip()}")
    return str(json.loads(done.stdout)["key"])


def _limit_user(admin_port: int, admin_key: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin_port}/admin/tenants/bench/users/load",
        data=json.dumps({"limits": LIMITS}).encode(),
        headers={"Authorization": f"Bearer {admin_key}", "Content-Type": "application/json"},
        method="PATCH",
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as exc:
        raise BenchError(f"weighbridge: the user's limits could not be set: {exc.read().decode()}") from exc


class Ledger:
    """Reads the ledger's file beside the gateway and compares it with the upstream's bill: replies from the cache have
    an entry, and cost nothing."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.entries = 0
        """Found equal to the upstream's bill so far; `cost` likewise."""
        self.cost = 0
        self._of_model: dict[str, tuple[Billed, int]] = {}

    def reconcile(self, answered: int, billed: dict[str, Billed]) -> None:
        """Wait until the ledger has an entry for each answer; then tokens and money must be the upstream's, by model."""
        for count in self._counts():
            if count >= self.entries + answered:
                break
        if count != self.entries + answered:
            raise BenchError(
                f"weighbridge: {answered} answers, but {count - self.entries} new entries in the ledger"
            )
        now = self._by_model()
        for model in now.keys() | {name for name, each in billed.items() if each.requests}:
            self._compare(model, now.get(model, NOTHING), billed.get(model, Billed()))
        self.entries, self._of_model = count, now
        self.cost = sum(cost for _, cost in now.values())

    def _compare(self, model: str, now: tuple[Billed, int], expected: Billed) -> None:
        before, cost_before = self._of_model.get(model, NOTHING)
        got, cost = now[0] - before, now[1] - cost_before
        input_price, output_price = (round(float(usd) * 1000) for usd in PRICES[model])
        expected_cost = expected.input * input_price + expected.output * output_price
        if got != expected or cost != expected_cost:
            raise BenchError(
                f"weighbridge: {model}: the ledger has {got} for {cost} nano-dollars, the upstream billed {expected},"
                f" which is {expected_cost} nano-dollars"
            )

    def _counts(self) -> Iterator[int]:
        until = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < until:
            yield self._query("SELECT count(*) FROM entries")[0][0]
            time.sleep(0.1)

    def _by_model(self) -> dict[str, tuple[Billed, int]]:
        rows = self._query(
            "SELECT model, sum(is_paid), sum(is_paid * (input_tokens + cached_input_tokens)),"
            " sum(is_paid * (output_tokens + reasoning_tokens)), sum(cost)"
            " FROM (SELECT *, NOT is_cache_hit AS is_paid FROM entries) GROUP BY model"
        )
        return {model: (Billed(*counts), cost) for model, *counts, cost in rows}

    def _query(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(sql).fetchall()


NOTHING = (Billed(), 0)
