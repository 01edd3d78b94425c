"""Hears from a cloud that it takes its spot machine back, some seconds before it does.

AWS tells two minutes ahead, and says before when the risk is high; GCP and Azure tell 30 seconds ahead. Each on the
machine's metadata service, which has to be asked again and again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx
import msgspec
import structlog

log = structlog.get_logger()

ADDRESS = "http://169.254.169.254"
"""The same in all three clouds."""
ASK_LIMIT_S = 4.0
AWS_NOTICE_S = 120.0
SHORT_NOTICE_S = 30.0


class Word(NamedTuple):
    """What a cloud says of the machine."""

    left_s: float | None = None
    """None: nobody wants it back."""
    is_at_risk: bool = False


Ask = Callable[[httpx.AsyncClient, Callable[[], float]], Awaitable[Word]]
"""Asks by a client of the metadata service, and the Unix time. Raises httpx.HTTPError and ValueError."""


class SpotWatch:
    def __init__(
        self, cloud: str, *, address: str = ADDRESS, unix_s: Callable[[], float], every_s: float = 2.0
    ) -> None:
        self._cloud = cloud
        self._ask = CLOUDS[cloud]
        self._address = address
        self._unix_s = unix_s
        self._every_s = every_s
        self._is_silent = False
        self._is_at_risk = False

    async def notice(self) -> float:
        """Returns when the machine is to go, with the seconds that are left."""
        async with httpx.AsyncClient(base_url=self._address, timeout=ASK_LIMIT_S, trust_env=False) as client:
            while (left_s := await self._left(client)) is None:
                await asyncio.sleep(self._every_s)
        log.warning("spot.notice", cloud=self._cloud, left_s=round(left_s, 1))
        return left_s

    async def _left(self, client: httpx.AsyncClient) -> float | None:
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                word = await self._ask(client, self._unix_s)
        except (httpx.HTTPError, TimeoutError, ValueError) as exc:
            if not self._is_silent:
                log.warning("spot.service_silent", cloud=self._cloud, address=self._address, reason=repr(exc))
            self._is_silent = True
            return None
        self._is_silent = False
        if word.is_at_risk and not self._is_at_risk:
            log.warning("spot.at_risk", cloud=self._cloud)
        self._is_at_risk = word.is_at_risk
        return word.left_s


class _Action(msgspec.Struct, frozen=True):
    time: str = ""


async def _aws(client: httpx.AsyncClient, unix_s: Callable[[], float]) -> Word:
    """With a token, as machines may demand; what is not there is a 404."""
    asked = await client.put("/latest/api/token", headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"})
    token = {"x-aws-ec2-metadata-token": asked.raise_for_status().text}
    action = await client.get("/latest/meta-data/spot/instance-action", headers=token)
    if action.status_code != 404:
        at = _time(msgspec.json.decode(action.raise_for_status().content, type=_Action).time)
        return Word(_left(at, unix_s(), AWS_NOTICE_S))
    risk = await client.get("/latest/meta-data/events/recommendations/rebalance", headers=token)
    return Word(is_at_risk=risk.status_code == 200)


async def _gcp(client: httpx.AsyncClient, unix_s: Callable[[], float]) -> Word:  # noqa: ARG001 - it tells no time
    path = "/computeMetadata/v1/instance/preempted"
    reply = await client.get(path, headers={"metadata-flavor": "Google"})
    return Word(SHORT_NOTICE_S if reply.raise_for_status().text.strip() == "TRUE" else None)


class _Event(msgspec.Struct, frozen=True, rename="pascal"):
    event_type: str
    resources: tuple[str, ...] = ()
    not_before: str = ""


class _Events(msgspec.Struct, frozen=True, rename="pascal"):
    events: tuple[_Event, ...] = ()


async def _azure(client: httpx.AsyncClient, unix_s: Callable[[], float]) -> Word:
    """Every machine of a scale set hears of all: only what names this one counts."""
    headers = {"metadata": "true"}
    reply = await client.get("/metadata/scheduledevents?api-version=2020-07-01", headers=headers)
    events = msgspec.json.decode(reply.raise_for_status().content, type=_Events).events
    evictions = [event for event in events if event.event_type == "Preempt"]
    if not evictions:
        return Word()
    path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    name = (await client.get(path, headers=headers)).raise_for_status().text.strip().lower()
    own = [event for event in evictions if name in (resource.lower() for resource in event.resources)]
    return Word(_left(_time(own[0].not_before), unix_s(), SHORT_NOTICE_S) if own else None)


CLOUDS: dict[str, Ask] = {"aws": _aws, "gcp": _gcp, "azure": _azure}


def _time(text: str) -> datetime | None:
    """As AWS writes it, or Azure; None if it cannot be read."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(text)
        except ValueError:
            continue
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None


def _left(at: datetime | None, now_s: float, notice_s: float) -> float:
    """Never more than the cloud promises: clocks differ."""
    return notice_s if at is None else min(max(at.timestamp() - now_s, 0.0), notice_s)
