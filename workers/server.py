"""The worker's endpoint: what its service answers, the list of models, figures and probes, and nothing else."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
import structlog

from workers.errors import BusyError, DeadlineError, EngineError, InvalidRequestError, WorkerError
from workers.gpu import Gpus
from workers.health import Canary
from workers.http import ClientGoneError, Exchange, Receive, Scope, Send
from workers.metrics import CLIENT_GONE, CONTENT_TYPE, Metrics
from workers.service import Answering, Service
from workers.slots import DEFAULT_PRIORITY
from workers.timing import Clocks

log = structlog.get_logger()

MAX_BODY_BYTES = 4 * 1024 * 1024
BODY_TIMEOUT_S = 10.0
STATS_TIMEOUT_S = 2.0
PRIORITY_HEADER = b"x-weighbridge-priority"
TIME_LEFT_HEADER = b"x-weighbridge-time-left-ms"
OF_SOME_MODELS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
"""Which of these a worker serves depends on what its model is for."""

Handler = Callable[[Exchange], Awaitable[None]]


class WorkerApp:
    """An ASGI application. `api_key` None leaves it open; only for loopback."""

    def __init__(
        self,
        service: Service,
        canary: Canary,
        *,
        names: Sequence[str],
        api_key: str | None,
        clocks: Clocks,
        new_id: Callable[[], str],
        gpus: Gpus,
    ) -> None:
        self._service = service
        self._canary = canary
        self._names = tuple(names)
        self._key_digest = None if api_key is None else _digest(b"Bearer " + api_key.encode())
        self._new_id = new_id
        self._gpus = gpus
        self._metrics = Metrics(service.places, service.collectors)
        self._created = clocks.unix_s()
        self._running: set[anyio.CancelScope] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_loaded = False
        self._is_leaving = False
        self._is_draining = False
        self._is_cut = False
        self._open_routes: dict[str, tuple[str, Handler]] = {
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
        }
        self._keyed_routes: dict[str, tuple[str, Handler]] = {
            **{path: ("POST", partial(self._answer, parse)) for path, parse in service.routes.items()},
            "/v1/models": ("GET", self._models),
            "/metrics": ("GET", self._render_metrics),
        }

    def loaded(self) -> None:
        """The engine has started."""
        self._is_loaded = True
        self._metrics.loaded(self._service.card)

    def leave(self) -> None:
        """Not ready from now on, and each connection ends with its next answer; whatever comes is still served."""
        self._is_leaving = True

    async def drain(self, limit_s: float) -> None:
        """Takes nothing new, lets what runs finish within the limit, and cuts the rest off with an error."""
        self.leave()
        self._is_draining = True
        try:
            async with asyncio.timeout(limit_s):
                await self._is_idle.wait()
        except TimeoutError:
            log.warning("drain.cut_off", requests=len(self._running))
            self._is_cut = True
            for scope in self._running:
                scope.cancel()
            await self._is_idle.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, new_id=self._new_id, is_last=lambda: self._is_leaving)
        try:
            await self._handler(exchange)(exchange)
        except ClientGoneError:
            return
        except WorkerError as exc:
            await exchange.refuse(exc)
        except Exception:  # the last resort: whatever it was, the caller gets our shape
            log.exception("request.broke", request_id=exchange.id, path=exchange.path)
            await exchange.refuse(EngineError())

    def _handler(self, exchange: Exchange) -> Handler:
        route = self._open_routes.get(exchange.path)
        if route is None:
            self._authenticate(exchange)
            route = self._keyed_routes.get(exchange.path)
        if route is None and exchange.path in OF_SOME_MODELS:
            served = " and ".join(self._service.routes)
            text = f"This worker's model is for other requests: it serves {served}."
            raise InvalidRequestError(text, code="not_found", status=404)
        if route is None:
            raise InvalidRequestError("There is nothing at this path.", code="not_found", status=404)
        method, handler = route
        if exchange.method != method:
            raise InvalidRequestError(f"Use {method} here.", code="method_not_allowed", status=405)
        return handler

    def _authenticate(self, exchange: Exchange) -> None:
        if self._key_digest is None:
            return
        if not hmac.compare_digest(_digest(exchange.header(b"authorization")), self._key_digest):
            text = "Incorrect API key provided. Send the worker's key as `Authorization: Bearer <key>`."
            raise InvalidRequestError(text, code="invalid_api_key", status=401)
        exchange.is_trusted = True

    async def _healthz(self, exchange: Exchange) -> None:
        await exchange.send_json(200, {"status": "ok"})

    async def _readyz(self, exchange: Exchange) -> None:
        self._check_open()
        if self._is_leaving:
            raise _draining()
        if not self._canary.is_well:
            raise BusyError("The engine does not answer.", code="engine_silent")
        await exchange.send_json(200, {"status": "ready", "models": self._names})

    async def _models(self, exchange: Exchange) -> None:
        card = msgspec.to_builtins(self._service.card) if self._is_loaded else {}
        models = [
            {"id": name, "object": "model", "created": self._created, "owned_by": "weighbridge", **card}
            for name in self._names
        ]
        await exchange.send_json(200, {"object": "list", "data": models})

    async def _render_metrics(self, exchange: Exchange) -> None:
        stats = None
        if self._is_loaded:
            try:
                async with asyncio.timeout(STATS_TIMEOUT_S):
                    stats = await self._service.stats()
            except (TimeoutError, EngineError):
                log.warning("metrics.engine_silent")
        figures = self._metrics.render(stats, await self._gpus.read())
        await exchange.send_bytes(200, figures, CONTENT_TYPE)

    def _check_open(self) -> None:
        if self._is_draining:
            raise _draining()
        if not self._is_loaded:
            raise BusyError("The model is still loading.", code="model_loading", retry_after_s=1)

    async def _answer(self, parse: Callable[[bytes], Any], exchange: Exchange) -> None:
        answer = self._service.answering(self._metrics, priority=_priority(exchange))
        status = CLIENT_GONE
        try:
            async with _until_late(exchange):
                request = parse(await exchange.read_body(max_bytes=MAX_BODY_BYTES, timeout_s=BODY_TIMEOUT_S))
                self._check_open()
                self._check_name(request.model)
                self._service.check(request)
                if await self._send(answer, exchange, request):
                    status = 200
        except WorkerError as exc:
            status = exc.status
            raise
        finally:
            self._metrics.finished(status, answer.usage)

    async def _send(self, answer: Answering, exchange: Exchange, request: Any) -> bool:
        """False if the client hung up before the end; the engine has stopped by then."""
        failure: WorkerError | None = None
        is_sent = False
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_gone, exchange, group.cancel_scope)
            self._running.add(group.cancel_scope)
            self._is_idle.clear()
            try:
                await answer.send(exchange, request)
                is_sent = True
            except WorkerError as exc:
                failure = exc
            finally:
                self._running.discard(group.cancel_scope)
                if not self._running:
                    self._is_idle.set()
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if self._is_cut and not is_sent:
            raise BusyError("This worker shut down before the answer was finished.", code="draining")
        return is_sent

    def _check_name(self, model: str) -> None:
        if model not in self._names:
            text = f"The model '{model}' does not exist here. Served: {', '.join(self._names)}."
            raise InvalidRequestError(text, code="model_not_found", param="model", status=404)


def _draining() -> BusyError:
    return BusyError("This worker is shutting down.", code="draining")


def _priority(exchange: Exchange) -> int:
    """Nonsense counts as nothing."""
    given = exchange.told(PRIORITY_HEADER)
    return int(given) if len(given) == 1 and given.isdigit() else DEFAULT_PRIORITY


@asynccontextmanager
async def _until_late(exchange: Exchange) -> AsyncIterator[None]:
    """Raises DeadlineError, and stops what is under way, when the caller has no time left. Nonsense counts as nothing."""
    given = exchange.told(TIME_LEFT_HEADER)
    left_s = int(given) / 1000 if given.isdigit() and len(given) < 10 else None
    try:
        async with asyncio.timeout(left_s) as limit:
            yield
    except TimeoutError as exc:
        if limit.expired():
            raise DeadlineError from exc
        raise


async def _cancel_when_gone(exchange: Exchange, scope: anyio.CancelScope) -> None:
    await exchange.wait_until_gone()
    scope.cancel()


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
