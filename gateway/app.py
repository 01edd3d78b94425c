"""Builds every object of the gateway, once, in order. Building opens nothing; `Gateway.running()` does."""

import asyncio
import hashlib
import random
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
import msgspec
import splintr
from litestar import Litestar
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.openapi import OpenAPIConfig

from gateway import __version__
from gateway.api.admin.accounts import account_handlers
from gateway.api.admin.outcomes import outcome_handlers
from gateway.api.admin.plan import PlanDesk, plan_handlers
from gateway.api.admin.scorer import ScorerDesk, scorer_handlers
from gateway.api.admin.system import system_handlers
from gateway.api.anthropic.count import TokenCounting
from gateway.api.anthropic.dialect import MessagesDialect
from gateway.api.description.admin import admin_pages
from gateway.api.description.handlers import Description, description_handlers
from gateway.api.description.operations import METRICS, OPERATIONS
from gateway.api.dialect import Dialect
from gateway.api.errors import ErrorHandler, error_handler
from gateway.api.feedback import Feedback, feedback_handlers
from gateway.api.finance.spend import finance_handlers
from gateway.api.health import Check, metrics_page, probes
from gateway.api.openai.batches import BatchDesk, batch_handlers
from gateway.api.openai.chat import ChatDialect
from gateway.api.openai.completions import CompletionsDialect
from gateway.api.openai.embeddings import EmbeddingsDialect
from gateway.api.openai.files import file_handlers
from gateway.api.openai.models import model_handlers
from gateway.api.openai.moderations import ModerationsDialect
from gateway.api.openai.responses.dialect import ResponsesDialect
from gateway.api.openai.responses.stored import response_handlers
from gateway.api.operators import OperatorGuard
from gateway.api.surface import Answering, post_handler
from gateway.api.tagging import request_ids
from gateway.asking import Asking
from gateway.batches.lines import RunLine
from gateway.batches.runner import Runner
from gateway.cache.exact import ExactCache
from gateway.cache.store import RedisReplyStore
from gateway.cascade import Cascade
from gateway.catalogue import Catalogue
from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.failpoints import Failpoints
from gateway.fleet.desired import DesiredReplicas
from gateway.fleet.metrics import FleetMetrics
from gateway.fleet.reader import LoadReader
from gateway.ids import Ids, RequestIds
from gateway.learning import Learning
from gateway.ledger.accounts import Accounts
from gateway.ledger.batch_work import BatchWork
from gateway.ledger.batches import Batches
from gateway.ledger.credentials import Credentials, load_pepper
from gateway.ledger.database import Database, DatabaseUnavailableError
from gateway.ledger.files import Files
from gateway.ledger.idempotency import Idempotency
from gateway.ledger.journal import FileJournal
from gateway.ledger.outcome_import import OutcomeImport
from gateway.ledger.outcome_reader import OutcomesReader
from gateway.ledger.outcomes import Outcomes
from gateway.ledger.price_book import PriceBook
from gateway.ledger.shipper import Shipper
from gateway.ledger.store import SpentReader, SqlLedger
from gateway.ledger.sweeper import Sweeper
from gateway.ledger.traffic import TrafficReader
from gateway.limits.client import StoreClient
from gateway.limits.contract import LimiterUnavailableError
from gateway.limits.failover import FailoverLimiter
from gateway.limits.local import LocalLimiter
from gateway.limits.redis import RedisLimiter, check_eviction
from gateway.pipeline import Pipeline, Stages
from gateway.report import Report
from gateway.scoring.candidates import chat_candidates
from gateway.scoring.contract import Deferral
from gateway.scoring.deep import open_deep
from gateway.scoring.deferral import AnswerDeferral
from gateway.scoring.opening import open_scorer
from gateway.scoring.tenants import TenantCalibration
from gateway.stages.admit import Admit
from gateway.stages.authenticate import Authenticate, KeyStoreUnavailableError
from gateway.stages.dispatch import Dispatch
from gateway.stages.lookup import Lookup
from gateway.stages.meter import Meter
from gateway.stages.relay import Relay
from gateway.stages.repeat import Repeat
from gateway.stages.route import Route
from gateway.stages.score import ScoreStage
from gateway.stages.settle import Settle
from gateway.telemetry.logs import LogSink, make_logger
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.pool import UpstreamPool
from gateway.values import Caller
from gateway.weighing import Weighing
from policies.registry import Registry
from policies.section import PolicyError

