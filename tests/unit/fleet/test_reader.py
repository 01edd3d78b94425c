"""How servers' loads are read, when they count as unknown, and what a policy is told of them."""

import asyncio

import pytest

from gateway.clock import ManualClock
from gateway.config import parse
from gateway.fleet.contract import Load
from gateway.fleet.reader import AT_ONCE, STALE_S, LoadReader, Outlook, metrics_url
from tests.fixtures.fleet import Fleet, Server
from tests.fixtures.ledger import Log


async def test_each_server_is_asked_at_its_own_page_by_its_own_engine():
    servers = [
        Server(),
        Server("ours", url="http://worker/v1", answer="weighbridge_worker_slots 4\n"),
        Server("moved", answer="tgi_queue_size 2\n"),
        Server("cloud"),
    ]

    await Fleet(*servers).read()

    assert [server.asked for server in servers] == [
        ["http://127.0.0.1:8000/metrics"],
        ["http://worker/metrics"],
        ["http://127.0.0.1:9100/tgi"],
        [],
    ]
    assert [server.load for server in servers] == [Load(queued=3), Load(slots=4), Load(queued=2), None]


@pytest.mark.parametrize(
    ("base_url", "page"),
    [
        ("http://h:8000/v1", "http://h:8000/metrics"),
        ("http://h:8000/v1/", "http://h:8000/metrics"),
        ("https://h/llm/v1", "https://h/llm/metrics"),
        ("http://[::1]:8000", "http://[::1]:8000/metrics"),
    ],
)
def test_the_page_is_beside_the_version(base_url, page):
    assert metrics_url(base_url) == page


async def test_what_was_told_counts_for_three_periods_and_then_is_unknown():
    server = Server()
    fleet = Fleet(server)
    await fleet.read()

    server.answer = None
    await fleet.read(after_s=STALE_S)
    assert (server.load, fleet.reader.outlook("big")) == (Load(queued=3), Outlook(3, None))

    await fleet.read(after_s=0.1)
    assert (server.load, fleet.reader.outlook("big")) == (None, Outlook())


async def test_a_page_that_tells_nothing_is_as_good_as_none():
    server = Server(answer="<html>404</html>")
    fleet = Fleet(server)

    await fleet.read()

    assert server.load is None
    assert fleet.reader.outlook("big") == Outlook()


async def test_a_server_that_is_gone_is_forgotten():
    fleet = Fleet(Server(), Server(name="two", answer="vllm:num_requests_waiting 9\n"))
    await fleet.read()

    del fleet.servers[0]
    await fleet.read()

    assert fleet.reader.outlook("big") == Outlook(9)


async def test_the_outlook_is_that_of_the_healthy_server_with_the_least_to_do():
    fleet = Fleet(
        Server(name="down", answer="vllm:num_requests_waiting 0\n", is_healthy=False),
        Server(name="full", answer="vllm:num_requests_waiting 8\nvllm:kv_cache_usage_perc 0.9\n"),
        Server(name="idle", answer="vllm:num_requests_waiting 5\nvllm:kv_cache_usage_perc 0.5\n"),
        Server(name="mute", answer=None),
    )

    await fleet.read()

    assert fleet.reader.outlook("big") == Outlook(5, 0.5)
    assert fleet.reader.outlook("cloud") == Outlook()
    assert fleet.reader.outlook("nobody") == Outlook()


@pytest.mark.parametrize(
    ("page", "sent", "queued"),
    [
        ("vllm:num_requests_waiting 3\n", 4, 7),
        ("vllm:num_requests_waiting 3\n", -5, 0),
        # It has no line, and who knows how many more it can take.
        ("vllm:num_requests_waiting 0\nvllm:num_requests_running 9\n", 4, 0),
    ],
)
async def test_what_this_gateway_has_sent_since_counts_as_waiting_where_others_wait(page, sent, queued):
    server = Server(answer=page, in_flight=5)
    fleet = Fleet(server)
    await fleet.read()

    server.in_flight += sent

    assert fleet.reader.outlook("big").queued == queued


