"""/v1/files: what a batch reads and what it wrote. Kept in the database, so that every gateway has them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from gateway.api.openai.paging import is_name, number_in, page_of, paged
from gateway.api.upload import Form, read_form, too_large
from gateway.config import Batches
from gateway.errors import InvalidRequestError, NotFoundError, QuotaExhaustedError
from gateway.ledger.database import DatabaseUnavailableError
from gateway.ledger.files import Draft, Files, NoRoomError, StoredFile
from gateway.stages.authenticate import Authenticate

_LARGEST_PAGE = 10_000
_SHORTEST_TTL_S, _LONGEST_TTL_S = 3600, 2_592_000

AnyRequest = Request[Any, Any, Any]


def file_handlers(files: Files, authenticate: Authenticate, settings: Batches) -> list[HTTPRouteHandler]:
    @post(
        "/v1/files",
        status_code=200,
        request_max_body_size=None,
        opt={"body_timeout_s": settings.upload_timeout_s},
    )
    async def upload_file(request: AnyRequest) -> Response[dict[str, Any]]:
        caller = await authenticate(request.scope["headers"])
        draft = Draft(files, caller.tenant)
        try:
            form = await _received(request, draft, settings)
            _check_purpose(form.fields)
            ttl_s = _ttl_s(form.fields)
            stored = await asyncio.to_thread(_finished, files, draft, form, ttl_s)
        except NoRoomError as exc:
            await _drop(draft)
            raise QuotaExhaustedError(
                "Your files take up all the room that they may; delete some, or let them expire.",
                param="file",
            ) from exc
        except BaseException:
            await _drop(draft)
            raise
        return Response(shown(stored))

    @get("/v1/files")
    async def list_files(request: AnyRequest) -> Response[dict[str, Any]]:
        caller = await authenticate(request.scope["headers"])
        page = page_of(request, usual=_LARGEST_PAGE, largest=_LARGEST_PAGE)
        purpose = request.query_params.get("purpose")
        if purpose is not None and not is_name(purpose):
            raise InvalidRequestError("`purpose` is one of those that files have.", param="purpose")
        found, has_more = await asyncio.to_thread(files.page, caller.tenant, page, purpose=purpose)
        return Response(paged([shown(file) for file in found], has_more=has_more))

    @get("/v1/files/{file_id:str}")
    async def retrieve_file(request: AnyRequest, file_id: FromPath[str]) -> Response[dict[str, Any]]:
        caller = await authenticate(request.scope["headers"])
        return Response(shown(await _found(files, caller.tenant, file_id)))

    @get("/v1/files/{file_id:str}/content")
    async def file_content(request: AnyRequest, file_id: FromPath[str]) -> Stream:
        caller = await authenticate(request.scope["headers"])
        file = await _found(files, caller.tenant, file_id)
        return Stream(
            _content(files, file.id),
            media_type="application/octet-stream",
            headers={
                "content-length": str(file.bytes),
                "content-disposition": "attachment",
                "x-content-type-options": "nosniff",
            },
        )

    @delete("/v1/files/{file_id:str}", status_code=200)
    async def delete_file(request: AnyRequest, file_id: FromPath[str]) -> Response[dict[str, Any]]:
        caller = await authenticate(request.scope["headers"])
        file = await _found(files, caller.tenant, file_id)
        if not await asyncio.to_thread(files.delete, caller.tenant, file.id):
            raise _unknown(file_id)
        return Response({"id": file.id, "object": "file", "deleted": True})

    return [upload_file, list_files, retrieve_file, file_content, delete_file]


def shown(file: StoredFile) -> dict[str, Any]:
    """As OpenAI's clients know it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_ms // 1000,
        "expires_at": file.expires_ms // 1000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


async def _received(request: AnyRequest, draft: Draft, settings: Batches) -> Form:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > 2 * settings.max_file_bytes:
        raise too_large(settings.max_file_bytes)
    return await read_form(
        request.headers.get("content-type", ""),
        request.stream(),
        lambda piece: asyncio.to_thread(draft.write, piece),
        max_file_bytes=settings.max_file_bytes,
    )


def _finished(files: Files, draft: Draft, form: Form, ttl_s: int | None) -> StoredFile:
    draft_id = draft.flush()
    assert draft_id is not None  # noqa: S101 - an empty file has been refused
    return files.finish(draft_id, purpose="batch", filename=form.filename, ttl_s=ttl_s)


async def _drop(draft: Draft) -> None:
    # What cannot be dropped now goes a day later, with what dead processes left.
    with anyio.CancelScope(shield=True), suppress(DatabaseUnavailableError):
        await asyncio.to_thread(draft.drop)


async def _found(files: Files, tenant: str, file_id: str) -> StoredFile:
    file = await asyncio.to_thread(files.find, tenant, file_id) if is_name(file_id) else None
    if file is None:
        raise _unknown(file_id)
    return file


def _unknown(file_id: str) -> NotFoundError:
    return NotFoundError(f"There is no file {file_id[:64]!r}.", param="file_id")


async def _content(files: Files, file_id: str) -> AsyncIterator[bytes]:
    number = 0
    while (chunk := await asyncio.to_thread(files.chunk, file_id, number)) is not None:
        yield chunk
        number += 1


def _check_purpose(fields: dict[str, str]) -> None:
    purpose = fields.get("purpose")
    if purpose is None:
        raise InvalidRequestError(
            "Missing required parameter: 'purpose'.", code="missing_required_parameter", param="purpose"
        )
    if purpose != "batch":
        raise InvalidRequestError(
            f"Files are kept here for batches only: `purpose` is 'batch', not {purpose[:64]!r}.",
            param="purpose",
        )


def _ttl_s(fields: dict[str, str]) -> int | None:
    """None: as long as files are kept here."""
    if not any(name.startswith("expires_after") for name in fields):
        return None
    if fields.get("expires_after[anchor]") != "created_at":
        raise InvalidRequestError("`expires_after[anchor]` is 'created_at'.", param="expires_after.anchor")
    seconds = number_in(fields.get("expires_after[seconds]", ""), _SHORTEST_TTL_S, _LONGEST_TTL_S)
    if seconds is None:
        raise InvalidRequestError(
            f"`expires_after[seconds]` is a number from {_SHORTEST_TTL_S} to {_LONGEST_TTL_S}.",
            param="expires_after.seconds",
        )
    return seconds
