"""The store of our own: it comes up, keeps its data, is never there twice, and leaves nothing behind."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.limits.client import StoreClient
from gateway.limits.embedded import EmbeddedStore, server_binary


def _ask(store: EmbeddedStore, *command: str) -> object:
    with redis.Redis.from_url(store.url) as client:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it bare


async def test_it_serves_while_it_is_entered_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with EmbeddedStore(tmp_path / "limits", purpose="limits") as store:
        async with StoreClient(store.url, clock=SystemClock(), timeout_s=5) as client:
            assert await client.execute("PING") == b"PONG"
        pid = store.pid

    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_limits_it_keeps_survives_a_restart_and_is_never_evicted(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, purpose="limits")
    store.start()
    _ask(store, "SET", "a", "1")
    assert _ask(store, "CONFIG", "GET", "maxmemory-policy") == {b"maxmemory-policy": b"noeviction"}
    store.stop()

    store.start()

    assert _ask(store, "GET", "a") == b"1"
    store.stop()


def test_a_cache_is_bounded_and_keeps_nothing(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, purpose="cache", max_mib=3)
    store.start()
    _ask(store, "SET", "a", "1")
    assert _ask(store, "CONFIG", "GET", "maxmemory") == {b"maxmemory": str(3 << 20).encode()}
    assert _ask(store, "CONFIG", "GET", "maxmemory-policy") == {b"maxmemory-policy": b"allkeys-lru"}
    store.stop()

    store.start()

    assert _ask(store, "GET", "a") is None
    store.stop()


def test_a_folder_in_use_is_adopted_and_left_running(tmp_path: Path) -> None:
    owner, guest = (EmbeddedStore(tmp_path, purpose="limits") for _ in range(2))
    owner.start()

    guest.start()
    assert guest.pid is None
    guest.stop()

    assert _ask(owner, "PING") is True
    owner.stop()


@pytest.mark.fault("M16")
def test_one_that_was_killed_starts_again_with_its_data(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, purpose="limits")
    store.start()
    _ask(store, "SET", "a", "1")
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    store.stop()

    store.start()

    assert _ask(store, "GET", "a") == b"1"
    store.stop()


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / ("long" * 30), purpose="cache")
    store.start()

    assert _ask(store, "PING") is True
    assert len(store.url) < 100

    store.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from gateway.limits.embedded import EmbeddedStore\n"
        "store = EmbeddedStore(pathlib.Path(sys.argv[1]), purpose='limits'); store.start()\n"
        "print(store.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)

        parent.kill()
        parent.wait()
        ended, _, _ = select.select([watched], [], [], 10)
        os.close(watched)
    assert ended


def test_a_server_that_does_not_come_up_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("in the way")

    with pytest.raises(ConfigError, match="stopped at once; see") as caught:
        EmbeddedStore(tmp_path, purpose="limits").start()

    assert "\n" not in str(caught.value)


def test_without_any_server_the_message_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="install valkey-server or redis-server"):
        server_binary(package="no_such_wheel", path=str(tmp_path))


def test_a_server_on_the_path_will_do(tmp_path: Path) -> None:
    found = tmp_path / "redis-server"
    found.touch(mode=0o755)

    assert server_binary(package="no_such_wheel", path=str(tmp_path)) == found
