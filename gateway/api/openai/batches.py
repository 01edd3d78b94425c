"""/v1/batches: requests that nobody waits for, from a file into a file. What is done with them is in gateway.batches."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.api.bodies import invalid, json_body, read_object
from gateway.api.openai.paging import is_name, page_of, paged
from gateway.errors import InvalidRequestError, NotFoundError, RateLimitedError
from gateway.ledger.batches import Batch, Batches, NewBatch, TooManyBatchesError
from gateway.ledger.files import Files
from gateway.ledger.idempotency import StoredReply
from gateway.stages.authenticate import Authenticate
from gateway.stages.repeat import REPLAYED, Claim, Repeat
from gateway.values import Caller

BatchEndpoint = Literal[
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations"
]
_BODY_BYTES = 65_536
_USUAL_PAGE, _LARGEST_PAGE = 20, 100
_WINDOW_S = {"24h": 86_400}

AnyRequest = Request[Any, Any, Any]


class OutputExpiry(msgspec.Struct, forbid_unknown_fields=True):
    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=3600, le=2_592_000)]


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    input_file_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    endpoint: BatchEndpoint
    completion_window: Literal["24h"]
    metadata: (
        Annotated[
            dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
            msgspec.Meta(max_length=16),
        ]
        | None
    ) = None
    output_expires_after: OutputExpiry | None = None


class BatchDesk:
    """What the handlers share."""

    def __init__(
        self,
        batches: Batches,
        files: Files,
        authenticate: Authenticate,
        repeat: Repeat,
        new_id: Callable[[], str],
        wake: Callable[[], None],
    ) -> None:
        """`wake` tells the runner that there is something to do."""
        self.batches = batches
        self.authenticate = authenticate
        self._files = files
        self._repeat = repeat
        self._new_id = new_id
        self._wake = wake

    async def create(self, request: AnyRequest) -> Response[bytes]:
        caller = await self.authenticate(request.scope["headers"])
        raw = await json_body(request)
        claim = await self._repeat.claim(
            self._new_id(), caller, request.scope["headers"], "batches", read_object(raw)
        )
        if isinstance(claim, StoredReply):
            return Response(claim.body, media_type=claim.content_type, headers=REPLAYED)
        try:
            batch = await self._create(caller, raw)
        except BaseException:
            if claim is not None:
                claim.release()
            raise
        self._wake()
        return _reply(batch, claim)

    async def _create(self, caller: Caller, raw: bytes) -> Batch:
        try:
            body = msgspec.json.decode(raw, type=BatchBody)
        except msgspec.ValidationError as exc:
            raise invalid(str(exc)) from exc
        file_id = body.input_file_id
        file = await asyncio.to_thread(self._files.find, caller.tenant, file_id) if is_name(file_id) else None
        if file is None:
            raise NotFoundError(f"There is no file {file_id!r}.", param="input_file_id")
        if file.purpose != "batch":
            raise InvalidRequestError("The file's `purpose` is not 'batch'.", param="input_file_id")
        new = NewBatch(
            endpoint=body.endpoint,
            input_file_id=file.id,
            window_s=_WINDOW_S[body.completion_window],
            metadata=body.metadata,
            output_ttl_s=body.output_expires_after.seconds if body.output_expires_after else None,
        )
        try:
            return await asyncio.to_thread(self.batches.create, caller, new)
        except TooManyBatchesError as exc:
            raise RateLimitedError(
                "You have as many unfinished batches as you may; wait until one of them has ended.",
                should_retry=False,
            ) from exc

    async def cancel(self, request: AnyRequest, batch_id: str) -> Batch:
        caller = await self.authenticate(request.scope["headers"])
        batch = (
            await asyncio.to_thread(self.batches.cancel, caller.tenant, batch_id)
            if is_name(batch_id)
            else None
        )
        if batch is None:
            raise _unknown(batch_id)
        if batch.status not in ("cancelling", "cancelled"):
            raise InvalidRequestError(
                f"The batch can no longer be cancelled: it is {batch.status}.", param="batch_id"
            )
        self._wake()
        return batch


def batch_handlers(desk: BatchDesk) -> list[HTTPRouteHandler]:
    @post("/v1/batches", status_code=200, request_max_body_size=_BODY_BYTES)
    async def create_batch(request: AnyRequest) -> Response[bytes]:
        return await desk.create(request)

    @get("/v1/batches")
    async def list_batches(request: AnyRequest) -> Response[dict[str, Any]]:
        caller = await desk.authenticate(request.scope["headers"])
        page = page_of(request, usual=_USUAL_PAGE, largest=_LARGEST_PAGE)
        found, has_more = await asyncio.to_thread(desk.batches.page, caller.tenant, page)
        return Response(paged([shown(batch) for batch in found], has_more=has_more))

    @get("/v1/batches/{batch_id:str}")
    async def retrieve_batch(request: AnyRequest, batch_id: FromPath[str]) -> Response[dict[str, Any]]:
        caller = await desk.authenticate(request.scope["headers"])
        batch = None
        if is_name(batch_id):
            batch = await asyncio.to_thread(desk.batches.find, caller.tenant, batch_id)
        if batch is None:
            raise _unknown(batch_id)
        return Response(shown(batch))

    @post("/v1/batches/{batch_id:str}/cancel", status_code=200, request_max_body_size=_BODY_BYTES)
    async def cancel_batch(request: AnyRequest, batch_id: FromPath[str]) -> Response[dict[str, Any]]:
        return Response(shown(await desk.cancel(request, batch_id)))

    return [create_batch, list_batches, retrieve_batch, cancel_batch]


def shown(batch: Batch) -> dict[str, Any]:
    """As OpenAI's clients know it. What is not known yet is left out: their document allows no null for it."""
    moments = {
        "in_progress_at": batch.in_progress_ms,
        "finalizing_at": batch.finalizing_ms,
        "cancelling_at": batch.cancelling_ms,
    }
    if batch.ended_ms is not None:
        moments[f"{batch.status}_at"] = batch.ended_ms
    known: dict[str, Any] = {
        "model": batch.model,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "errors": _errors(batch),
        **{name: ms and ms // 1000 for name, ms in moments.items()},
    }
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "created_at": batch.created_ms // 1000,
        "expires_at": batch.expires_ms // 1000,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": _usage(batch),
        "metadata": batch.metadata,
        **{name: value for name, value in known.items() if value is not None},
    }


def _errors(batch: Batch) -> dict[str, Any] | None:
    if not batch.errors:
        return None
    return {"object": "list", "data": [msgspec.structs.asdict(error) for error in batch.errors]}


def _usage(batch: Batch) -> dict[str, Any]:
    return {
        "input_tokens": batch.input_tokens,
        "input_tokens_details": {"cached_tokens": batch.cached_input_tokens},
        "output_tokens": batch.output_tokens,
        "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
        "total_tokens": batch.input_tokens + batch.output_tokens,
    }


def _reply(batch: Batch, claim: Claim | None) -> Response[bytes]:
    body = msgspec.json.encode(shown(batch))
    if claim is not None:
        claim.keep(StoredReply(status=200, content_type="application/json", body=body))
    return Response(body, media_type="application/json")


def _unknown(batch_id: str) -> NotFoundError:
    return NotFoundError(f"There is no batch {batch_id[:64]!r}.", param="batch_id")
