"""No voice fails, whatever an upstream's event holds beside what is read of it."""

from collections.abc import Callable

import msgspec
import pytest

from gateway.api.anthropic.voice import ChatVoice as MessageVoice
from gateway.api.anthropic.voice import NativeVoice
from gateway.api.openai.completion_voice import CompletionVoice
from gateway.api.openai.responses.decode import ResponsesDecoder
from gateway.api.openai.responses.voice import ResponsesVoice
from gateway.exchange import Voice
from gateway.upstreams.contract import Event

NUMBERS = [b"1e999", b"-1e999", b"9" * 5000, b"-" + b"9" * 5000]
MODEL = "m"


def a_response() -> Voice:
    request = ResponsesDecoder()(b'{"model": "m", "input": "Hi"}', {})
    return ResponsesVoice(request, MODEL, lambda: 1)


def a_message() -> Voice:
    return MessageVoice(MODEL, message_id="msg_1", input_tokens=1, stops=(), shows_thinking=True)


def a_completion() -> Voice:
    return CompletionVoice(MODEL, wants_usage=True)


@pytest.mark.fault("S5")
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("make", [a_response, a_message, a_completion])
@pytest.mark.parametrize("place", ["chunk", "choice", "logprobs", "delta"])
def test_a_number_that_no_computer_holds_spoils_nothing_beside_it(
    make: Callable[[], Voice], place: str, number: bytes
) -> None:
    odd = {name: b', "odd": ' + number if name == place else b"" for name in ("chunk", "choice", "delta")}
    logprobs = b'{"content": null, "odd": %b}' % number if place == "logprobs" else b"null"
    delta = b'{"content": "Paris"%b}' % odd["delta"]
    choice = b'{"index": 0, "delta": %b, "finish_reason": null, "logprobs": %b%b}' % (
        delta,
        logprobs,
        odd["choice"],
    )
    data = b'{"id": "c", "created": 1, "choices": [%b]%b}' % (choice, odd["chunk"])
    voice = make()

    told = b"".join(voice.events([Event(data=data, text="Paris")])) + voice.end()

    assert b"Paris" in told


@pytest.mark.fault("S5")
@pytest.mark.parametrize("number", NUMBERS)
def test_nor_does_it_in_the_beginning_of_a_message(number: bytes) -> None:
    data = b'{"type": "message_start", "message": {"id": "msg_1", "odd": %b}}' % number

    [frame] = NativeVoice(MODEL).events([Event(data=data, name="message_start")])

    said = msgspec.json.decode(frame.partition(b"data: ")[2])
    assert said["message"] == {"id": "msg_1", "odd": None, "model": MODEL}
