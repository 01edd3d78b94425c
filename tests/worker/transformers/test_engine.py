"""The engine over a tiny random model: what it says, what it counts, and what it leaves behind."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.fixtures.tiny_model import END, Asker, running_engine
from workers.chats import Chats
from workers.engines.transformers_engine.engine import TransformersEngine
from workers.engines.transformers_engine.preparation import Options
from workers.errors import ConfigError, EngineError, InvalidRequestError
from workers.health import Canary
from workers.models import ModelFile
from workers.slots import Slots
from workers.timing import Clocks

NEVER_ENDS = {"logit_bias": {str(END): -100}}
PROMPTS = ["The weight of a letter", "Numbers: 0 1 2", "winter", "über den großen", "signs: , . ; " * 12]


class Reference:
    """The same model under the library's own `generate`."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")

    def greedy(self, prompt: str, tokens: int) -> str:
        ids = self.tokenizer(prompt, return_tensors="pt")
        out = self.model.generate(**ids, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        new = out[0][ids["input_ids"].shape[1] :].tolist()
        return str(self.tokenizer.decode(new, skip_special_tokens=True))

    def logprobs(self, prompt: str) -> Any:
        """Of the first token after it."""
        with torch.no_grad():
            return self.model(**self.tokenizer(prompt, return_tensors="pt")).logits[0, -1].log_softmax(-1)


@pytest.fixture(scope="module")
def reference(tiny_folder: Path) -> Reference:
    return Reference(tiny_folder)


@pytest.fixture(scope="module")
def chunked(tiny_folder: Path) -> Iterator[Asker]:
    """Reads a prompt in pieces of sixteen tokens."""
    with running_engine(tiny_folder, slots=8, batch=16) as asker:
        yield asker


@pytest.fixture(scope="module")
def sharing(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, reuse_prompts="always") as asker:
        yield asker


@pytest.fixture(scope="module")
def scarce(tiny_folder: Path) -> Iterator[Asker]:
    """Has room for two whole windows, and takes eight requests."""
    with running_engine(tiny_folder, kv_gib=34 * 32 * 2 * 2 * 2 * 16 * 4 / 2**30) as asker:
        yield asker


@pytest.fixture(scope="module")
def many(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, slots=32) as asker:
        yield asker


@pytest.fixture
def mortal(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder) as asker:
        yield asker


async def test_greedy_answers_are_those_of_generate_together_and_alone(
    tiny: Asker, reference: Reference
) -> None:
    expected = [reference.greedy(prompt, 24) for prompt in PROMPTS]

    alone = [await tiny.ask(prompt=prompt, temperature=0, max_tokens=24) for prompt in PROMPTS]
    together = await asyncio.gather(
        *(tiny.ask(prompt=prompt, temperature=0, max_tokens=24) for prompt in PROMPTS)
    )

    assert [reply.text for reply in alone] == expected
    assert [reply.text for reply in together] == expected


async def test_a_prompt_that_is_read_in_pieces_is_answered_the_same(
    chunked: Asker, reference: Reference
) -> None:
    long = PROMPTS[-1] * 3

    reply = await chunked.ask(prompt=long, temperature=0, max_tokens=12)

    assert reply.text == reference.greedy(long, 12)


async def test_a_long_prompt_is_read_between_the_tokens_of_a_running_answer(chunked: Asker) -> None:
    order: list[str] = []

    async def note(name: str, **body: Any) -> None:
        async for _ in chunked.engine.generate(chunked.job(**body, **NEVER_ENDS)):
            order.append(name)  # noqa: PERF401 - the order between two tasks is the point

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(note("short", prompt="winter", max_tokens=60))
        while order.count("short") < 5:
            await asyncio.sleep(0)
        tasks.create_task(note("long", prompt="winter " * 130, max_tokens=2))

    before = order.index("long")
    assert order[:before].count("short") >= 5 + 130 // 16


async def test_usage_counts_each_prompt_once_and_every_token_of_all_answers(tiny: Asker) -> None:
    one = await tiny.ask(prompt="The weight", max_tokens=5, **NEVER_ENDS)
    four = await tiny.ask(prompt=["The weight", "winter"], n=2, max_tokens=5, **NEVER_ENDS)
    other = await tiny.ask(prompt="winter", max_tokens=5, **NEVER_ENDS)

    assert one.usage is not None
    assert four.usage is not None
    assert other.usage is not None
    assert (one.usage.completion, four.usage.completion) == (5, 20)
    assert four.usage.prompt == one.usage.prompt + other.usage.prompt
    assert four.ends == dict.fromkeys(range(4), "length")


async def test_an_answer_goes_to_the_end_of_the_window_and_no_further(tiny: Asker) -> None:
    prompt = tiny.engine.card.context_window - 8

    reply = await tiny.ask(prompt=[5] * prompt, max_tokens=1000, **NEVER_ENDS)

    assert (reply.tokens, reply.end) == (8, "length")
    assert await tiny.blocks_used() == 0


@pytest.mark.parametrize(
    ("body", "param"), [({"prompt": [5] * 512}, "prompt"), ({"content": "word " * 400}, "messages")]
)
async def test_a_prompt_beyond_the_window_is_refused_before_any_work(
    tiny: Asker, body: dict[str, Any], param: str
) -> None:
    before = await tiny.engine.stats()

    with pytest.raises(InvalidRequestError) as refused:
        await tiny.ask(**body)

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", param)
    assert await tiny.engine.stats() == before


async def test_a_token_that_does_not_exist_is_refused(tiny: Asker) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await tiny.ask(prompt=[5, 100_000])

    assert refused.value.param == "prompt"


async def test_closing_an_answer_frees_its_memory_within_a_step(tiny: Asker) -> None:
    answer = tiny.engine.generate(tiny.job(max_tokens=400, **NEVER_ENDS))
    await anext(answer)
    await anext(answer)
    busy = await tiny.engine.stats()

    await answer.aclose()

    after = await tiny.engine.stats()
    assert (busy.busy_slots, after.busy_slots) == (1, 0)
    assert busy.kv_blocks_used > after.kv_blocks_used == 0
    assert after.generated_tokens - busy.generated_tokens <= 2


@pytest.mark.fault("M6")
async def test_two_hundred_clients_that_hang_up_at_random_leave_nothing_behind(tiny: Asker) -> None:
    chance = random.Random(3)
    places = asyncio.Semaphore(tiny.engine.slots)

    async def client(index: int) -> None:
        body = {"prompt": "winter " * chance.randint(1, 30), "n": chance.choice([1, 1, 2]), "seed": index}
        asked = asyncio.create_task(tiny.ask(max_tokens=50, **body, **NEVER_ENDS))  # noqa: TID251 - it is cancelled and awaited below
        for _ in range(chance.randint(0, 60)):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])

    async def in_turn(index: int) -> None:
        async with places:
            await client(index)

    await asyncio.gather(*(in_turn(index) for index in range(200)))

    left = await tiny.engine.stats()
    assert (left.busy_slots, left.kv_blocks_used) == (0, 0)
    assert tiny.engine._loaded().loop._rows == {}


