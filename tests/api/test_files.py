"""Files as an app meets them, through OpenAI's own SDK."""

import openai
import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway

LINES = b'{"custom_id": "1"}\n' * 3


def named(name: str, content: bytes = LINES) -> tuple[str, bytes]:
    return (name, content)


async def test_a_file_comes_back_as_it_was_sent(gateway: RunningGateway) -> None:
    client = gateway.client()
    content = bytes(range(256)) * 10_000  # several chunks

    file = await client.files.create(file=named("in.jsonl", content), purpose="batch")

    assert file.id.startswith("file-")
    assert (file.object, file.bytes, file.filename, file.purpose, file.status) == (
        "file",
        len(content),
        "in.jsonl",
        "batch",
        "processed",
    )
    assert file.expires_at == file.created_at + 2_592_000
    assert await client.files.retrieve(file.id) == file
    assert (await client.files.content(file.id)).content == content


async def test_a_file_says_when_it_goes(gateway: RunningGateway) -> None:
    file = await gateway.client().files.create(
        file=named("in.jsonl"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )

    assert file.expires_at == file.created_at + 3600


async def test_a_list_goes_on_where_its_page_ended(gateway: RunningGateway) -> None:
    client = gateway.client()
    made = [(await client.files.create(file=named(f"{n}.jsonl"), purpose="batch")).id for n in range(3)]

    page = await client.files.list(limit=2)
    every = [file.id async for file in client.files.list(limit=2)]

    assert len(page.data) == 2
    assert page.has_more
    assert set(every) == set(made)
    assert len(every) == 3
    assert [file async for file in client.files.list(purpose="batch_output")] == []


async def test_a_deleted_file_is_not_found(gateway: RunningGateway) -> None:
    client = gateway.client()
    file = await client.files.create(file=named("in.jsonl"), purpose="batch")

    deleted = await client.files.delete(file.id)

    assert (deleted.id, deleted.deleted, deleted.object) == (file.id, True, "file")
    for act in (client.files.retrieve, client.files.delete, client.files.content):
        with pytest.raises(openai.NotFoundError) as missing:
            await act(file.id)
        assert missing.value.code == "not_found"


@pytest.mark.fault("A8")
async def test_another_tenants_file_is_as_one_that_does_not_exist(gateway: RunningGateway) -> None:
    file = await gateway.client().files.create(file=named("in.jsonl"), purpose="batch")
    rival = gateway.client(await gateway.new_key("rival", "paid"))

    assert [found async for found in rival.files.list()] == []
    for act in (rival.files.retrieve, rival.files.delete, rival.files.content):
        with pytest.raises(openai.NotFoundError) as foreign:
            await act(file.id)
        with pytest.raises(openai.NotFoundError) as unknown:
            await act("file-0000")
        assert str(foreign.value).replace(file.id, "file-0000") == str(unknown.value)
    assert (await gateway.client().files.retrieve(file.id)).id == file.id


@pytest.mark.parametrize(
    ("file", "fields", "param"),
    [
        (LINES, {"purpose": "assistants"}, "purpose"),
        (LINES, {}, "purpose"),
        (None, {"purpose": "batch"}, "file"),
        (b"", {"purpose": "batch"}, "file"),
        (LINES, {"purpose": "batch", "expires_after[seconds]": "3600"}, "expires_after.anchor"),
        (
            LINES,
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1"},
            "expires_after.seconds",
        ),
        (
            LINES,
            {
                "purpose": "batch",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "000003600" + "9" * 30,
            },
            "expires_after.seconds",
        ),
        (LINES, {"purpose": "b" * 2000}, "purpose"),
    ],
)
async def test_a_form_that_will_not_do_is_refused_with_its_field(
    gateway: RunningGateway, file: bytes | None, fields: dict[str, str], param: str
) -> None:
    parts: dict[str, tuple[str | None, bytes]] = {
        name: (None, text.encode()) for name, text in fields.items()
    }
    if file is not None:
        parts["file"] = ("in.jsonl", file)

    async with gateway.http() as http:
        reply = await http.post("/v1/files", files=parts)
        left = await http.get("/v1/files")

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param
    assert left.json()["data"] == []


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 415),
        ("multipart/form-data; boundary=x", b"--y\r\n", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\ncut',
            400,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\n\r\n--x--\r\n", 400),
    ],
)
async def test_a_body_that_is_no_form_is_refused(
    gateway: RunningGateway, kind: str, body: bytes, status: int
) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/files", content=body, headers={"content-type": kind})

    assert reply.status_code == status
    assert reply.json()["error"]["message"]


async def test_a_name_is_shown_without_its_path_and_without_what_cannot_be_shown(
    gateway: RunningGateway,
) -> None:
    body = (
        b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
        b'content-disposition: form-data; name="file"; filename="../../etc/\x07pass\xff\xfewd.jsonl"\r\n\r\n{}\r\n--x--\r\n'
    )

    async with gateway.http() as http:
        kind = {"content-type": "multipart/form-data; boundary=x"}
        reply = await http.post("/v1/files", content=body, headers=kind)

    assert reply.status_code in (200, 400)
    if reply.status_code == 200:
        assert "/" not in reply.json()["filename"]
        assert reply.json()["filename"].isprintable()


async def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("batches: {max_file_bytes: 100000}")
    client = gateway.client()

    await client.files.create(file=named("in.jsonl", b"x" * 100_000), purpose="batch")
    with pytest.raises(openai.APIStatusError) as refused:
        await client.files.create(file=named("in.jsonl", b"x" * 100_001), purpose="batch")
    with pytest.raises(openai.APIStatusError) as announced:
        await client.files.create(file=named("in.jsonl", b"x" * 1_000_000), purpose="batch")

    for error in (refused.value, announced.value):
        assert (error.status_code, error.code, error.param) == (413, "request_too_large", "file")
    assert len([file async for file in client.files.list()]) == 1


async def test_a_tenant_has_room_for_so_much_until_he_deletes(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("batches: {max_tenant_bytes: 150}")
    client = gateway.client()
    first = await client.files.create(file=named("in.jsonl", b"x" * 100), purpose="batch")

    with pytest.raises(openai.RateLimitError) as refused:
        await client.files.create(file=named("in.jsonl", b"x" * 100), purpose="batch")

    assert (refused.value.code, refused.value.param) == ("insufficient_quota", "file")
    assert refused.value.response.headers["x-should-retry"] == "false"
    await client.files.delete(first.id)
    await client.files.create(file=named("in.jsonl", b"x" * 100), purpose="batch")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("limit=000000001000000", "limit"),
        ("limit=1" + "0" * 5000, "limit"),
        ("order=up", "order"),
        ("after=%00", "after"),
        ("purpose=%00", "purpose"),
    ],
)
async def test_a_question_for_a_page_that_cannot_be_is_refused(
    gateway: RunningGateway, query: str, param: str
) -> None:
    async with gateway.http() as http:
        reply = await http.get(f"/v1/files?{query}")

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


async def test_whoever_has_no_key_gets_nothing(gateway: RunningGateway) -> None:
    async with gateway.http("x") as http:
        replies = [
            await http.get("/v1/files"),
            await http.get("/v1/files/file-1"),
            await http.get("/v1/files/file-1/content"),
            await http.delete("/v1/files/file-1"),
            await http.post("/v1/files", files={"file": b"x"}),
        ]

    assert {reply.status_code for reply in replies} == {401}
