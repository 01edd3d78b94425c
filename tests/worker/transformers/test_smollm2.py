"""A real model on the engine: it speaks, and it says what the library's own loop would."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers

from tests.fixtures.tiny_model import Asker

pytestmark = pytest.mark.model

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}


async def test_it_knows_the_capital_of_france(smollm2: Asker) -> None:
    reply = await smollm2.ask(content="What is the capital of France?", temperature=0, max_tokens=20)

    assert "Paris" in reply.text
    assert reply.end == "stop"


async def test_greedy_answers_are_those_of_generate(smollm2: Asker, smollm2_folder: Path) -> None:
    prompts = ["The capital of France is", "def add(a, b):"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(smollm2_folder, attn_implementation="sdpa")

    replies = await asyncio.gather(
        *(smollm2.ask(prompt=prompt, temperature=0, max_tokens=10) for prompt in prompts)
    )

    for prompt, reply in zip(prompts, replies, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**ids, max_new_tokens=10, do_sample=False, pad_token_id=2)
        new = out[0][ids["input_ids"].shape[1] :]
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True)


async def test_a_schema_is_kept_to(smollm2: Asker) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}

    reply = await smollm2.ask(content="A city as JSON.", response_format=form, max_tokens=60, temperature=0)

    assert set(msgspec.json.decode(reply.text)) == {"city", "people"}


async def test_a_seed_gives_the_same_words_in_any_company(smollm2: Asker) -> None:
    body: dict[str, Any] = {"content": "Tell me a joke.", "seed": 7, "top_p": 0.9, "max_tokens": 16}

    alone = await smollm2.ask(**body)
    crowd = await asyncio.gather(
        smollm2.ask(**body), *(smollm2.ask(content=f"Count to {n}.", max_tokens=16) for n in range(3))
    )

    assert crowd[0].text == alone.text
