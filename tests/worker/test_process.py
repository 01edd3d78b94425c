"""The command: what it refuses to start with, and how it stops."""

import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.fixtures.metadata_service import MetadataService
from tests.fixtures.worker import MODEL, ROOT, Worker, running_worker

BODY = {
    "model": "small",
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "logit_bias": {"2": -100},
}


def start(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workers", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


def test_help_shows_a_command_that_can_be_pasted() -> None:
    result = start("--help")

    assert result.returncode == 0
    assert f"python -m workers --model {MODEL}" in result.stdout


@pytest.mark.fault("C13")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "/nowhere/model.gguf"], "there is no such file"),
        (["--model", "/nowhere/model"], "there is no such file or folder"),
        (["--model", "gpt-5"], "give the path of a .gguf file"),
        (["--model", MODEL, "--host", "0.0.0.0"], "is not loopback: set a key"),
        (["--model", MODEL, "--api-key-file", "/nowhere/key"], "No such file"),
        (["--model", MODEL, "--api-key-env", "NO_SUCH_VARIABLE"], "the key is empty"),
        (["--model", MODEL, "--host", "no.such.host.invalid", "--api-key-env", "HOME"], "--host no.such.host.invalid"),
    ],
)  # fmt: skip
def test_what_cannot_start_says_why_in_one_line(options: list[str], says: str) -> None:
    result = start(*options, "--port", "0")

    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_port_in_use_is_said_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = start("--model", MODEL, "--port", str(port))

    assert result.returncode == 2
    assert (
        result.stderr
        == f"worker: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"
    )


def test_a_socket_has_no_host(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workers", "--model", MODEL, "--uds", str(tmp_path / "worker.sock")]

    result = subprocess.run(
        [*command, "--host", "127.0.0.1"], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )

    assert result.returncode == 2
    assert result.stderr == "worker: --uds takes the place of --host and --port: give one or the other\n"


@pytest.mark.model
def test_a_file_that_is_no_model_is_an_error_of_set_up(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 64)

    result = start("--model", str(broken), "--port", "0")

    assert result.returncode == 2
    assert f"worker: llama.cpp cannot load {broken}" in result.stderr


@pytest.mark.model
@pytest.mark.fault("S22")
def test_sigterm_lets_a_running_answer_finish(tmp_path: Path) -> None:
    with running_worker(tmp_path) as worker, httpx.Client(headers=worker.headers, timeout=60) as client:
        body = BODY | {"stream": True, "max_tokens": 60}
        with client.stream("POST", f"{worker.url}/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            worker.process.send_signal(signal.SIGTERM)
            rest = list(lines)

        assert [line for line in rest if line][-1] == "data: [DONE]"
        assert worker.process.wait(60) == 0


@pytest.mark.model
@pytest.mark.fault("S22")
def test_an_answer_that_outlasts_the_drain_ends_with_an_error(tmp_path: Path) -> None:
    with running_worker(tmp_path, "--drain", "0.2") as worker:
        with httpx.Client(headers=worker.headers, timeout=60) as client:
            body = BODY | {"stream": True, "max_tokens": 900}
            with client.stream("POST", f"{worker.url}/chat/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                worker.process.send_signal(signal.SIGTERM)
                rest = [line for line in lines if line]

        assert '"code":"draining"' in rest[-1]
        assert worker.process.wait(60) == 0


@pytest.mark.model
def test_a_worker_whose_parent_dies_stops_too() -> None:
    parent = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-m', 'workers', '--model', '{MODEL}', '--port', '0', '--die-with-parent']\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
    )

    # The worker inherits standard error, so this returns only when the worker has closed it too.
    result = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, timeout=60, cwd=ROOT, check=False
    )

    assert result.returncode == 0
    assert result.stderr == b""


@pytest.mark.model
@pytest.mark.fault("A24")
def test_a_worker_on_a_unix_socket_is_its_users_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "worker.sock"
    with running_worker(tmp_path, uds=path) as worker, on_socket(path, worker) as client:
        mode = stat.S_IMODE(path.stat().st_mode)
        reply = client.post(f"{worker.url}/chat/completions", json=BODY | {"max_tokens": 2})
        keyless = client.get(f"{worker.url}/models", headers={"authorization": ""})
        code = worker.stop()

    assert mode == 0o600
    assert (reply.status_code, keyless.status_code) == (200, 401)
    assert code == 0
    assert not path.exists()


@pytest.mark.model
@pytest.mark.fault("S22")
def test_a_lame_duck_is_unready_at_once_and_serves_what_still_comes_until_it_is_hurried(
    tmp_path: Path,
) -> None:
    path = tmp_path / "worker.sock"
    with (
        running_worker(tmp_path, "--lame-duck", "600", uds=path) as worker,
        on_socket(path, worker) as client,
    ):
        before = client.get(f"{worker.root}/readyz")
        worker.process.send_signal(signal.SIGTERM)
        while (ready := client.get(f"{worker.root}/readyz")).status_code == 200:
            pass
        reply = client.post(f"{worker.url}/chat/completions", json=BODY | {"max_tokens": 2})
        code = worker.stop()

    assert "connection" not in before.headers
    assert ready.json()["error"]["code"] == "draining"
    assert (reply.status_code, reply.headers["connection"]) == (200, "close")
    assert code == 0


@pytest.mark.model
@pytest.mark.fault("S22")
def test_a_spot_machine_that_is_taken_back_stops_its_worker(
    tmp_path: Path, metadata_service: MetadataService
) -> None:
    metadata_service.pages["/computeMetadata/v1/instance/preempted"] = "FALSE"
    with running_worker(tmp_path, "--spot", "gcp", "--spot-address", metadata_service.url) as worker:
        metadata_service.pages["/computeMetadata/v1/instance/preempted"] = "TRUE"
        code = worker.process.wait(60)

    assert code == 0
    assert '"event": "spot.notice"' in worker.log.read_text()


@pytest.mark.fault("S19")
def test_a_cuda_error_cuts_off_what_runs_and_ends_the_process(tmp_path: Path, tiny_folder: Path) -> None:
    path, module = tmp_path / "worker.sock", ("tests.fixtures.failing_driver", "30")
    with running_worker(tmp_path, model=str(tiny_folder), uds=path, module=module) as worker:
        with on_socket(path, worker) as client:
            body = BODY | {"stream": True, "max_tokens": 500}
            with client.stream("POST", f"{worker.url}/chat/completions", json=body) as response:
                events = [line for line in response.iter_lines() if line]
        code = worker.process.wait(60)

    assert '"code":"internal_error"' in events[-1]
    assert code == 1
    assert not path.exists()
    assert "illegal memory access" in worker.log.read_text()


def on_socket(path: Path, worker: Worker) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), headers=worker.headers, timeout=60)
