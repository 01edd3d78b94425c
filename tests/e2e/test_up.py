"""`weighbridge up` as a person meets it: processes, exit codes, what stands on the screen, what is left behind."""

import json
import os
import re
import select
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from gateway.config import environment
from tests.fixtures.up_process import LIMIT_S, free_port, left_behind, running

NO_WORKERS = """
data_dir: {folder}
server: {{port: {port}, admin_port: {admin_port}}}
upstreams:
  cloud:
    base_url: http://127.0.0.1:9/v1
    models:
      cloud: {{size: cloud, price: {{input: 1, output: 2}}}}
"""
OWN_WORKER = """
  own:
    base_url: http://127.0.0.1:{port}/v1
    api_key_file: {folder}/data/secrets/own.key
    models:
      own: {{size: small, free: true}}
workers:
  own: {{model: {model}, serves: [own], port: {port}, api_key_file: {folder}/data/secrets/own.key, {more}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Stores and a gateway, without a model."""
    path = tmp_path / "config.yaml"
    path.write_text(NO_WORKERS.format(folder=tmp_path / "data", port=free_port(), admin_port=free_port()))
    return path


def add_worker(config: Path, model: str, more: str = "threads: 1") -> None:
    text = OWN_WORKER.format(port=free_port(), folder=config.parent, model=model, more=more)
    config.write_text(config.read_text() + text.lstrip("\n"))


def wait_for_ends(pids: list[int]) -> None:
    for fd in [os.pidfd_open(pid) for pid in pids]:
        ended, _, _ = select.select([fd], [], [], LIMIT_S)
        os.close(fd)
        assert ended


def test_ctrl_c_stops_everything_and_the_next_run_has_the_same_keys(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config), "--json") as first:
        before = first.facts()

        code = first.stop()

        assert code == 0
        assert first.said[-1] == "weighbridge: stopped"
        assert left_behind(tmp_path) == []
    with running(tmp_path, "--config", str(config), "--json") as second:
        assert second.facts() == before


def test_a_revoked_key_is_replaced(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config), "--json") as first:
        before = first.facts()
        key_id = before["api_key"].split("-")[2]
        admin = {"authorization": f"Bearer {before['admin_key']}"}
        httpx.delete(f"{before['admin_url']}/admin/keys/{key_id}", headers=admin).raise_for_status()
        first.stop()

    with running(tmp_path, "--config", str(config), "--json") as second:
        after = second.facts()

        models = httpx.get(
            f"{after['base_url']}/models", headers={"authorization": f"Bearer {after['api_key']}"}
        )
    assert models.status_code == 200
    assert after["api_key"] != before["api_key"]


def test_two_of_them_do_not_share_a_folder(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config), "--json") as first:
        first.facts()
        (tmp_path / "second").mkdir()

        with running(tmp_path / "second", "--config", str(config)) as second:
            code = second.process.wait(LIMIT_S)

            assert code == 2
            assert len(second.said) == 1
            assert f"already runs in {tmp_path / 'data'} (process {first.process.pid})" in second.said[0]


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with running(tmp_path, "--port", str(port)) as up:
            code = up.process.wait(LIMIT_S)

            assert code == 2
            assert len(up.said) == 1
            assert f"127.0.0.1:{port}" in up.said[0]
            assert "--port N" in up.said[0]
    assert left_behind(tmp_path) == []
    assert not (tmp_path / ".local/share/weighbridge/config.yaml").exists()