_HOLD_SPARE_S = 120
"""A hold outlives the longest request by this; after that whoever made it is taken for dead."""
_PREPARE_AGAIN_S = 2.0


class StoreUrls(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stores are, once embedded ones have been started."""

    limits: str
    cache: str


class Gateway:
    """The two listeners' applications and what is behind them."""

    def __init__(
        self,
        config: Config,
        urls: StoreUrls,
        clock: Clock,
        failpoints: Failpoints,
        log_stream: BinaryIO,
        deferral: Deferral,
    ) -> None:
        self._config = config
        self._clock = clock
        self._deferral = deferral
        self.is_draining = False
        self.metrics = Metrics()
        self._count_tokens = _TokenCounter()
        self.log_sink = LogSink(log_stream)
        telemetry = config.telemetry
        self.log = make_logger(self.log_sink, clock, level=telemetry.log_level, form=telemetry.log_format)
        self.database = Database(config.database_url)
        self.accounts = Accounts(
            self.database, clock, Credentials(load_pepper(config.keys, config.secrets_path))
        )
        self.prices = PriceBook(self.database, clock)
        self.ledger = SqlLedger(self.database)
        self.journal = FileJournal(
            config.journal_path, clock=clock, log=self.log, segment_bytes=config.journal.segment_bytes
        )
        self.pool = UpstreamPool.build(config, clock, random.SystemRandom().random, self.log, self.metrics)
        self.loads = LoadReader(
            config,
            self.pool.endpoints,
            clock,
            random.SystemRandom().random,
            DesiredReplicas(config, self.metrics, self.log).watch,
            self.log,
        )
        self.fleet_metrics = FleetMetrics(self.loads.told)
        self.registry = _registry(config)
        self.catalogue = Catalogue(config, self.prices.current)
        self.limits_client = StoreClient(urls.limits, clock=clock, timeout_s=config.limits.timeout_s)
        self.cache_client = StoreClient(urls.cache, clock=clock, timeout_s=config.cache.timeout_s)
        self.limiter = FailoverLimiter(
            RedisLimiter(
                self.limits_client,
                SpentReader(self.ledger, self._flush, unavailable=LimiterUnavailableError),
                new_nonce=lambda: secrets.token_hex(8),
            ),
            LocalLimiter(clock, share=config.limits.local_share),
            on_degraded=lambda: self.metrics.degraded("limits"),
        )
        self.shipper = Shipper(
            self.journal,
            self.ledger,
            self.limiter.settle,
            unsettled=LimiterUnavailableError,
            log=self.log,
            ship_every_s=config.journal.ship_every_s,
            failpoints=failpoints,
        )
        self.idempotency = Idempotency(
            self.database,
            clock,
            lease_s=_longest_s(config) + _HOLD_SPARE_S,
            ttl_s=config.idempotency.ttl_s,
        )
        self.files = Files(
            self.database,
            clock,
            Ids("file-", clock),
            max_tenant_bytes=config.batches.max_tenant_bytes,
            ttl_s=config.batches.file_ttl_s,
        )
        work = BatchWork(
            self.database, clock, self.files, owner=secrets.token_hex(8), lease_s=config.batches.lease_s
        )
        self.outcomes = Outcomes(self.database, clock, config.outcomes)
        self.sweeper = Sweeper(
            [self.idempotency.purge, self.files.purge, work.purge, self.outcomes.purge], self.log
        )
        deep = config.scoring.deep
        self._deep = open_deep(deep, self.metrics, self.log) if deep.folder else None
        self.scorer = open_scorer(config.scoring, self.metrics, self.log)
        self.learning = self._learning() if config.scoring.learn else None
        stages = self._stages(failpoints)
        self._settle = stages.settle
        self._repeat = stages.repeat
        ids = self._ids = RequestIds(clock)
        pipeline = Pipeline(stages, self.catalogue, Report(clock, self.metrics, self.log), clock, ids)
        surfaces = self._surfaces()
        self.runner = self._batch_runner(work, pipeline, surfaces)
        desk = BatchDesk(
            Batches(self.database, clock, Ids("batch_", clock), max_active=config.batches.max_active),
            self.files,
            stages.authenticate,
            stages.repeat,
            ids,
            wake=self.runner.wake,
        )
        errors = error_handler(ids, self.log)
        self.public = self._public_app(pipeline, surfaces, desk, stages.authenticate, errors)
        self.admin = self._admin_app(errors)

    def _learning(self) -> Learning:
        return Learning(
            OutcomesReader(self.database).rows,
            TenantCalibration(since_ms=self.scorer.since_ms),
            self._clock,
            self.metrics,
            self.log,
            every_s=self._config.scoring.refresh_s,
        )

    def _surfaces(self) -> dict[str, Dialect]:
        """Every billable path, and its callers' language."""
        return {
            "/v1/chat/completions": ChatDialect(),
            "/v1/messages": MessagesDialect.of_messages(self._clock),
            "/v1/completions": CompletionsDialect(),
            "/v1/responses": ResponsesDialect(self._clock),
            "/v1/embeddings": EmbeddingsDialect(),
            "/v1/moderations": ModerationsDialect(),
        }

    def _public_app(
        self,
        pipeline: Pipeline,
        surfaces: Mapping[str, Dialect],
        desk: BatchDesk,
        authenticate: Authenticate,
        errors: ErrorHandler,
    ) -> Litestar:
        server = self._config.server
        counting = TokenCounting(pipeline.ticket, authenticate, self.catalogue, self._count_tokens)
        return Litestar(
            [
                *(self._post_handler(path, dialect, pipeline) for path, dialect in surfaces.items()),
                self._post_handler(
                    "/v1/messages/count_tokens", MessagesDialect.of_counting(self._clock), counting
                ),
                *model_handlers(self.catalogue, authenticate, self.registry.names),
                *response_handlers(authenticate),
                *file_handlers(self.files, authenticate, self._config.batches),
                *batch_handlers(desk),
                *feedback_handlers(self._feedback(authenticate)),
                *self._probes(),
                *([metrics_page(self._metrics_page)] if server.public_metrics else []),
                *description_handlers(
                    Description(
                        (*OPERATIONS, METRICS) if server.public_metrics else OPERATIONS,
                        title="Weighbridge",
                        version=__version__,
                    )
                ),
            ],
            after_request=request_ids(self._ids),
            exception_handlers={Exception: errors},
            request_max_body_size=server.max_body_bytes,
            openapi_config=None,
            logging_config=None,
        )

    def _feedback(self, authenticate: Authenticate) -> Feedback:
        return Feedback(
            self.outcomes,
            self.ledger,
            authenticate,
            LocalLimiter(self._clock),
            self._clock,
            self._ids,
            self.catch_up,
            self._config.outcomes,
            longest_s=_longest_s(self._config),
        )

    def _batch_runner(self, work: BatchWork, pipeline: Pipeline, surfaces: Mapping[str, Dialect]) -> Runner:
        config = self._config
        return Runner(
            work,
            self.files,
            RunLine(pipeline, surfaces, self.accounts.caller, self._clock, self.log),
            config.batches,
            self._clock,
            self.metrics,
            self.log,
            max_line_bytes=config.server.max_body_bytes,
            drain_s=config.server.drain_s,
            is_draining=lambda: self.is_draining,
            tasks=lambda: self._tasks,
        )

    def _post_handler(self, path: str, dialect: Dialect, answering: Answering) -> ASGIRouteHandler:
        return post_handler(
            path,
            dialect,
            answering,
            self._config.server,
            self.log,
            tasks=lambda: self._tasks,
            is_draining=lambda: self.is_draining,
        )

    def _admin_app(self, errors: ErrorHandler) -> Litestar:
        return Litestar(
            [
                *account_handlers(self.accounts),
                *system_handlers(self.pool, self.prices, self.accounts),
                *outcome_handlers(
                    self.outcomes, OutcomeImport(self.database, self._clock, Ids("out_", self._clock))
                ),
                *scorer_handlers(self._scorer_desk(), self.registry),
                *finance_handlers(self.ledger, self.catch_up),
                *plan_handlers(
                    PlanDesk(
                        TrafficReader(self.database, self._config, self._clock), self._clock, self.catch_up
                    )
                ),
                *self._probes(),
                metrics_page(lambda: self._metrics_page() + self.fleet_metrics.render()),
            ],
            guards=[OperatorGuard(self.accounts.operators)],
            after_request=request_ids(self._ids),
            exception_handlers={Exception: errors},
            request_max_body_size=self._config.server.max_body_bytes,
            openapi_config=OpenAPIConfig(
                title="Weighbridge: admin and finance",
                version=__version__,
                operation_id_creator=_operation_id,
                render_plugins=admin_pages(),
            ),
            logging_config=None,
        )

    def _scorer_desk(self) -> ScorerDesk:
        return ScorerDesk(
            self.scorer.scorer,
            self.scorer.version,
            chat_candidates(self._config),
            explainer=self.scorer.explainer,
            learnt=self.learning,
            deep=self._deep,
            check_tenant=self.accounts.tenant,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything open and the background work under way; on leaving, what was concluded is in the ledger."""
        self.log_sink.start()
        async with AsyncExitStack() as stack:
            stack.callback(self.log_sink.close)
            stack.callback(self.database.close)
            stack.push_async_callback(self.pool.close)
            await self.pool.look()
            await stack.enter_async_context(self.limits_client)
            await stack.enter_async_context(self.cache_client)
            await self._check_limits_store()
            await self.journal.start()
            stack.push_async_callback(self.journal.close)
            is_prepared = await self._prepare()
            stack.push_async_callback(self._last_flush)
            async with asyncio.TaskGroup() as self._tasks:
                background = [
                    self._tasks.create_task(self.shipper.run()),
                    self._tasks.create_task(self.sweeper.run()),
                    self._tasks.create_task(self.runner.run()),
                    self._tasks.create_task(self.loads.run()),
                    self._tasks.create_task(self.pool.run()),
                ]
                if self._deep is not None:
                    background.append(self._tasks.create_task(self._deep.run()))
                if self.learning is not None:
                    background.append(self._tasks.create_task(self.learning.run()))
                if not is_prepared:
                    background.append(self._tasks.create_task(self._prepare_later()))
                try:
                    yield
                finally:
                    for task in background:
                        task.cancel()

    async def _check_limits_store(self) -> None:
        """Raises ConfigError for a store that would push counters out. One that is away is not asked."""
        try:
            is_sure = await check_eviction(self.limits_client)
        except LimiterUnavailableError as exc:
            self.log.error("start.limits_unavailable", error=str(exc))
            return
        if not is_sure:
            self.log.warning("start.limits_eviction_unknown")

    async def _prepare(self) -> bool:
        """What starting needs of the database. Without one the gateway starts all the same and tries again."""
        try:
            await anyio.to_thread.run_sync(self._prepare_database)
            await self.shipper.recover()
        except DatabaseUnavailableError as exc:
            self.log.error("start.database_unavailable", error=str(exc))
            return False
        return True

    def _prepare_database(self) -> None:
        self.database.migrate()
        self.accounts.check_pepper()
        self.accounts.tiers.seed(self._config.tiers)
        self.prices.seed(
            {
                f"{upstream_name}/{model_name}": None if model.free else model.price
                for upstream_name, upstream in self._config.upstreams.items()
                for model_name, model in upstream.models.items()
            }
        )

    async def _prepare_later(self) -> None:
        is_prepared = False
        while not is_prepared:
            await asyncio.sleep(_PREPARE_AGAIN_S)
            is_prepared = await self._prepare()

    async def catch_up(self) -> None:
        """What was answered before this call is in the ledger, if the database can be reached."""
        await self._settle.finished()
        await self._repeat.finished()
        try:
            await self.shipper.flush()
        except DatabaseUnavailableError as exc:
            self.log.warning("ledger.behind", unshipped=self.journal.unshipped, error=str(exc))

    async def _flush(self) -> None:
        await self.shipper.flush()

    async def _last_flush(self) -> None:
        try:
            await self.shipper.ship()
        except DatabaseUnavailableError as exc:
            self.log.error("stop.ledger_unavailable", unshipped=self.journal.unshipped, error=str(exc))

    def _stages(self, failpoints: Failpoints) -> Stages:
        config, clock, metrics, log = self._config, self._clock, self.metrics, self.log
        total_s = _longest_s(config)
        asking, cascade = self._asking_and_cascade(failpoints)
        cache = (
            ExactCache(
                RedisReplyStore(self.cache_client),
                ttl_s=config.cache.ttl_s,
                max_entry_bytes=config.cache.max_entry_bytes,
            )
            if config.cache.enabled
            else None
        )
        return Stages(
            authenticate=Authenticate(
                self._resolve, clock, metrics, fresh_s=config.keys.cache_s, stale_s=config.keys.stale_s
            ),
            admit=Admit(self.limiter, self.catalogue, hold_s=round(total_s) + _HOLD_SPARE_S),
            lookup=Lookup(cache, metrics, when=config.cache.when, revision=_revision(config)),
            score=ScoreStage(
                self.scorer.scorer,
                clock,
                metrics,
                log,
                fallback=config.scoring.fallback_complexity,
                timeout_s=config.scoring.timeout_ms / 1000,
                deep=self._deep,
                calibration=self.learning,
            ),
            route=Route(
                self.registry.get,
                self.registry.named,
                self.registry.fallback,
                self.pool.health,
                self.loads.outlook,
                cascade.ceiling,
                metrics,
                log,
                default_policy=config.policies.default,
            ),
            dispatch=Dispatch(asking, cascade, clock, total_s=total_s),
            relay=Relay(self.journal, clock, metrics, failpoints, total_s=total_s),
            meter=Meter(self._count_tokens, metrics),
            settle=Settle(
                self.journal,
                self.limiter,
                self.shipper,
                metrics,
                log,
                failpoints,
                tasks=lambda: self._tasks,
            ),
            repeat=Repeat(
                self.idempotency,
                metrics,
                log,
                tasks=lambda: self._tasks,
                max_reply_bytes=config.idempotency.max_reply_bytes,
            ),
        )

    def _asking_and_cascade(self, failpoints: Failpoints) -> tuple[Asking, Cascade]:
        clock, log, journal = self._clock, self.log, self.journal
        asking = Asking(
            self.pool,
            journal,
            clock,
            self.metrics,
            log,
            failpoints,
            max_unshipped=self._config.journal.max_unshipped,
        )
        weighing = Weighing(self._deferral, self.metrics, log)
        return asking, Cascade(asking, weighing, journal, clock, log, failpoints)

    def _resolve(self, token: str) -> Caller | None:
        try:
            return self.accounts.resolve(token)
        except DatabaseUnavailableError as exc:
            raise KeyStoreUnavailableError(str(exc)) from exc

    def _probes(self) -> list[HTTPRouteHandler]:
        checks: Mapping[str, Check] = {
            "database": lambda: self.database.is_reachable(1.0),
            "limits": self.limiter.is_reachable,
            "upstreams": self._has_healthy_upstream,
        }
        return probes(checks, is_draining=lambda: self.is_draining)

    async def _has_healthy_upstream(self) -> bool:
        return any(self.pool.health(name)[0] for name in self.pool.names())

    def _metrics_page(self) -> bytes:
        self.metrics.journal_unshipped = self.journal.unshipped
        self.metrics.log_lines_dropped = self.log_sink.dropped
        return self.metrics.render()


def create_app(
    config: Config,
    urls: StoreUrls,
    *,
    clock: Clock | None = None,
    failpoints: Failpoints | None = None,
    log_stream: BinaryIO | None = None,
    deferral: Deferral | None = None,
) -> Gateway:
    """Raises ConfigError for whatever in the configuration cannot be used."""
    return Gateway(
        config,
        urls,
        clock or SystemClock(),
        failpoints or Failpoints(),
        log_stream or sys.stdout.buffer,
        deferral or AnswerDeferral(),
    )


def _operation_id(_handler: object, method: object, path: Sequence[object]) -> str:
    """Litestar's own takes the function's name, which it loses for handlers that run in a thread."""
    return "_".join([str(method).lower(), *(getattr(part, "name", str(part)) for part in path)])


def _longest_s(config: Config) -> float:
    """What a request may take at most."""
    return max(upstream.total_timeout_s for upstream in config.upstreams.values())


def _registry(config: Config) -> Registry:
    folders = [Path(config.policies.dir).expanduser()] if config.policies.dir else []
    try:
        registry = Registry.load(folders)
        registry.get(config.policies.default)
    except PolicyError as exc:
        raise ConfigError(f"policies: {exc}") from exc
    return registry


def _revision(config: Config) -> str:
    """Changes with whatever decides which model answers, so that an old route is not served from the cache."""
    return hashlib.sha256(msgspec.json.encode((config.upstreams, config.policies))).hexdigest()[:16]


class _TokenCounter:
    """o200k is not every model's tokenizer: it is exact for OpenAI's newer ones and near for the others."""

    def __init__(self) -> None:
        self._tokenizer = splintr.Tokenizer.from_pretrained("o200k_base")

    def __call__(self, text: str) -> int:
        return len(self._tokenizer.encode(text))
