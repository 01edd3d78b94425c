"""deploy/keda: held against the program's own figures and configuration. KEDA itself is not asked."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Autoscale
from gateway.fleet.contract import Load
from gateway.fleet.load import parse
from gateway.telemetry.metrics import Metrics
from workers import metrics as worker
from workers.options import parser
from workers.slots import Slots

KEDA = Path(__file__).parents[2] / "deploy" / "keda"
SCALED = sorted(path.name for path in KEDA.glob("*-by-*.yaml"))
SERVED = ["worker.yaml", "vllm.yaml"]


def scaled(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((KEDA / name).read_text()))


def triggers(name: str) -> list[dict[str, Any]]:
    return list(scaled(name)["spec"]["triggers"])


def objects(name: str) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all((KEDA / name).read_text())}


def pod(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = objects(name)["Deployment"]["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def replicas(name: str, *values: float) -> int:
    """What the autoscaler of Kubernetes makes of these answers to the triggers' queries, in their order."""
    spec = scaled(name)["spec"]
    asked = [
        math.ceil(value / float(trigger["metadata"]["threshold"]))
        for value, trigger in zip(values, spec["triggers"], strict=True)
    ]
    return int(min(max(*asked, spec["minReplicaCount"]), spec["maxReplicaCount"]))


def figures_of_ours() -> set[str]:
    gateway, slots = Metrics(), Slots(4, max_waiting=4, max_wait_s=1, age_s=1, now_s=lambda: 0.0)
    gateway.desired_replicas["local"] = 1
    page = gateway.render() + worker.Metrics(slots).render(None)
    return set(re.findall(r"^(\w+)", page.decode(), re.MULTILINE))


@pytest.mark.parametrize("name", SCALED)
def test_every_trigger_asks_prometheus_and_is_afraid_of_no_answer(name: str) -> None:
    for trigger in triggers(name):
        assert trigger["type"] == "prometheus"
        assert trigger["metricType"] == "AverageValue"
        assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold", "ignoreNullValues"}
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert trigger["metadata"]["ignoreNullValues"] == "false"


@pytest.mark.parametrize("name", SCALED)
def test_triggers_of_one_target_have_names_of_their_own(name: str) -> None:
    names = [trigger["name"] for trigger in triggers(name)]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", SCALED)
def test_a_lost_source_of_figures_stops_no_server(name: str) -> None:
    spec = scaled(name)["spec"]

    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


@pytest.mark.parametrize("name", SCALED)
def test_more_servers_come_at_once_and_fewer_later(name: str) -> None:
    behaviour = scaled(name)["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]

    assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 60


@pytest.mark.parametrize("name", SCALED)
def test_the_target_is_a_deployment_of_this_folder_that_says_no_number_itself(name: str) -> None:
    deployment = objects(f"{name.partition('-')[0]}.yaml")["Deployment"]

    assert scaled(name)["spec"]["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize("name", SCALED)
def test_the_figures_that_are_asked_for_exist(name: str) -> None:
    queries = " ".join(trigger["metadata"]["query"] for trigger in triggers(name))

    assert set(re.findall(r"\bweighbridge_\w+", queries)) <= figures_of_ours()
    for figure in re.findall(r"\bvllm:\w+", queries):
        assert parse("vllm", f'{figure}{{model_name="m"}} 0.5\n') != Load(), figure


@pytest.mark.parametrize("name", ["worker-by-gateway.yaml", "vllm-by-gateway.yaml"])
def test_the_gateway_s_number_is_taken_as_it_is(name: str) -> None:
    assert [replicas(name, desired) for desired in (0, 1, 4, 10, 25)] == [1, 1, 4, 10, 10]


def test_workers_by_their_own_figures_are_as_many_as_carry_the_work_at_the_target() -> None:
    target = triggers("worker-by-itself.yaml")[0]["metadata"]["threshold"]

    assert float(target) == Autoscale(max=1).target
    assert [replicas("worker-by-itself.yaml", work, work) for work in (0, 1.7, 3.5, 9.5)] == [1, 2, 5, 10]
    assert replicas("worker-by-itself.yaml", 1.0, 4.2) == 5


def test_vllm_is_scaled_by_the_places_that_it_is_started_with() -> None:
    _, container = pod("vllm.yaml")
    places = next(int(each.partition("=")[2]) for each in container["args"] if "max-num-seqs" in each)
    usual, burst, memory = triggers("vllm-by-itself.yaml")

    assert int(usual["metadata"]["threshold"]) == math.floor(places * Autoscale(max=1).target)
    assert int(burst["metadata"]["threshold"]) == places
    assert float(memory["metadata"]["threshold"]) == Autoscale(max=1).target


@pytest.mark.parametrize("name", SERVED)
def test_what_runs_may_end_before_a_pod_is_killed(name: str) -> None:
    spec, container = pod(name)
    options: dict[str, str] = dict(each.removeprefix("--").split("=") for each in container["args"])
    wait = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])[1]
    leaving = float(options.get("lame-duck", wait))
    draining = float(options.get("drain") or options["shutdown-timeout"])

    assert leaving >= 10
    assert draining >= 60
    assert spec["terminationGracePeriodSeconds"] > leaving + draining


@pytest.mark.parametrize("name", SERVED)
def test_a_server_is_found_by_a_headless_service_once_it_is_ready(name: str) -> None:
    _, container = pod(name)
    kinds = objects(name)
    service = kinds["Service"]["spec"]

    assert service["clusterIP"] == "None"
    assert service["selector"] == kinds["Deployment"]["spec"]["selector"]["matchLabels"]
    assert container["readinessProbe"]["httpGet"]["path"] == (
        "/readyz" if name == "worker.yaml" else "/health"
    )
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_worker_s_options_are_those_that_it_has() -> None:
    _, container = pod("worker.yaml")

    options = parser().parse_args(container["args"])

    assert (options.lame_duck, options.drain) == (15, 120)
    assert options.port == container["ports"][0]["containerPort"]