async def test_prefixes_are_shared_only_when_that_was_asked_for(tiny: Asker, sharing: Asker) -> None:
    body: dict[str, Any] = {"prompt": [7] * 200, "max_tokens": 3, "temperature": 0}

    shared = [await sharing.ask(**body) for _ in range(2)]
    never = [await tiny.ask(**body) for _ in range(2)]

    assert [reply.usage.cached for reply in shared if reply.usage] == [0, 192]
    assert [reply.usage.cached for reply in never if reply.usage] == [0, 0]
    assert len({reply.text for reply in shared + never}) == 1


async def test_answers_that_outgrow_the_memory_wait_their_turn_and_lose_nothing(
    tiny: Asker, scarce: Asker
) -> None:
    bodies: list[dict[str, Any]] = [
        {"prompt": f"Numbers: {number}", "temperature": 0, "max_tokens": 150, **NEVER_ENDS}
        for number in range(8)
    ]

    crowded = await asyncio.gather(*(scarce.ask(**body) for body in bodies))
    roomy = await asyncio.gather(*(tiny.ask(**body) for body in bodies))

    assert [reply.text for reply in crowded] == [reply.text for reply in roomy]
    assert [reply.usage for reply in crowded] == [reply.usage for reply in roomy]
    assert await scarce.blocks_used() == 0


@pytest.mark.fault("S19")
@pytest.mark.fault("S20")
async def test_a_loop_that_dies_fails_who_waits_and_whoever_comes(mortal: Asker) -> None:
    answer = mortal.engine.generate(mortal.job(max_tokens=400, **NEVER_ENDS))
    await anext(answer)

    mortal.engine._loaded().loop._manager.model.forward = None

    with pytest.raises(EngineError):
        async for _ in answer:
            pass
    await mortal.engine.failed()
    with pytest.raises(EngineError):
        await mortal.ask()
    with pytest.raises(EngineError):
        await mortal.engine.stats()
    slots = Slots(8, max_waiting=1, max_wait_s=1, age_s=1, now_s=lambda: 0.0)
    chats = Chats(mortal.engine, slots, Clocks(unix_s=lambda: 0, monotonic_s=lambda: 0.0))
    canary = Canary(chats.probe, now_s=lambda: 0.0)
    await canary.check()
    assert not canary.is_well


