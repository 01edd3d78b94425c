"""`weighbridge_desired_replicas`: what is told of upstreams in /metrics, and what is not."""

import io

import pytest

from gateway.clock import ManualClock
from gateway.config import Config, parse
from gateway.errors import ConfigError
from gateway.fleet.contract import Load
from gateway.fleet.desired import DesiredReplicas
from gateway.telemetry.logs import LogSink, make_logger
from gateway.telemetry.metrics import Metrics

UPSTREAM = "base_url: 'http://big:8101/v1', models: {%s: {size: small, context_window: 10, free: true}}"


def config(scale: str = "{max: 8}", more: str = "is_worker: true, keyless: true") -> Config:
    big = f"{{{UPSTREAM % 'm'}, {more}, autoscale: {scale}}}"
    other = f"{{{UPSTREAM % 'n'}, engine: vllm, keyless: true}}"
    return parse(f"upstreams: {{big: {big}, other: {other}}}")


class Told:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.lines = io.BytesIO()
        self.sink = LogSink(self.lines)
        log = make_logger(self.sink, ManualClock(), level="info", form="json")
        self.desired = DesiredReplicas(config(), self.metrics, log)

    def page(self) -> list[str]:
        lines = self.metrics.render().decode().splitlines()
        return [line for line in lines if line.startswith("weighbridge_desired_replicas")]


FULL = Load(running=8, queued=8, slots=8)


def test_an_upstream_s_number_is_told_once_a_server_has_told_its_load() -> None:
    told = Told()

    told.desired.watch(0, {"big": {"a": None}, "other": {"b": FULL}})
    before = told.page()
    told.desired.watch(2, {"big": {"a": FULL}, "other": {"b": FULL}})

    assert before == []
    assert told.page() == ['weighbridge_desired_replicas{upstream="big"} 3.0']


def test_the_number_stays_when_the_servers_fall_silent() -> None:
    told = Told()
    told.desired.watch(0, {"big": {"a": FULL, "b": FULL}})

    for now_s in range(1, 2000, 2):
        told.desired.watch(now_s, {"big": {}} if now_s % 4 == 1 else {})

    assert told.page() == ['weighbridge_desired_replicas{upstream="big"} 5.0']


def test_a_change_is_logged_with_its_reason() -> None:
    told = Told()

    for now_s in range(4):
        told.desired.watch(now_s, {"big": {"a": FULL}})
    told.sink.drain()

    assert told.lines.getvalue().count(b"fleet.desired") == 1
    assert b"need of " in told.lines.getvalue()


@pytest.mark.parametrize(
    ("scale", "more", "complaint"),
    [
        ("{max: 8}", "keyless: true", "upstreams.big.autoscale: say in `engine`"),
        (
            "{min: 3, max: 2}",
            "engine: vllm, keyless: true",
            "upstreams.big.autoscale.min: 3 is more than max, 2",
        ),
        ("{min: 2}", "engine: vllm, keyless: true", "`max`"),
    ],
)
def test_what_cannot_be_meant_is_refused(scale: str, more: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match="autoscale") as refused:
        config(scale, more)

    assert complaint in str(refused.value)
