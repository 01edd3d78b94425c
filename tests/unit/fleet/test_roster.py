import stat

import pytest

from gateway.fleet.contract import Endpoint, Roster
from gateway.fleet.roster import read, roster_path, write

TWO = Roster(
    worker="big",
    endpoints=(
        Endpoint(name="big-1", url="http://worker/v1", socket="/run/big-1.sock"),
        Endpoint(name="big-2", url="http://127.0.0.1:8001/v1"),
    ),
)


def test_what_is_written_is_read(tmp_path):
    path = roster_path(tmp_path, "big")

    write(path, TWO)

    assert read(path) == TWO
    assert path == tmp_path / "run" / "big.json"


def test_it_is_for_its_owner_only(tmp_path):
    path = roster_path(tmp_path, "big")

    write(path, TWO)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_new_one_takes_the_place_of_the_old_one_in_one_step(tmp_path):
    path = roster_path(tmp_path, "big")
    write(path, TWO)

    with path.open("rb") as held:
        write(path, Roster(worker="big", endpoints=()))
        old = held.read()

    assert b"big-2" in old
    assert read(path) == Roster(worker="big", endpoints=())
    assert [file.name for file in path.parent.iterdir()] == ["big.json"]


def test_what_a_crash_left_behind_is_no_hindrance(tmp_path):
    path = roster_path(tmp_path, "big")
    path.parent.mkdir()
    path.with_name(".big.json.new").write_text("half of")

    write(path, TWO)

    assert read(path) == TWO


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"worker": 1}', b"\xff\xfe"])
def test_what_is_not_there_or_cannot_be_read_is_none(tmp_path, content):
    path = tmp_path / "big.json"
    if content is not None:
        path.write_bytes(content)

    assert read(path) is None