def test_a_taken_port_of_a_known_configuration_is_named_with_its_field(tmp_path: Path, config: Path) -> None:
    port = int(re.findall(r"admin_port: (\d+)", config.read_text())[0])

    with (
        socket.create_server(("127.0.0.1", port)),
        running(tmp_path, "--config", str(config)) as up,
    ):
        code = up.process.wait(LIMIT_S)

        assert code == 2
        assert len(up.said) == 1
        assert f"server.admin_port in {config}" in up.said[0]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("size: cloud", "size: huge"), "upstreams.cloud.models.cloud.size"),
        (("server: {", "server: {colour: red, "), "colour"),
        (("upstreams:", "policies: {default: nosuch}\nupstreams:"), "nosuch"),
        (("data_dir", "\tdata_dir"), "not valid YAML"),
    ],
    ids=["value", "field", "policy", "syntax"],
)
def test_a_broken_configuration_is_one_line_and_starts_nothing(
    tmp_path: Path, config: Path, change: tuple[str, str], place: str
) -> None:
    config.write_text(config.read_text().replace(*change))

    with running(tmp_path, "--config", str(config)) as up:
        code = up.process.wait(LIMIT_S)

        errors = [line for line in up.said if not re.match(r"weighbridge: +[0-9.]+ s  ", line)]
        assert code == 2
        assert len(errors) == 1
        assert place in errors[0]
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("model", "more", "problem"),
    [
        ("none.gguf", "threads: 1", "--model {model}: there is no such file or folder"),
        (
            "folder",
            "engine: llamacpp, precision: bf16, device: cpu, kv_gib: 0.5",
            "--engine llamacpp takes a .gguf file, and {model} is none",
        ),
    ],
    ids=["file", "engine"],
)
def test_a_worker_that_cannot_start_is_one_line_and_all_stops(
    tmp_path: Path, config: Path, model: str, more: str, problem: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    add_worker(config, f"{tmp_path}/{model}", more)

    with running(tmp_path, "--config", str(config)) as up:
        code = up.process.wait(LIMIT_S)

        errors = [line for line in up.said if not re.match(r"weighbridge: +[0-9.]+ s  ", line)]
        assert code == 2
        assert errors == [f"weighbridge: worker `own`: own: {problem.format(model=f'{tmp_path}/{model}')}"]
    assert left_behind(tmp_path) == []


@pytest.mark.model
@pytest.mark.fault("S19")
def test_a_worker_that_is_killed_comes_back_and_answers_and_ctrl_c_does_not_wait_for_it(
    tmp_path: Path, config: Path
) -> None:
    add_worker(config, "smollm2-135m-instruct")
    with running(tmp_path, "--config", str(config), "--json") as up:
        facts = up.facts()

        os.kill(up.worker(), signal.SIGKILL)

        up.says("worker `own`: own ended with exit code -9 (Killed); starting it again in 1 s; see ")
        up.says("worker `own`: own is well again")
        reply = httpx.post(
            f"{facts['base_url']}/chat/completions",
            json={"model": "own", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4},
            headers={"authorization": f"Bearer {facts['api_key']}"},
            timeout=LIMIT_S,
        )
        assert reply.status_code == 200, reply.text

        os.kill(up.worker(), signal.SIGKILL)
        up.says("starting it again in 2 s")

        assert up.stop() == 0
        assert up.said[-1] == "weighbridge: stopped"
    assert left_behind(tmp_path) == []


def test_a_part_that_dies_is_named_and_the_rest_is_stopped(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config), "--json") as up:
        up.facts()
        gateway = next(pid for pid, command in up.children().items() if " serve " in command)

        os.kill(gateway, signal.SIGKILL)

        assert up.process.wait(LIMIT_S) == 1
        assert any("gateway: http://" in line and "exit code -9" in line for line in up.said)
        assert up.said[-1] == "weighbridge: stopped"
    assert left_behind(tmp_path) == []


def test_a_store_that_dies_is_named_and_the_rest_is_stopped(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config), "--json") as up:
        up.facts()
        store = next(pid for pid, command in up.children().items() if "/cache/" in command)

        os.kill(store, signal.SIGKILL)

        assert up.process.wait(LIMIT_S) == 1
        assert "weighbridge: the store for cache ended by itself; stopping the rest" in up.said
    assert left_behind(tmp_path) == []


def test_nothing_outlives_it_even_when_it_is_killed(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config), "--json") as up:
        up.facts()
        children = up.children()
        assert len(children) == 3

        up.process.kill()

        wait_for_ends(list(children))


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--config", "nosuch.yaml"], "there is no such file"),
        (["--config", "config.yaml", "--data-dir", "elsewhere"], "not both"),
        (["--config", "config.yaml", "--port", "1"], "change server.port there"),
        (["--data-dir", "/proc/nowhere"], "choose another with --data-dir"),
    ],
)
def test_options_that_cannot_be_met_say_why(
    tmp_path: Path, config: Path, options: list[str], hint: str
) -> None:
    with running(tmp_path, *options) as up:
        code = up.process.wait(LIMIT_S)

        assert code == 2
        assert len(up.said) == 1
        assert hint in up.said[0]


@pytest.mark.model
def test_what_the_first_run_prints_works_when_it_is_pasted(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0", "--admin-port", "0") as up:
        text = up.text()
        exports = "\n".join(re.findall(r"^export .*$", text, re.MULTILINE))
        curl, report_by_curl = re.findall(r"^curl .*$", text, re.MULTILINE)
        python, report = re.findall(r"^'?/.*$", text, re.MULTILINE)

        replies = [paste(tmp_path, exports, line) for line in (curl, python, report, report_by_curl)]

        assert json.loads(replies[0])["choices"][0]["message"]["content"]
        assert replies[1].strip()
        assert re.search(r"^(?:small|medium) +2 ", replies[2], re.MULTILINE)
        assert json.loads(replies[3])["rows"][0]["requests"] == 2
        assert up.stop(signal.SIGTERM) == 0
    assert left_behind(tmp_path) == []


def paste(home: Path, *lines: str) -> str:
    result = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        timeout=LIMIT_S,
        env={"PATH": environment()["PATH"], "HOME": str(home)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
