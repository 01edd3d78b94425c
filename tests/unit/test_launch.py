"""From a worker in the configuration to a process on this machine: its socket, GPUs, key, health and load."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import msgspec
import pytest

from gateway.cli.child import Child
from gateway.cli.knock import Door, NoAnswerError, get
from gateway.cli.launch import LocalLauncher, WorkerProcess, with_key, worker_options
from gateway.cli.supervisor import EVERY_S
from gateway.clock import SystemClock
from gateway.config import Worker, parse
from gateway.fleet.roster import read, roster_path

CONFIG = """
data_dir: {folder}
upstreams:
  own: {{worker: own, models: {{own: {{size: small, free: true}}}}}}
workers:
  own: {{model: {folder}/model.gguf, serves: [own], {more}}}
"""
LIMIT_S = 5.0


def settings(folder: Path, more: str = "") -> Worker:
    return with_key(parse(CONFIG.format(folder=folder, more=more)), "own")


def launched(folder: Path, more: str = "", gpus: tuple[str, ...] = ()) -> WorkerProcess:
    return LocalLauncher(folder, SystemClock()).launch("own-1", settings(folder, more), gpus)


def test_a_worker_without_a_port_has_a_socket_and_a_key_of_its_own(tmp_path: Path) -> None:
    process = launched(tmp_path)

    words = worker_options(settings(tmp_path), process.endpoint.socket)

    assert process.endpoint.socket == str(tmp_path / "run" / "own-1.sock")
    assert words[words.index("--uds") + 1] == process.endpoint.socket
    assert words[words.index("--api-key-file") + 1] == str(tmp_path / "secrets" / "worker-own.key")
    assert "--port" not in words


def test_a_socket_fits_into_the_kernel_s_108_bytes_wherever_the_data_lies(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)

    path = Path(launched(folder).endpoint.socket)

    assert len(os.fsencode(path)) < 108
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path != Path(launched(folder.parent).endpoint.socket)


def test_a_worker_with_a_port_is_as_open_as_the_file_says(tmp_path: Path) -> None:
    process = launched(tmp_path, "port: 8101")

    words = worker_options(settings(tmp_path, "port: 8101"))

    assert process.endpoint.url == "http://127.0.0.1:8101/v1"
    assert words[words.index("--port") + 1] == "8101"
    assert not [word for word in words if word.startswith("--api-key")]


@pytest.mark.parametrize(
    ("more", "device", "split_by_layer"),
    [
        ("gpus: ['2', '3'], gpus_each: 2, engine: transformers", "cuda", False),
        ("gpus: ['2', '3'], gpus_each: 2, engine: transformers, device: split", "split", True),
    ],
)
def test_several_gpus_share_one_model(tmp_path: Path, more: str, device: str, split_by_layer: bool) -> None:
    worker = msgspec.structs.replace(settings(tmp_path, more), model=str(tmp_path))

    words = worker_options(worker, "worker.sock")

    assert words[words.index("--device") + 1] == device
    assert split_by_layer or words[words.index("--tensor-parallel") + 1] == "2"
    assert split_by_layer == ("--tensor-parallel" not in words)


def test_a_spot_machine_has_time_to_be_noticed(tmp_path: Path) -> None:
    words = worker_options(settings(tmp_path, "spot: aws"), "worker.sock")

    assert words[words.index("--spot") + 1] == "aws"
    assert float(words[words.index("--lame-duck") + 1]) > EVERY_S


def test_a_process_sees_the_gpus_that_are_its_own(tmp_path: Path) -> None:
    child = Child(
        "child",
        ["/bin/sh", "-c", "echo $CUDA_VISIBLE_DEVICES"],
        log=tmp_path / "logs" / "child.log",
        door=Door(),
        stop_s=LIMIT_S,
        clock=SystemClock(),
        settings={"CUDA_VISIBLE_DEVICES": "2,3"},
    )
    child.start()
    while child.exit_code is None:
        pass

    assert child.last_lines(1) == ["2,3"]
    assert child.pid is None


def test_a_new_file_at_the_same_path_is_another_recipe(tmp_path: Path) -> None:
    launcher, worker = LocalLauncher(tmp_path, SystemClock()), settings(tmp_path)
    model = tmp_path / "model.gguf"
    model.write_bytes(b"one")
    before = launcher.recipe(worker)
    more = msgspec.structs.replace(worker, replicas=3, drain_s=5.0, rollout="stop_first")
    assert launcher.recipe(more) == before

    model.write_bytes(b"other")

    assert launcher.recipe(worker) != before


def test_what_a_run_before_left_behind_is_taken_away(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path, SystemClock())
    launcher.publish("own", [launched(tmp_path).endpoint])
    (tmp_path / "run" / "own-7.sock").touch()
    roster = read(roster_path(tmp_path, "own"))
    assert roster is not None
    assert [each.name for each in roster.endpoints] == ["own-1"]

    launcher.clear()

    assert list((tmp_path / "run").iterdir()) == []


class FakeWorker(BaseHTTPRequestHandler):
    status = 200
    body = b"weighbridge_worker_running 3\nweighbridge_worker_slots 4\n"

    def do_GET(self) -> None:
        is_known = self.headers.get("authorization") == "Bearer secret"
        self.send_response(self.status if self.path == "/readyz" or is_known else 401)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def listening(path: str, **answer: object) -> Iterator[None]:
    Path(path).parent.mkdir(exist_ok=True)
    handler = type("Handler", (FakeWorker,), answer)
    with UnixStreamServer(path, handler) as server:
        server.get_request = lambda: (server.socket.accept()[0], ("worker", 0))  # type: ignore[method-assign]  # names no peer otherwise
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        ({}, "ready"),
        ({"status": 503}, "unready"),
        ({"status": 503, "body": b'{"error":{"code":"draining"}}'}, "leaving"),
    ],
)
def test_health_is_asked_over_the_socket(tmp_path: Path, answer: dict[str, object], health: str) -> None:
    process = launched(tmp_path)
    assert process.health() == "silent"

    with listening(process.endpoint.socket, **answer):
        assert process.health() == health


def test_the_load_is_read_with_the_key(tmp_path: Path) -> None:
    process = launched(tmp_path)
    (tmp_path / "secrets").mkdir()
    with listening(process.endpoint.socket):
        assert process.load() is None

        (tmp_path / "secrets" / "worker-own.key").write_text("secret\n")
        load = process.load()

    assert load is not None
    assert (load.running, load.slots, load.queued) == (3, 4, None)


def test_a_page_without_an_end_is_given_up(tmp_path: Path) -> None:
    path = str(tmp_path / "worker.sock")
    with listening(path), pytest.raises(NoAnswerError):
        get(Door(socket=path), "/readyz", clock=SystemClock(), limit_s=LIMIT_S, max_bytes=10)


def test_whoever_takes_the_call_and_says_nothing_is_silent(tmp_path: Path) -> None:
    path = str(tmp_path / "worker.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        with pytest.raises(NoAnswerError):
            get(Door(socket=path), "/readyz", clock=SystemClock(), limit_s=0.05)