@pytest.mark.parametrize(("sent", "queued"), [(-2, 0), (0, 0), (3, 0), (4, 1), (9, 6)])
async def test_a_server_that_tells_its_places_has_a_line_once_they_are_taken(sent, queued):
    page = "weighbridge_worker_slots 8\nweighbridge_worker_running 5\nweighbridge_worker_queued 0\n"
    server = Server("ours", answer=page, in_flight=5)
    fleet = Fleet(server)
    await fleet.read()

    server.in_flight += sent

    assert fleet.reader.outlook("ours").queued == queued


@pytest.mark.parametrize(("sent", "queued"), [(2, 0), (5, 2)])
async def test_where_some_once_had_to_wait_its_places_are_known(sent, queued):
    server = Server(answer="vllm:num_requests_running 8\nvllm:num_requests_waiting 1\n")
    fleet = Fleet(server)
    await fleet.read()
    server.answer = "vllm:num_requests_running 5\nvllm:num_requests_waiting 0\n"
    await fleet.read()

    server.in_flight += sent

    assert fleet.reader.outlook("big").queued == queued


async def test_a_slow_server_holds_up_none_of_the_others_and_is_not_asked_twice():
    slow, quick = Server(name="slow", gate=asyncio.Event()), Server(name="quick")
    fleet = Fleet(slow, quick)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(fleet.read())
        while not quick.load:
            await asyncio.sleep(0)
        await fleet.read()
        asked, told = (len(slow.asked), len(quick.asked)), fleet.news[0][1]
        slow.gate.set()
        await first

    assert asked == (1, 2)
    assert told["big"] == {"slow": None, "quick": Load(queued=3)}


async def test_no_more_than_so_many_are_asked_at_once():
    gate = asyncio.Event()
    fleet = Fleet(*(Server(name=str(number), gate=gate) for number in range(AT_ONCE + 1)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.reader.read())
        while not fleet.servers[AT_ONCE - 1].asked:
            await asyncio.sleep(0)
        waiting = list(fleet.servers[-1].asked)
        gate.set()

    assert waiting == []
    assert all(server.load for server in fleet.servers)


async def test_a_watcher_hears_of_every_server_and_none_for_what_is_not_news():
    server = Server()
    fleet = Fleet(server, Server(name="mute", answer=None))

    await fleet.read()
    server.answer = None
    await fleet.read()

    told = [news["big"] for _, news in fleet.news]
    assert told == [{"one": Load(queued=3), "mute": None}, {"one": None, "mute": None}]
    assert fleet.news[1][0] - fleet.news[0][0] == 2.0


async def test_who_tells_nothing_is_named_in_the_log_once_and_again_when_it_does():
    server = Server(answer=None)
    fleet = Fleet(server, Server(name="two"))

    await fleet.read()
    await fleet.read()
    server.answer = "vllm:num_requests_waiting 3\n"
    await fleet.read()

    assert fleet.log.lines == [
        {
            "level": "warning",
            "event": "fleet.load_unknown",
            "upstream": "big",
            "endpoint": "one",
            "page": "http://127.0.0.1:8000/metrics",
        },
        {"level": "info", "event": "fleet.load_known", "upstream": "big", "endpoint": "one"},
    ]


async def test_it_ends_when_it_is_cancelled_also_in_the_middle_of_a_page():
    server = Server(gate=asyncio.Event())
    fleet = Fleet(server)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(fleet.reader.run())
        while not server.asked:
            await asyncio.sleep(0)
        running.cancel()

    assert running.cancelled()


async def test_where_nothing_is_to_be_read_it_ends_at_once():
    config = parse(
        "upstreams: {a: {base_url: 'http://127.0.0.1:1/v1', models: {m: {size: small, free: true}}}}"
    )

    await LoadReader(config, list, ManualClock(), lambda: 0.5, lambda *_: None, Log().logger).run()
