"""`weighbridge plan calibrate` against a server whose speed is known, on a clock that the server moves."""

import asyncio
import json

import httpx
import msgspec
import pytest

from gateway.cli import plan, plan_calibrate
from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.planning.sizing.calibration import read_calibration
from gateway.planning.sizing.gpus import gpu
from gateway.planning.sizing.memory import Serving
from gateway.planning.sizing.models import model
from gateway.planning.sizing.performance import Measured, calibrated
from gateway.planning.units import Seconds, TokensPerSecond
from tests.fixtures.planning import NOW_MS

WAIT_S, PROMPT_TOKEN_S, STEP_S = 0.2, 0.001, 0.04
TOGETHER = 8


class Server(httpx.AsyncBaseTransport):
    """Answers in OpenAI's way. A step takes as long for eight sequences as for one."""

    def __init__(self, **changes):
        self.clock = ManualClock(NOW_MS)
        self.bodies = []
        self.headers = []
        self.open = 0
        self.changes = changes

    async def handle_async_request(self, request):
        body = json.loads(request.content)
        self.bodies.append(body)
        self.headers.append(request.headers)
        assert request.url.path == "/v1/chat/completions"
        if "status" in self.changes:
            return httpx.Response(self.changes["status"], text="no such model")
        return httpx.Response(200, stream=_Stream(self, body))


class _Stream(httpx.AsyncByteStream):
    def __init__(self, server, body):
        self.server = server
        self.body = body

    async def __aiter__(self):
        server, changes = self.server, self.server.changes
        output = min(self.body["max_tokens"], changes.get("stops_after", 10**6))
        prompt = len(self.body["messages"][0]["content"].split())
        server.open += 1
        server.clock.advance(WAIT_S + prompt * PROMPT_TOKEN_S)
        await asyncio.sleep(0)  # all of those that are asked at once are open before the first decodes
        for at in range(output):
            if at and not changes.get("one_piece"):
                server.clock.advance(STEP_S / server.open)
            yield changes.get("event", b'data: {"choices":[{"delta":{"content":"7"}}]}') + b"\n\n"
            await asyncio.sleep(0)
        server.open -= 1
        if not changes.get("no_usage"):
            usage = {"prompt_tokens": prompt, "completion_tokens": output}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode()
        yield b"data: [DONE]\n\n"


def calibrate(tmp_path, server, *more):
    argv = ["--url", "http://127.0.0.1:1/v1", "--served", "own", "--model", "llama-3-8b", "--gpu", "a10"]
    file = tmp_path / "calibration.json"
    assert plan_calibrate.main([*argv, "--save", str(file), *more], server.clock, server) == 0
    return read_calibration(file.read_text())


def refusal(tmp_path, server, *more):
    with pytest.raises(ConfigError) as refused:
        calibrate(tmp_path, server, *more)
    return str(refused.value)


def test_a_server_of_known_speed_gets_the_shares_that_belong_to_it(tmp_path, capsys):
    server = Server()

    found = calibrate(tmp_path, server)

    short, long, decode = (len(server.bodies[at]["messages"][0]["content"].split()) for at in (1, 4, 7))
    expected = calibrated(
        Serving(architecture=model("llama-3-8b").architecture),
        gpu("a10"),
        Measured(
            short_prompt=short,
            short_first_token=Seconds(WAIT_S + short * PROMPT_TOKEN_S),
            long_prompt=long,
            long_first_token=Seconds(WAIT_S + long * PROMPT_TOKEN_S),
            decode_prompt=decode,
            decode_output=128,
            decode_alone=TokensPerSecond(1 / STEP_S),
            decode_together=TokensPerSecond(1),
            together=TOGETHER,
        ),
    )
    assert (found.mbu, found.mfu) == pytest.approx((expected.mbu, expected.mfu))
    assert 0 < found.serving_eff < 1
    assert (found.model, found.gpu, found.tp, found.precision) == ("Llama-3-8B", "A10", 1, "fp16")
    assert found.date == "2026-11-21"
    told = capsys.readouterr().out
    assert "25.0 tokens/s  MBU" in told
    assert "1,000.0 tokens/s  MFU" in told


def test_what_is_asked_for_is_streamed_and_never_of_one_prefix(tmp_path):
    server = Server()

    calibrate(tmp_path, server)

    starts = [body["messages"][0]["content"][:20] for body in server.bodies]
    assert len(server.bodies) == 1 + 3 + 3 + 3 + 3 * TOGETHER
    assert len(set(starts)) == len(starts)
    assert all(body["stream"] and body["model"] == "own" for body in server.bodies)


def test_a_key_is_read_from_its_file(tmp_path):
    server, file = Server(), tmp_path / "key"
    file.write_text("sk-secret\n")

    calibrate(tmp_path, server, "--key-file", str(file))

    assert {headers["authorization"] for headers in server.headers} == {"Bearer sk-secret"}


def test_thoughts_are_tokens_too(tmp_path):
    event = b'data: {"choices":[{"delta":{"content":null,"reasoning_content":"7"}}]}'

    assert calibrate(tmp_path, Server(event=event)).mbu == calibrate(tmp_path, Server()).mbu


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": 404}, "answered 404: no such model"),
        ({"no_usage": True}, "reports no usage"),
        ({"stops_after": 20}, "stopped after 20 tokens of 128"),
        ({"one_piece": True}, "in one piece"),
        ({"event": b"data: {"}, "not that of OpenAI's chat completions"),
        ({"event": b'data: {"choices":[3]}'}, "not that of OpenAI's chat completions"),
    ],
)
def test_a_server_that_cannot_be_timed_is_refused_with_why(tmp_path, changes, told):
    assert told in refusal(tmp_path, Server(**changes))


def test_a_server_that_is_not_there_is_told_of(tmp_path):
    class Gone(Server):
        async def handle_async_request(self, request):
            raise httpx.ConnectError("refused", request=request)

    assert "ConnectError" in refusal(tmp_path, Gone())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--gpu", "t400"), "No GPU 't400'"),
        (("--tp", "5"), "does not divide"),
        (("--url", "http://[::1"), "--url"),
        (("--key-file", "/nowhere/key"), "cannot read /nowhere/key"),
        (("--precision", "nf4", "--gpu", "t4"), None),
    ],
)
def test_what_is_wrong_with_the_flags_is_said(tmp_path, more, told):
    if told is None:
        assert calibrate(tmp_path, Server(), *more).precision == "nf4"
    else:
        assert told in refusal(tmp_path, Server(), *more)


def test_a_worker_that_is_too_fast_for_its_card_is_told_to_be_another(tmp_path):
    assert "MBU" in refusal(tmp_path, Server(), "--model", "llama-3.1-405b")


def test_the_model_may_be_given_as_its_configuration(tmp_path):
    config = tmp_path / "config.json"
    config.write_bytes(
        msgspec.json.encode(
            {
                "model_type": "llama",
                "_name_or_path": "acme/own",
                "hidden_size": 4096,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "intermediate_size": 14336,
                "vocab_size": 128256,
            }
        )
    )
    server, file = Server(), tmp_path / "calibration.json"
    argv = ["--url", "http://127.0.0.1:1/v1", "--served", "own", "--config", str(config), "--gpu", "a10"]

    plan_calibrate.main([*argv, "--save", str(file)], server.clock, server)

    assert read_calibration(file.read_text()).model == "acme/own"


def test_it_is_a_command_beside_the_tools(capsys):
    with pytest.raises(SystemExit) as done:
        plan.main(["calibrate", "--help"])

    assert done.value.code == 0
    assert "Measure a running model server" in capsys.readouterr().out
