"""Files and batches as callers see them, held against OpenAI's own document and its SDK's types."""

import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from openai import types

from gateway.api.openai import batches, paging
from gateway.api.openai import files as openai_files
from gateway.batches.output import output_line
from gateway.ledger.batch_work import Answer, Answered, Ending
from gateway.ledger.batches import Batch, LineError
from gateway.ledger.files import StoredFile

NEW = Batch(
    id="batch_1",
    tenant_id="acme",
    endpoint="/v1/embeddings",
    input_file_id="file-1",
    output_file_id=None,
    error_file_id=None,
    metadata=None,
    model=None,
    status="validating",
    errors=(),
    created_ms=1_790_000_000_999,
    expires_ms=1_790_086_400_999,
    in_progress_ms=None,
    cancelling_ms=None,
    finalizing_ms=None,
    ended_ms=None,
    total=0,
    completed=0,
    failed=0,
    input_tokens=0,
    cached_input_tokens=0,
    output_tokens=0,
    reasoning_tokens=0,
)
FILE = StoredFile(
    id="file-1", tenant="acme", purpose="batch", filename="a", bytes=1, created_ms=1000, expires_ms=2000
)


@pytest.fixture(scope="module")
def spec() -> Any:
    document = json.loads((files("llm_comply") / "specs" / "openai_chat.json").read_bytes())
    return _as_json_schema(document["components"])


def _as_json_schema(value: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema has a second type."""
    if isinstance(value, dict):
        if value.get("nullable") and "type" in value:
            value = {**value, "type": [value["type"], "null"]}
        return {name: _as_json_schema(inner) for name, inner in value.items()}
    return [_as_json_schema(inner) for inner in value] if isinstance(value, list) else value


def check(spec: Any, name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": spec}
    jsonschema_rs.validator_for(schema).validate(value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "in_progress", "in_progress_ms": 5000, "total": 3, "metadata": {"a": "b"}, "model": "m"},
        {"status": "failed", "ended_ms": 5000, "errors": (LineError("a", "b"), LineError("a", "b", 1, "c"))},
        {"status": "cancelling", "cancelling_ms": 5000},
        *(
            {"status": status, "finalizing_ms": 5000, "ended_ms": 6000, "output_file_id": "file-2"}
            for status in ("completed", "expired", "cancelled")
        ),
    ],
    ids=lambda changes: changes.get("status", "validating"),
)
def test_a_batch_is_one_to_openai(spec: Any, changes: dict[str, Any]) -> None:
    batch = msgspec.structs.replace(NEW, **changes)

    shown = batches.shown(batch)

    check(spec, "Batch", shown)
    parsed = types.Batch.model_validate(shown, strict=True)
    assert parsed.created_at == 1_790_000_000
    if batch.ended_ms is not None:
        assert getattr(parsed, f"{batch.status}_at") == batch.ended_ms // 1000
    check(spec, "ListBatchesResponse", paging.paged([shown], has_more=False))


def test_a_file_is_one_to_openai(spec: Any) -> None:
    shown = openai_files.shown(FILE)

    check(spec, "OpenAIFile", shown)
    types.FileObject.model_validate(shown, strict=True)
    check(spec, "ListFilesResponse", paging.paged([shown], has_more=True))
    check(spec, "ListFilesResponse", paging.paged([], has_more=False))


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (Answer(request_id="req_1", status_code=200, reply=b'{"a":\n [1]}\n'), "completed"),
        (Answer(request_id="req_1", status_code=400, reply=b'{"error": {}}'), "completed"),
        (None, "expired"),
        (None, "cancelled"),
        (None, "revoked"),
    ],
)
def test_a_line_of_output_is_one_to_openai(spec: Any, answer: Answer | None, ending: Ending) -> None:
    line = output_line("batch_0a", Answered(7, 'c"\n', answer), ending)

    assert line.count(b"\n") == 1
    told = json.loads(line)
    check(spec, "BatchRequestOutput", told)
    assert (told["id"], told["custom_id"]) == ("batch_req_0a000007", 'c"\n')
    assert (told["response"] is None) == (answer is None)
    assert (told["error"] is None) == (answer is not None)
