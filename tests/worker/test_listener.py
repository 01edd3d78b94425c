"""The Unix socket: whose it is, what it replaces, and what it leaves behind."""

import socket
import stat
from pathlib import Path

import pytest

from workers.errors import ConfigError
from workers.listener import listen_unix

pytestmark = pytest.mark.fault("A24")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.sock"


def test_only_its_user_may_open_it_and_it_goes_with_the_process(path: Path) -> None:
    listener = listen_unix(path)
    mode = stat.S_IMODE(path.stat().st_mode)

    listener.close()

    assert mode == 0o600
    assert not path.exists()


def test_what_a_dead_process_left_behind_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    listener = listen_unix(path)

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_where_somebody_listens_it_is_refused(path: Path) -> None:
    first = listen_unix(path)

    with pytest.raises(ConfigError, match="another process listens on --uds"):
        listen_unix(path)

    assert path.exists()
    first.close()


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")

    with pytest.raises(ConfigError, match="is no socket"):
        listen_unix(path)

    assert path.read_text() == "precious"


@pytest.mark.parametrize("place", ["missing/worker.sock", "w" * 120])
def test_a_place_that_cannot_be_is_said_in_one_line(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on --uds") as caught:
        listen_unix(tmp_path / place)

    assert "\n" not in str(caught.value)


def test_a_successor_in_the_same_place_keeps_its_socket(path: Path) -> None:
    first = listen_unix(path)
    path.rename(path.with_suffix(".old"))
    second = listen_unix(path)

    first.close()

    assert path.exists()
    second.close()
