"""compose.yaml and what stands in deploy/: held against the program that they run."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import parse
from gateway.telemetry.metrics import Metrics
from gateway.values import Usage
from workers.metrics import Metrics as WorkerMetrics
from workers.slots import Slots

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONFIG = parse((DEPLOY / "compose" / "config.yaml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def gateway_metrics() -> set[str]:
    metrics = Metrics()
    metrics.served(model="m", size="small", status=200, cache="off", seconds=0.1, added=0.001)
    metrics.first_token("m", 0.1)
    metrics.billed("m", Usage(), 0)
    metrics.refused("c")
    metrics.attempted("u", "ok")
    metrics.degraded("p")
    return set(re.findall(r"^(\w+)", metrics.render().decode(), re.MULTILINE))


def worker_metrics() -> set[str]:
    metrics = WorkerMetrics(Slots(1, max_waiting=1, max_wait_s=1, age_s=1, now_s=lambda: 0.0))
    metrics.waited(0, "refused", 0.1)
    return set(re.findall(r"^(\w+)", metrics.render(None).decode(), re.MULTILINE))


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "weighbridge.json").read_text())
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    return [
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def test_both_gateways_are_the_same_but_for_their_ports_and_volumes() -> None:
    first, second = SERVICES["gateway-1"], SERVICES["gateway-2"]

    differing = {field for field in first if first[field] != second.get(field)}

    assert differing == {"ports", "volumes"}


def test_every_secret_that_the_configuration_names_is_in_the_environment() -> None:
    text = (DEPLOY / "compose" / "config.yaml").read_text()

    named = set(re.findall(r"_env: (\w+)", text))

    assert named == set(SERVICES["gateway-1"]["environment"])


def test_the_example_environment_names_every_variable_and_holds_no_value() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if not line.startswith("#")]

    assert {line.removesuffix("=") for line in lines} == wanted


def test_each_worker_serves_what_the_gateways_expect_of_it() -> None:
    for upstream, service in (("local", "worker"), ("cloud", "cloud")):
        command = SERVICES[service]["command"]
        port = command[command.index("--port") + 1]
        served = {name for option, name in pairwise(command) if option == "--serve"}

        assert CONFIG.upstreams[upstream].base_url == f"http://{service}:{port}/v1"
        assert served == set(CONFIG.upstreams[upstream].models)
        assert CONFIG.upstreams[upstream].api_key_env in command


@pytest.mark.fault("M19")
def test_counters_are_never_evicted_and_replies_are() -> None:
    assert "--maxmemory-policy noeviction" in SERVICES["redis"]["command"][-1]
    assert "--appendonly yes" in SERVICES["redis"]["command"][-1]
    assert "--maxmemory-policy allkeys-lru" in SERVICES["redis-cache"]["command"][-1]


def test_nothing_is_published_beyond_the_host() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("expression", expressions())
def test_figures_that_are_shown_or_watched_exist(expression: str) -> None:
    used = set(re.findall(r"\bweighbridge_\w+", expression))

    assert used <= gateway_metrics() | worker_metrics()
    assert used or "up{" in expression
