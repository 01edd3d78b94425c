"""Embeddings, moderations, models, files and batches."""

import json
import time

import openai
from openai.types import Batch

from tests.clients.cases import setting
from tests.clients.openai_python.start import MODEL, async_client, cases, client, lenient, raised, user

EMBEDDING_MODEL = setting("EMBEDDING_MODEL")


@cases.case("embeddings: base64, which the SDK asks for by itself, is the same as float")
def _() -> None:
    packed = lenient.embeddings.create(model=EMBEDDING_MODEL, input="Hello there")
    plain = client.embeddings.create(model=EMBEDDING_MODEL, input="Hello there", encoding_format="float")

    assert packed.data[0].embedding == plain.data[0].embedding
    assert len(plain.data[0].embedding) == 1536
    assert plain.usage.prompt_tokens == plain.usage.total_tokens == 2


@cases.case("embeddings: dimensions")
def _() -> None:
    reply = lenient.embeddings.create(model=EMBEDDING_MODEL, input="Hello", dimensions=256)

    assert len(reply.data[0].embedding) == 256


@cases.case("embeddings: a list of texts, and of tokens")
def _() -> None:
    texts = lenient.embeddings.create(model=EMBEDDING_MODEL, input=["one", "two", "one"])
    tokens = lenient.embeddings.create(model=EMBEDDING_MODEL, input=[[1, 2], [3, 4, 5]])

    assert [one.index for one in texts.data] == [0, 1, 2]
    assert texts.data[0].embedding == texts.data[2].embedding != texts.data[1].embedding
    assert tokens.usage.prompt_tokens == 5


@cases.case("embeddings: async")
async def _() -> None:
    async with async_client() as client:
        reply = await client.embeddings.create(model=EMBEDDING_MODEL, input="Hi", encoding_format="float")

    assert len(reply.data) == 1


@cases.case("embeddings: a chat model is refused")
def _() -> None:
    raised(openai.APIStatusError, lambda: lenient.embeddings.create(model=MODEL, input="Hello"))


if setting("MODERATION_MODEL"):

    @cases.case("moderations: a text, and several")
    def _() -> None:
        one = client.moderations.create(model=setting("MODERATION_MODEL"), input="I will kill you")
        two = client.moderations.create(model=setting("MODERATION_MODEL"), input=["Hello", "kill"])

        assert one.results[0].flagged
        assert one.results[0].categories.violence
        assert [result.flagged for result in two.results] == [False, True]


@cases.case("models: list")
def _() -> None:
    models = {model.id: model for model in client.models.list()}

    assert MODEL in models
    assert all(model.object == "model" and model.owned_by for model in models.values())


@cases.case("models: retrieve")
def _() -> None:
    assert client.models.retrieve(MODEL).id == MODEL


@cases.case("models: retrieve one that does not exist")
def _() -> None:
    raised(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


@cases.case("models: async")
async def _() -> None:
    async with async_client() as client:
        assert MODEL in [model.id async for model in client.models.list()]


def line(number: int, text: str) -> str:
    body = {"model": MODEL, "messages": user(text)}
    return json.dumps(
        {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    )


def ended(batch: Batch) -> Batch:
    for _ in range(200):
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            break
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


@cases.case("files: upload, list, retrieve, read, delete")
def _() -> None:
    content = (line(0, "Hello") + "\n").encode()
    file = client.files.create(file=("batch.jsonl", content), purpose="batch")

    assert (file.filename, file.bytes, file.purpose) == ("batch.jsonl", len(content), "batch")
    assert file.id in [one.id for one in client.files.list()]
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == content
    assert client.files.delete(file.id).deleted
    raised(openai.NotFoundError, lambda: client.files.retrieve(file.id))


@cases.case("batches: a batch runs, and its results can be read")
def _() -> None:
    lines = [line(0, "Hello"), line(1, "Count to 3"), line(2, "[refuse 400] Hello")]
    file = client.files.create(file=("batch.jsonl", "\n".join(lines).encode()), purpose="batch")

    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"job": "nightly"},
    )
    batch = ended(batch)

    assert batch.status == "completed", batch
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        3,
        2,
        1,
    )
    assert batch.metadata == {"job": "nightly"}
    assert batch.output_file_id is not None
    rows = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
    texts = {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"]
        for row in rows
        if row["response"]["status_code"] == 200
    }
    assert texts == {"r0": "You said: Hello", "r1": "1 2 3"}
    assert batch.id in [one.id for one in client.batches.list()]


@cases.case("batches: embeddings and responses")
def _() -> None:
    for endpoint, body in (
        ("/v1/embeddings", {"model": EMBEDDING_MODEL, "input": "Hello there"}),
        ("/v1/responses", {"model": MODEL, "input": "Hello there"}),
    ):
        row = json.dumps({"custom_id": "r", "method": "POST", "url": endpoint, "body": body})
        file = client.files.create(file=("batch.jsonl", row.encode()), purpose="batch")
        made = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")

        batch = ended(made)

        assert batch.output_file_id is not None, batch
        [told] = client.files.content(batch.output_file_id).text.splitlines()
        assert json.loads(told)["response"]["status_code"] == 200


@cases.case("batches: one that is cancelled")
def _() -> None:
    lines = [line(number, f"[wait 0.2] {number}") for number in range(40)]
    file = client.files.create(file=("batch.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )

    cancelled = client.batches.cancel(batch.id)

    assert cancelled.status in ("cancelling", "cancelled")
    assert ended(cancelled).status == "cancelled"


@cases.case("batches: a file that is none fails, and says where")
def _() -> None:
    try:
        file = client.files.create(file=("batch.jsonl", b"not json\n"), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    except openai.BadRequestError:
        return
    batch = ended(batch)
    assert batch.status == "failed", batch
    assert batch.errors is not None