async def test_the_same_seed_gives_the_same_text_in_any_company(tiny: Asker) -> None:
    body: dict[str, Any] = {
        "prompt": "The weight",
        "temperature": 1,
        "top_p": 0.95,
        "max_tokens": 20,
        **NEVER_ENDS,
    }

    alone = await tiny.ask(seed=11, **body)
    crowd = await asyncio.gather(
        tiny.ask(seed=11, **body), *(tiny.ask(prompt="winter " * n, max_tokens=25) for n in range(1, 7))
    )
    two = await tiny.ask(seed=11, n=2, **body)
    other = await tiny.ask(seed=12, **body)

    assert crowd[0].text == alone.text == two.texts[0]
    assert two.texts[1] != alone.text
    assert other.text != alone.text


async def test_without_a_seed_every_answer_is_another(tiny: Asker) -> None:
    replies = [await tiny.ask(prompt="The weight", max_tokens=12, **NEVER_ENDS) for _ in range(3)]

    assert len({reply.text for reply in replies}) == 3


async def test_logprobs_are_the_models_own_whatever_was_done_to_pick_the_token(
    tiny: Asker, reference: Reference
) -> None:
    reply = await tiny.ask(prompt="The weight", max_tokens=1, logprobs=3, logit_bias={"40": 100})

    expected = reference.logprobs("The weight")
    told = reply.logprobs[0]
    values, tokens = expected.topk(3)
    assert told["logprob"] == pytest.approx(float(expected[40]), abs=1e-4)
    assert [top["logprob"] for top in told["top_logprobs"]] == pytest.approx(values.tolist(), abs=1e-4)
    assert told["bytes"] == list(tiny.engine._loaded().vocabulary.bytes_of(40))
    assert [top["bytes"] for top in told["top_logprobs"]] == [
        list(tiny.engine._loaded().vocabulary.name_of(token)) for token in tokens.tolist()
    ]


async def test_a_stop_string_ends_the_answer_and_gives_its_place_back(tiny: Asker) -> None:
    whole = await tiny.ask(prompt="winter", temperature=0, max_tokens=30, **NEVER_ENDS)
    stop = whole.text[9:12]

    reply = await tiny.ask(prompt="winter", temperature=0, max_tokens=30, stop=stop, logprobs=0, **NEVER_ENDS)

    assert (reply.text, reply.end) == (whole.text[: whole.text.index(stop)], "stop")
    assert reply.tokens < 30
    assert "".join(entry["token"] for entry in reply.logprobs).startswith(reply.text)
    assert await tiny.blocks_used() == 0


async def test_thirty_two_streams_all_begin_before_one_ends(many: Asker) -> None:
    begun, ended_at = set(), []

    async def stream(index: int) -> None:
        async for _ in many.engine.generate(
            many.job(prompt=f"Numbers: {index}", max_tokens=40, **NEVER_ENDS)
        ):
            begun.add(index)
        ended_at.append(len(begun))

    await asyncio.gather(*(stream(index) for index in range(32)))

    assert ended_at[0] == 32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kv_gib": 1e-5}, "give at least 0.000"),
        ({"slots": 10**9}, "it does not fit"),
        ({"precision": "nf4"}, "needs bitsandbytes"),
        ({"device": "cuda"}, "there is no GPU"),
        ({"attention": "flash"}, "needs a GPU"),
    ],
)
async def test_what_cannot_be_loaded_says_why_with_numbers(
    tiny_folder: Path, options: dict[str, Any], says: str
) -> None:
    chosen = Options(**{"slots": 2, "context": 512, "threads": 1} | options)
    engine = TransformersEngine(ModelFile("tiny", tiny_folder), chosen, seeds=random.Random(7))

    with pytest.raises(ConfigError, match=says):
        await engine.start()
    await engine.stop()


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("int8", "float32")])
def test_a_smaller_precision_answers_and_is_on_the_card(
    tiny_folder: Path, precision: str, dtype: str
) -> None:
    with running_engine(tiny_folder, precision=precision) as asker:
        reply = asyncio.run(asker.ask(max_tokens=5, **NEVER_ENDS))

        assert reply.tokens == 5
        assert asker.engine.card.dtype == dtype
