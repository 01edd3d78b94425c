"""Tells in `/metrics` how many servers upstreams should have, for what starts and stops them. Starts nothing itself."""

from collections.abc import Mapping

from gateway.config import Config
from gateway.fleet.autoscale import Autoscaler
from gateway.fleet.contract import Load
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics


class DesiredReplicas:
    """Of the upstreams with an `autoscale` section. Each gateway reckons for itself, from the same servers."""

    def __init__(self, config: Config, metrics: Metrics, log: Logger) -> None:
        self._autoscalers = {
            name: Autoscaler(upstream.autoscale)
            for name, upstream in config.upstreams.items()
            if upstream.autoscale is not None
        }
        self._metrics = metrics
        self._log = log

    def watch(self, now_s: float, loads: Mapping[str, Mapping[str, Load | None]]) -> None:
        """What the reader learnt, by upstream and server. An upstream of which nothing was ever learnt is not told of:
        a number made up would stop servers."""
        for upstream, autoscaler in self._autoscalers.items():
            before = autoscaler.desired
            desired = autoscaler.observe(now_s, loads.get(upstream, {}))
            if autoscaler.desired is None:
                continue
            self._metrics.desired_replicas[upstream] = desired.servers
            if desired.servers != before:
                self._log.info(
                    "fleet.desired", upstream=upstream, servers=desired.servers, reason=desired.reason
                )
