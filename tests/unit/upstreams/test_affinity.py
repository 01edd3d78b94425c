"""Prompts that begin alike go to the same server, while it has room."""

import random
from collections import Counter
from typing import Any

import pytest

from gateway.clock import ManualClock
from gateway.config import Config, Model, Upstream
from gateway.fleet.contract import Load
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.affinity import beginning
from gateway.upstreams.pool import UpstreamPool
from tests.fixtures.ledger import Log


def pool_of(count: int, affinity: str = "prefix", *, first: int = 1) -> UpstreamPool:
    urls = tuple(f"http://127.0.0.1:{number}/v1" for number in range(first, first + count))
    settings = Upstream(base_urls=urls, affinity=affinity, models={"m": Model(size="small", free=True)})  # type: ignore[arg-type]  # one of two words
    return UpstreamPool.build(
        Config(upstreams={"up": settings}), ManualClock(), lambda: 0.5, Log().logger, Metrics()
    )


def chat(system: str | list[dict[str, Any]], *turns: str) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(turns)
    said = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
    return {"model": "m", "messages": [{"role": "system", "content": system}, *said]}


def chosen(pool: UpstreamPool, body: dict[str, Any], tenant: str = "acme") -> str:
    with pool.attempt("up", tenant, body) as pooled:
        assert pooled.endpoint
        return pooled.endpoint.name


def test_what_begins_alike_goes_to_the_same_server() -> None:
    pool = pool_of(4)

    names = {chosen(pool, chat("You are terse.", "Hello", *["and then?"] * turns)) for turns in range(20)}

    assert len(names) == 1


@pytest.mark.parametrize(
    "body",
    [
        chat("You are terse.", "Bye"),
        chat("You are kind.", "Hello"),
        {"model": "m", "prompt": "Hello"},
        {"model": "m", "prompt": [1, 2, 3]},
    ],
)
def test_what_begins_otherwise_has_another_key(body: dict[str, Any]) -> None:
    assert beginning("acme", body) != beginning("acme", chat("You are terse.", "Hello"))


def test_tenants_have_keys_of_their_own() -> None:
    body = chat("You are terse.", "Hello")

    assert beginning("acme", body) != beginning("umbra", body)


@pytest.mark.parametrize(
    "body",
    [
        chat([{"type": "text", "text": "You are terse."}], "Hello"),
        {"model": "m", "system": "You are terse.", "messages": [{"role": "user", "content": "Hello"}]},
        chat("You are terse.", "Hello", "Hi", "And now?"),
        {**chat("You are terse.", "Hello"), "temperature": 1},
    ],
)
def test_the_form_of_the_request_does_not_matter(body: dict[str, Any]) -> None:
    assert beginning("acme", body) == beginning("acme", chat("You are terse.", "Hello"))


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [None, 1, {"role": "user"}, {"role": "user", "content": [{"image_url": {}}, None]}]},
        {"messages": [{"role": "system", "content": "\ud800"}]},
        {"prompt": [["a"], 1.5, None]},
        {"prompt": {}},
    ],
)
def test_nonsense_has_a_key_too(body: dict[str, Any]) -> None:
    assert beginning("acme", body)


def test_what_generates_nothing_has_none() -> None:
    assert beginning("acme", {"model": "m", "input": "Hello"}) is None


def test_the_prompts_are_shared_out_evenly() -> None:
    pool = pool_of(4)

    names = Counter(chosen(pool, chat("You are terse.", f"Question {number}")) for number in range(2000))

    assert len(names) == 4
    assert all(400 < count < 600 for count in names.values())


def test_a_server_that_comes_takes_only_its_own_share_of_the_prompts() -> None:
    before, after = pool_of(3), pool_of(4)
    bodies = [chat("You are terse.", f"Question {number}") for number in range(1000)]

    moved = [(chosen(before, body), chosen(after, body)) for body in bodies]

    assert {new for old, new in moved if old != new} == {"127.0.0.1:4"}
    assert 180 < sum(old != new for old, new in moved) < 320


def test_a_preferred_server_that_is_much_fuller_than_the_others_is_passed_over() -> None:
    pool, body = pool_of(4), chat("You are terse.", "Hello")
    attempts = [pool.attempt("up", "acme", body) for _ in range(16)]

    names = Counter(attempt.__enter__().endpoint.name for attempt in attempts)  # type: ignore[union-attr]  # there is one

    assert len(names) == 4
    assert max(names.values()) == 5  # 1.25 times the average of four


def test_a_free_place_is_taken_whatever_the_others_do() -> None:
    pool, body = pool_of(4), chat("You are terse.", "Hello")
    for endpoint in pool.endpoints():
        endpoint.tell(Load(slots=16))
    attempts = [pool.attempt("up", "acme", body) for _ in range(16)]

    names = Counter(attempt.__enter__().endpoint.name for attempt in attempts)  # type: ignore[union-attr]  # there is one

    assert list(names.values()) == [16]


class Remembering:
    """A server with room for so many conversations, the latest."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._known: list[int] = []

    def hears(self, conversation: int) -> bool:
        """Whether it remembers it."""
        is_known = conversation in self._known
        if is_known:
            self._known.remove(conversation)
        self._known = [*self._known, conversation][-self._room :]
        return is_known


@pytest.mark.parametrize(("affinity", "least", "most"), [("none", 0.2, 0.5), ("prefix", 0.85, 1.0)])
def test_conversations_find_their_prefix_again(affinity: str, least: float, most: float) -> None:
    """Eight turns each of 300 conversations, 40 of them at a time, four servers that remember 15 each."""
    pool, chance = pool_of(4, affinity), random.Random(7)
    servers = {endpoint.name: Remembering(15) for endpoint in pool.endpoints()}
    waiting, going = list(range(300)), Counter[int]()
    hits = asked = 0
    while waiting or going:
        while waiting and len(going) < 40:
            going[waiting.pop()] = 0
        conversation = chance.choice(sorted(going))
        name = chosen(pool, chat("You are terse.", f"Question {conversation}"))
        is_known = servers[name].hears(conversation)
        if going[conversation]:
            asked, hits = asked + 1, hits + is_known
        going[conversation] += 1
        if going[conversation] == 8:
            del going[conversation]

    assert least < hits / asked < most
