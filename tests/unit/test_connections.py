"""Who counts as one client when connections are counted."""

import pytest

from gateway.config import Server
from gateway.listener import Door, _client_name


@pytest.mark.fault("S8")
@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_an_ipv6_network_counts_as_one_client(one: str, other: str, are_same: bool) -> None:
    assert (_client_name((one, 1)) == _client_name((other, 2))) is are_same


@pytest.mark.fault("S8")
def test_who_has_left_counts_no_more() -> None:
    server = Server(max_connections=3, max_connections_per_client=2)
    door = Door(server, new_id=lambda: "", on_refusal=lambda _code: None)

    assert [door.enter("a"), door.enter("a"), door.enter("a")] == [True, True, False]
    door.leave("a")
    assert [door.enter("b"), door.enter("c")] == [True, False]
    door.leave("c")
    door.leave("a")
    assert door.enter("a")


def test_without_bounds_everybody_comes_in() -> None:
    server = Server(max_connections=0, max_connections_per_client=0)
    door = Door(server, new_id=lambda: "", on_refusal=lambda _code: None)

    assert all(door.enter("a") for _ in range(10_000))
