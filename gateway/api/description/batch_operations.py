"""Files and batches."""

from typing import Annotated, Any, Literal

import msgspec

from gateway.api.description.openai_replies import Batch, BatchList, DeletedFile, File, FileList
from gateway.api.description.operation import READING, WRITING, Example, Operation, Parameter
from gateway.api.openai.batches import BatchBody

_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}
_FILE = {
    "id": "file-0193f2b0c10a5b3d9e6f4c2a1b7d",
    "object": "file",
    "bytes": 482,
    "created_at": 1795247421,
    "expires_at": 1797839421,
    "filename": "questions.jsonl",
    "purpose": "batch",
    "status": "processed",
}
_BATCH = {
    "id": "batch_0193f2b0c20a5b3d9e6f4c2a1b7d",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-0193f2b0c10a5b3d9e6f4c2a1b7d",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1795247422,
    "expires_at": 1795333822,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
    "metadata": None,
}
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_AFTER = Parameter("after", "The last id of the page before.", "query", _NAME, is_required=False)
_ORDER = Parameter("order", "By age.", "query", Literal["asc", "desc"], is_required=False)
_FILE_ID = Parameter("file_id", "As in the list.")
_BATCH_ID = Parameter("batch_id", "As in the list.")


def _limit(largest: int) -> Parameter:
    at_most = Annotated[int, msgspec.Meta(ge=1, le=largest)]
    return Parameter("limit", "How many at most.", "query", at_most, is_required=False)


FILES = (
    Operation(
        method="post",
        path="/v1/files",
        summary="Upload the input of a batch",
        tag="Batches",
        description="One request a line, each a JSON object with `custom_id`, `method`, `url` and `body`. It is checked "
        "when a batch is made of it.",
        request=_FORM,
        request_media="multipart/form-data",
        response=File,
        response_example=_FILE,
        refusals=WRITING,
    ),
    Operation(
        method="get",
        path="/v1/files",
        summary="List your files",
        tag="Batches",
        parameters=(
            _AFTER,
            _limit(10_000),
            _ORDER,
            Parameter("purpose", "Only these: `batch` or `batch_output`.", "query", _NAME, is_required=False),
        ),
        examples=(Example("", {}, "files.list"),),
        response=FileList,
        refusals=READING,
    ),
    Operation(
        method="get",
        path="/v1/files/{file_id}",
        summary="Show one file",
        tag="Batches",
        parameters=(_FILE_ID,),
        response=File,
        refusals=READING,
    ),
    Operation(
        method="delete",
        path="/v1/files/{file_id}",
        summary="Delete a file",
        tag="Batches",
        description="At once and for ever. A batch that has begun has no more need of its input.",
        parameters=(_FILE_ID,),
        response=DeletedFile,
        refusals=READING,
    ),
    Operation(
        method="get",
        path="/v1/files/{file_id}/content",
        summary="Download a file",
        tag="Batches",
        parameters=(_FILE_ID,),
        response={"type": "string", "format": "binary"},
        response_media="application/octet-stream",
        refusals=READING,
    ),
)

BATCHES = (
    Operation(
        method="post",
        path="/v1/batches",
        summary="Have a file of requests answered within a day",
        tag="Batches",
        description="Lines are answered when interactive requests leave room, at the price that a model has for batches. "
        "They count for quotas and budgets but not for rates a minute. What comes of them stands in two files, of "
        "answers and of errors; a batch that is cancelled or whose time is over keeps what was done.",
        request=BatchBody,
        examples=(
            Example(
                "A file of chats",
                {
                    "input_file_id": _FILE["id"],
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                },
                "batches.create",
            ),
        ),
        response=Batch,
        response_example=_BATCH,
        refusals=WRITING,
    ),
    Operation(
        method="get",
        path="/v1/batches",
        summary="List your batches",
        tag="Batches",
        parameters=(_AFTER, _limit(100), _ORDER),
        examples=(Example("", {}, "batches.list"),),
        response=BatchList,
        refusals=READING,
    ),
    Operation(
        method="get",
        path="/v1/batches/{batch_id}",
        summary="Show how far a batch is",
        tag="Batches",
        parameters=(_BATCH_ID,),
        response=Batch,
        refusals=READING,
    ),
    Operation(
        method="post",
        path="/v1/batches/{batch_id}/cancel",
        summary="Run no more lines of a batch",
        tag="Batches",
        description="Those that run are finished; then it is `cancelled`, with what was done by then.",
        parameters=(_BATCH_ID,),
        response=Batch,
        refusals=WRITING,
    ),
)
