"""What the other operations of OpenAI's API answer here. A field without a default is always there, if only as null."""

from typing import Any, Literal

import msgspec

from gateway.api.description.chat_replies import Usage


class Model(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: Literal["chat", "embedding", "moderation"] | msgspec.UnsetType = msgspec.UNSET
    """What it makes."""
    size: str | msgspec.UnsetType = msgspec.UNSET
    """small, medium, large or cloud: what policies call it."""
    context_window: int | msgspec.UnsetType = msgspec.UNSET
    max_output_tokens: int | msgspec.UnsetType = msgspec.UNSET
    abilities: list[str] | msgspec.UnsetType = msgspec.UNSET


class ModelList(msgspec.Struct):
    object: Literal["list"]
    data: list[Model]


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "content_filter"] | None
    """null only inside a stream."""


class Completion(msgspec.Struct):
    """A whole reply, and each event of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    system_fingerprint: str | msgspec.UnsetType | None = msgspec.UNSET


class Embedding(msgspec.Struct):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """With `encoding_format: base64`, little-endian 32-bit floats in base64."""


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class ModerationResult(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, float]


class Moderation(msgspec.Struct):
    id: str
    model: str
    results: list[ModerationResult]


class File(msgspec.Struct):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    expires_at: int | msgspec.UnsetType | None = msgspec.UNSET


class FileList(msgspec.Struct):
    object: Literal["list"]
    data: list[File]
    has_more: bool
    first_id: str | msgspec.UnsetType | None = msgspec.UNSET
    last_id: str | msgspec.UnsetType | None = msgspec.UNSET


class DeletedFile(msgspec.Struct):
    id: str
    object: Literal["file"]
    deleted: bool


class RequestCounts(msgspec.Struct):
    total: int
    completed: int
    failed: int


class Batch(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["batch"]
    endpoint: str
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    created_at: int
    request_counts: RequestCounts | msgspec.UnsetType = msgspec.UNSET
    output_file_id: str | msgspec.UnsetType | None = msgspec.UNSET
    error_file_id: str | msgspec.UnsetType | None = msgspec.UNSET
    errors: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str] | msgspec.UnsetType | None = msgspec.UNSET
    expires_at: int | msgspec.UnsetType | None = msgspec.UNSET
    completed_at: int | msgspec.UnsetType | None = msgspec.UNSET


class BatchList(msgspec.Struct):
    object: Literal["list"]
    data: list[Batch]
    has_more: bool
    first_id: str | msgspec.UnsetType | None = msgspec.UNSET
    last_id: str | msgspec.UnsetType | None = msgspec.UNSET


class ResponseUsage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, Any]
    output_tokens_details: dict[str, Any]


class Response(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["response"]
    created_at: int | float
    status: Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: str | list[dict[str, Any]] | None
    model: str
    output: list[dict[str, Any]]
    """Items of type `message`, `function_call` or `reasoning`."""
    parallel_tool_calls: bool
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    temperature: float | None
    top_p: float | None
    metadata: dict[str, str] | None
    usage: ResponseUsage | msgspec.UnsetType | None = msgspec.UNSET


class ResponseEvent(msgspec.Struct):
    """One event; its `event:` line repeats the type. The last one carries the whole response."""

    type: str
    sequence_number: int
