"""Spot machines: how each cloud says that it wants one back, and what the worker does in the time that is left."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from tests.fixtures.metadata_service import MetadataService
from workers.spot import SpotWatch
from workers.stopping import Stop

pytestmark = pytest.mark.fault("S22")

NOW_S = 1_790_000_000.0
"""21 September 2026, 14:13:20 UTC."""
AWS_ACTION = "/latest/meta-data/spot/instance-action"
AWS_RISK = "/latest/meta-data/events/recommendations/rebalance"
GCP_PREEMPTED = "/computeMetadata/v1/instance/preempted"
AZURE_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


def watch(cloud: str, service: MetadataService) -> SpotWatch:
    return SpotWatch(cloud, address=service.url, unix_s=lambda: NOW_S, every_s=0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0)


async def test_aws_tells_when_the_machine_goes_to_who_has_a_token(metadata_service: MetadataService) -> None:
    metadata_service.be_aws()
    metadata_service.pages[AWS_ACTION] = '{"action": "terminate", "time": "2026-09-21T14:15:05Z"}'

    left_s = await watch("aws", metadata_service).notice()

    assert left_s == 105
    assert metadata_service.headers["/latest/api/token"]["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
    assert metadata_service.headers[AWS_ACTION]["x-aws-ec2-metadata-token"] == "secret-token"


@pytest.mark.parametrize("time", ["2026-09-21T15:00:00Z", "soon", ""])
async def test_a_time_that_is_odd_counts_as_the_two_minutes_that_aws_promises(
    metadata_service: MetadataService, time: str
) -> None:
    metadata_service.be_aws()
    metadata_service.pages[AWS_ACTION] = f'{{"action": "stop", "time": "{time}"}}'

    assert await watch("aws", metadata_service).notice() == 120


async def test_awss_word_of_a_risk_is_logged_once_and_the_worker_stays(
    metadata_service: MetadataService,
) -> None:
    metadata_service.be_aws()
    metadata_service.pages[AWS_RISK] = '{"noticeTime": "2026-09-21T14:00:00Z"}'
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            notice = tasks.create_task(watch("aws", metadata_service).notice())
            await until(lambda: bool(logs))
            metadata_service.headers.clear()
            await until(lambda: AWS_RISK in metadata_service.headers)
            is_over = notice.done()
            notice.cancel()

    assert [log["event"] for log in logs] == ["spot.at_risk"]
    assert not is_over


async def test_gcp_is_asked_until_it_says_true(metadata_service: MetadataService) -> None:
    metadata_service.pages[GCP_PREEMPTED] = "FALSE"
    async with asyncio.TaskGroup() as tasks:
        notice = tasks.create_task(watch("gcp", metadata_service).notice())
        await until(lambda: GCP_PREEMPTED in metadata_service.headers)
        metadata_service.pages[GCP_PREEMPTED] = "TRUE"

    assert notice.result() == 30
    assert metadata_service.headers[GCP_PREEMPTED]["metadata-flavor"] == "Google"


async def test_of_azures_events_only_an_eviction_of_this_machine_counts(
    metadata_service: MetadataService,
) -> None:
    def event(kind: str, machine: str) -> str:
        return (
            f'{{"EventId": "1", "EventType": "{kind}", "ResourceType": "VirtualMachine", '
            f'"Resources": ["{machine}"], "EventStatus": "Scheduled", "NotBefore": "Mon, 21 Sep 2026 14:13:45 GMT"}}'
        )

    others = f"{event('Preempt', 'pool_1')}, {event('Freeze', 'pool_7')}"
    metadata_service.pages[AZURE_NAME] = "POOL_7"
    metadata_service.pages[AZURE_EVENTS] = f'{{"DocumentIncarnation": 1, "Events": [{others}]}}'
    async with asyncio.TaskGroup() as tasks:
        notice = tasks.create_task(watch("azure", metadata_service).notice())
        await until(lambda: AZURE_NAME in metadata_service.headers)
        is_over = notice.done()
        own = f"{others}, {event('Preempt', 'pool_7')}"
        metadata_service.pages[AZURE_EVENTS] = f'{{"DocumentIncarnation": 2, "Events": [{own}]}}'

    assert not is_over
    assert notice.result() == 25
    assert metadata_service.headers[AZURE_EVENTS]["metadata"] == "true"


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
async def test_a_service_that_is_not_there_is_one_warning_until_it_is(
    metadata_service: MetadataService, cloud: str
) -> None:
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            notice = tasks.create_task(watch(cloud, metadata_service).notice())
            await until(lambda: bool(logs))
            metadata_service.headers.clear()
            await until(lambda: bool(metadata_service.headers))
            notice.cancel()

    assert [log["event"] for log in logs] == ["spot.service_silent"]


async def test_nonsense_is_no_notice(metadata_service: MetadataService) -> None:
    metadata_service.pages[AZURE_EVENTS] = "<html>"
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            notice = tasks.create_task(watch("azure", metadata_service).notice())
            await until(lambda: bool(logs))
            is_over = notice.done()
            notice.cancel()

    assert not is_over


def test_when_the_machine_goes_running_answers_come_before_the_lame_duck() -> None:
    now_s = 100.0
    plenty, short = Stop(now_s=lambda: now_s), Stop(now_s=lambda: now_s)

    plenty.ask(within_s=120)
    short.ask(within_s=30)

    assert plenty.limit(60, then_s=30) == 60
    assert short.limit(60, then_s=30) == 0
    assert (plenty.limit(30), short.limit(30)) == (30, 25)
