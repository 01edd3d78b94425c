"""The planning tools for admins and finance: what there is, and what a tool says of the inputs that are posted."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway import __version__
from gateway.api.bodies import json_body, read_object
from gateway.api.operators import FOR_FINANCE
from gateway.clock import Clock
from gateway.errors import InvalidRequestError, NotFoundError, UnavailableError
from gateway.ledger.exports import csv_of
from gateway.ledger.traffic import TrafficReader
from gateway.planning.answering import answered, asks_ledger, ledger_question
from gateway.planning.comparing import checked
from gateway.planning.contract import Answer, Context, Inputs, PlanError, Tool
from gateway.planning.diagram import PlotsUnavailableError, drawn
from gateway.planning.reading import Input, from_json, inputs_of
from gateway.planning.rendering import as_json, as_text, csv_rows
from gateway.planning.tools import NAMES, tool

BODY_BYTES = 8_388_608
"""A price list of a big cloud fits."""
COMPARE = "compare"
"""An earlier answer, beside the inputs."""
Form = Literal["json", "csv", "text", "svg", "png"]

MEDIA: Mapping[Form, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "text": "text/plain",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_SENT = "as sent"
"""Stands where the command line has the name of a file."""


_T = TypeVar("_T")


class PlanDesk:
    """What the handlers need. One plan at a time: they are sums, which chats that are under way should not wait for."""

    def __init__(self, traffic: TrafficReader, clock: Clock, catch_up: Callable[[], Awaitable[None]]) -> None:
        self._traffic = traffic
        self._clock = clock
        self._catch_up = catch_up
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def answer(self, chosen: Tool[Any], raw: bytes, form: Form, *, explain: bool) -> Response[bytes]:
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date().isoformat()
        try:
            asked = await self._in_thread(lambda: _read(chosen, read_object(raw)))
            traffic = None
            if asks_ledger(asked.inputs):
                await self._catch_up()
                traffic = await anyio.to_thread.run_sync(
                    lambda: self._traffic.read(**ledger_question(asked.inputs))
                )
            context = Context(today=today, traffic=traffic, previous=asked.previous, files=asked.files)
            content = await self._in_thread(
                lambda: _written(
                    answered(chosen, asked.inputs, asked.given, context), form, today, explain=explain
                )
            )
        except PlanError as exc:
            raise InvalidRequestError(exc.message, param=(exc.param or "").rstrip("_") or None) from exc
        except PlotsUnavailableError as exc:
            raise UnavailableError(str(exc), code="plots_unavailable", should_retry=False) from exc
        return Response(content, media_type=MEDIA[form], headers=_headers(chosen.name, form))

    async def listed(self) -> list[dict[str, Any]]:
        return await self._in_thread(lambda: [_described(tool(name)) for name in NAMES])

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)


def plan_handlers(desk: PlanDesk) -> list[HTTPRouteHandler]:
    @get("/admin/plan", opt=FOR_FINANCE)
    async def list_tools() -> list[dict[str, Any]]:
        """Every tool with its inputs. A default that drifts says of which day it is."""
        return await desk.listed()

    @post("/admin/plan/{name:str}", status_code=200, opt=FOR_FINANCE, request_max_body_size=BODY_BYTES)
    async def plan(
        request: Request[Any, Any, Any],
        name: FromPath[str],
        format_: Annotated[Form, QueryParameter(name="format")] = "json",
        explain: FromQuery[bool] = False,
    ) -> Response[bytes]:
        try:
            chosen = tool(name)
        except PlanError as exc:
            raise NotFoundError(exc.message, param="tool") from exc
        return await desk.answer(chosen, await json_body(request), format_, explain=explain)

    return [list_tools, plan]


class _Asked(msgspec.Struct, frozen=True):
    inputs: Inputs
    given: frozenset[str]
    files: Mapping[str, str]
    previous: Mapping[str, Any] | None


def _read(chosen: Tool[Any], body: dict[str, Any]) -> _Asked:
    previous = body.pop(COMPARE, None)
    files = {name: _file(name, body[name]) for name in chosen.files if body.get(name) is not None}
    inputs: Inputs = from_json(chosen.inputs, {**body, **dict.fromkeys(files, _SENT)}, _called)
    return _Asked(
        inputs, frozenset(body), files, None if previous is None else checked(previous, chosen.name)
    )


def _file(name: str, value: Any) -> str:
    """The text of a file; one that is JSON may stand there as it is."""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    if not isinstance(value, str):
        raise PlanError(f"{_called(name)} holds the text of a file.", param=name)
    return value


def _written(answer: Answer, form: Form, today: str, *, explain: bool) -> bytes:
    match form:
        case "json":
            return as_json(answer, version=__version__, today=today, explain=explain)
        case "csv":
            return csv_of(*csv_rows(answer)).encode()
        case "text":
            return as_text(answer, explain=explain).encode()
        case _:
            return drawn(answer.plot, form)


def _headers(name: str, form: Form) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}.csv"'} if form == "csv" else {}


def _called(name: str) -> str:
    return f"`{name}`"


def _described(chosen: Tool[Any]) -> dict[str, Any]:
    return {
        "name": chosen.name,
        "help": chosen.help,
        "inputs": [_input(each, is_file=each.name in chosen.files) for each in inputs_of(chosen.inputs)],
    }


def _input(each: Input, *, is_file: bool) -> dict[str, Any]:
    return {
        "name": each.name,
        "type": "file" if is_file else each.kind,
        "is_list": each.is_many,
        "is_required": each.is_required,
        "choices": each.choices or None,
        "default": each.json_default,
        "unit": each.unit,
        "bounds": each.bounds,
        "meaning": each.meaning,
        "source": each.source,
        "as_of": each.as_of,
    }
