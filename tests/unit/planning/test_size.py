"""`plan size`: what a model takes, on what it fits, and what is said when it does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.answering import answered
from gateway.planning.contract import Context, PlanError
from gateway.planning.rendering import record
from gateway.planning.sizing.gpus import gpu, gpus
from gateway.planning.sizing.memory import (
    Serving,
    fit,
    limit_of,
    max_concurrency,
    max_context,
    plan_memory,
    required_fit,
    smallest_fit,
)
from gateway.planning.sizing.models import model, models
from gateway.planning.sizing.size import TOOL, SizeInputs
from gateway.planning.units import Bytes
from tests.fixtures.planning import TODAY

REFERENCE_ORDER = [
    gpu(name) for name in ("T4", "A10", "L4", "RTX4090", "A100-40", "RTX6000Ada", "A100-80", "H200")
]

known = st.sampled_from(models())
servings = st.builds(
    Serving,
    architecture=known.map(lambda each: each.architecture),
    precision=st.sampled_from(["fp32", "fp16", "int8", "int4", "nf4"]),
    kv_bits=st.sampled_from([8, 16]),
    ctx=st.integers(1, 131_072),
    concurrency=st.integers(1, 512),
)
cards = st.sampled_from(gpus())
utils = st.floats(0.05, 1)


def serving(name, **changes):
    return Serving(architecture=model(name).architecture, **changes)


def sized(files=None, **inputs):
    return record(
        answered(TOOL, SizeInputs(**inputs), inputs, Context(today=TODAY, files=files or {})),
        version="1",
        today=TODAY,
    )


def refusal(files=None, **inputs):
    with pytest.raises(PlanError) as refused:
        TOOL.plan(SizeInputs(**inputs), Context(today=TODAY, files=files or {}))
    return refused.value


def test_llama_3_8b_takes_17_gib_in_16_bits():
    answer = sized(model="llama-3-8b", precision="fp16", ctx=8192, concurrency=1)

    assert answer["total_gib"] == pytest.approx(17.224, abs=5e-4)
    assert "1 x A10 is the smallest that fits" in answer["headline"]


@pytest.mark.parametrize(
    ("name", "one", "sixteen", "int4", "fits"),
    [
        ("Llama-7B", 17.817, 77.819, 8.888, ("A10", "H200", "T4")),
        ("Llama-3-8B", 17.224, 32.231, 7.600, ("A10", "A100-40", "T4")),
        ("Llama-2-70B", 132.510, 170.012, 38.129, ("2xA100-80", "2xH200", "RTX6000Ada")),
        ("GLM-4-9B", 19.087, 23.783, 7.839, ("A10", "A100-40", "T4")),
        ("Qwen2.5-7B", 15.856, 22.427, 6.858, ("A10", "A100-40", "T4")),
        ("Mixtral-8x7B", 89.256, 104.258, 25.224, ("H200", "H200", "A100-40")),
    ],
)
def test_totals_and_smallest_fits_are_those_of_the_reference(name, one, sixteen, int4, fits):
    ways = (serving(name), serving(name, concurrency=16), serving(name, precision="int4"))

    assert [plan_memory(way).total.gib for way in ways] == [
        pytest.approx(one, abs=5e-4),
        pytest.approx(sixteen, abs=5e-4),
        pytest.approx(int4, abs=5e-4),
    ]
    found = [smallest_fit(way, among=REFERENCE_ORDER) for way in ways]
    assert [f"{f.serving.tp}x{card.name}".removeprefix("1x") for card, f in found] == list(fits)


def test_all_sizes_of_the_reference_file_are_met(golden):
    names = {"fp16_b1": {}, "fp16_b16": {"concurrency": 16}, "int4_b1": {"precision": "int4"}}
    for key, numbers in golden.items():
        if key.startswith("size/"):
            for name, changes in names.items():
                way = serving(key.removeprefix("size/"), **changes)
                precision, batch = name.split("_")
                total = numbers[f"total_{precision}_8k_{batch}_gib"]
                assert plan_memory(way).total.gib == pytest.approx(total, abs=5e-4)
                card, found = smallest_fit(way, among=REFERENCE_ORDER)
                assert f"{found.serving.tp}x{card.name}" == numbers[f"fit_{name}"]


@pytest.mark.parametrize(
    ("name", "precision", "cards_of", "ctx", "most"),
    [
        ("Llama-3-8B", "fp16", (1, "A10"), 8192, 4),
        ("Llama-3-8B", "int4", (1, "A10"), 8192, 13),
        ("Llama-3-8B", "fp16", (1, "A100-80"), 8192, 55),
        ("Llama-3-8B", "fp16", (1, "H200"), 8192, 109),
        ("Qwen2.5-7B", "fp16", (1, "RTX4090"), 8192, 14),
        ("GLM-4-9B", "fp16", (1, "RTX4090"), 8192, 8),
        ("GLM-4-9B", "fp16", (1, "A100-40"), 8192, 55),
        ("Mixtral-8x7B", "fp16", (2, "A100-80"), 8192, 54),
        ("Llama-2-70B", "fp16", (2, "A100-80"), 4096, 9),
        ("Llama-2-70B", "fp16", (4, "A100-80"), 4096, 122),
        ("Llama-2-70B", "fp16", (1, "H200"), 4096, 0),
        ("Llama-2-70B", "int4", (1, "H200"), 4096, 72),
        ("Llama-7B", "fp16", (1, "A100-40"), 1536, 29),
    ],
)
def test_the_most_sequences_are_those_of_the_reference(name, precision, cards_of, ctx, most):
    tp, card = cards_of

    answer = sized(model=name, precision=precision, tp=tp, gpu=card, ctx=ctx)

    assert answer["max_conc"] == most
    assert answer["fits"] is (most > 0)


def test_the_most_sequences_of_the_reference_file_are_met(golden):
    for key, most in golden.items():
        if key.startswith("maxconc/"):
            _, name, precision, cards_of, ctx = key.split("/")
            tp, card = cards_of.split("x", 1)
            way = serving(name, precision=precision.removesuffix("_g128"), tp=int(tp), ctx=int(ctx))
            assert fit(way, gpu(card).vram).max_concurrency == most


def test_a_sequence_takes_whole_blocks_of_16_tokens():
    assert plan_memory(serving("llama-3-8b", ctx=1)).kv == Bytes(16 * 131_072)
    assert plan_memory(serving("llama-3-8b", ctx=17)).kv == Bytes(32 * 131_072)


def test_what_does_not_fit_says_how_much_is_missing_and_what_would_do():
    answer = sized(model="llama-3-8b", gpu="a10", concurrency=16)

    assert answer["fits"] is False
    assert answer["headroom_gib"] == pytest.approx(20.25 - 32.231, abs=1e-3)
    assert answer["headline"] == (
        "Llama-3-8B does not fit: it takes 32.23 GiB and A10 gives 20.25 GiB (90% of 22.50), so 11.98 GiB are missing."
        " What would fit there: 4 sequences at once instead of 16; sequences of 2,048 tokens instead of 8,192; 2 cards."
        " The smallest that does is 1 x A100-40."
    )


def test_a_supervisor_is_refused_before_it_starts_a_worker():
    with pytest.raises(
        PlanError, match=r"3\.72 GiB are missing\. What would fit there: int8 weights; 2 cards"
    ):
        required_fit(serving("llama-3-8b"), Bytes.of_gib(15))

    assert required_fit(serving("llama-3-8b"), Bytes.of_gib(24)).max_concurrency == 5


def test_what_fits_on_no_cards_says_so():
    answer = sized(model="llama-3.1-405b", precision="fp32", concurrency=64)

    assert "more than 8 of any card" in answer["headline"]
    assert all(row["tp"] is None for row in answer["cards"])


def test_a_split_that_does_not_divide_the_heads_is_refused_with_those_that_do():
    refused = refusal(model="qwen2.5-7b", tp=8)

    assert refused.param == "tp"
    assert refused.message == "tp 8 does not divide the model's 28 attention heads; 1, 2, 4 would."


def test_sequences_longer_than_the_model_was_made_for_are_warned_of():
    answer = sized(model="llama-3-8b", ctx=32768)

    assert any("made for 8,192 tokens; 32,768 need scaled positions" in text for text in answer["warnings"])
    assert answer["total_gib"] > 17.224


def test_the_most_sequences_are_called_an_upper_bound():
    assert any("expect 0.4 to 1.0 of it" in text for text in sized(model="llama-3-8b", gpu="a10")["warnings"])


def test_windowed_layers_are_told_of():
    assert any(
        "52 of 62 layers look back 1,024 tokens" in text for text in sized(model="gemma-3-27b")["warnings"]
    )


def test_copies_of_heads_are_told_of():
    assert any("8 GPUs share 2 KV heads" in text for text in sized(model="glm-4-9b", tp=8)["warnings"])


def test_a_cache_of_8_bits_is_half_as_large():
    wide, narrow = (sized(model="llama-3-8b", kv_bits=bits)["kv_gib"] for bits in (16, 8))

    assert narrow == wide / 2


def test_bits_that_no_engine_caches_in_are_refused():
    assert refusal(model="llama-3-8b", kv_bits=12).param == "kv_bits"


def test_a_model_is_sized_from_its_configuration():
    config = {
        "model_type": "llama",
        "_name_or_path": "acme/own-8b",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    }

    answer = sized(config="config.json", files={"config": json.dumps(config)})

    assert answer["total_gib"] == pytest.approx(17.224, abs=5e-4)
    assert answer["headline"].startswith("acme/own-8b in fp16")
    [configuration] = [each for each in answer["assumptions"] if each["name"] == "configuration"]
    assert configuration["origin"] == "given"


def test_parameters_alone_give_a_rule_of_thumb_that_says_what_it_is():
    answer = sized(params=9e9)

    assert answer["total_gib"] * 2**30 / 1e9 == pytest.approx(21.6)
    assert "by a rule of thumb" in answer["headline"]
    assert "knows neither context nor sequences" in answer["warnings"][0]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "Say which model"),
        ({"model": "llama-3-8b", "params": 8e9}, "model and params are too many"),
        ({"model": "gpt-4"}, "No model 'gpt-4'"),
        ({"model": "llama-3-8b", "gpu": "H300"}, "No GPU 'H300'"),
        ({"params": 9e9, "perf": True}, "Parameters alone tell no speed"),
        (
            {"model": "llama-3-8b", "gpu": "t4", "perf": True},
            "no speed to estimate where the model does not fit",
        ),
        (
            {"model": "llama-3-8b", "perf": True, "prompt_tokens": 8000, "output_tokens": 193},
            "longer than ctx",
        ),
    ],
)
def test_impossible_inputs_are_refused_with_what_would_do(inputs, told):
    assert told in refusal(**inputs).message


def test_another_precision_may_need_a_smaller_card():
    rows = {row["precision"]: row["smallest"] for row in sized(model="llama-2-70b")["precisions"]}

    assert list(rows) == ["fp32", "fp16", "int8", "int4", "nf4"]
    assert rows["int4"] == "1 x A40"


def test_every_card_of_the_catalogue_is_looked_at():
    rows = sized(model="llama-3-8b")["cards"]

    assert sorted(row["gpu"] for row in rows) == sorted(card.name for card in gpus())
    assert all(row["headroom_gib"] >= 0 and row["max_conc"] >= 1 for row in rows if row["tp"])


def test_the_diagram_stacks_the_parts_under_what_the_card_gives():
    answer = TOOL.plan(SizeInputs(model="llama-3-8b", gpu="a10"), Context(today=TODAY))

    assert answer.plot.kind == "bars"
    heights = dict(
        zip(
            answer.plot.series[0].x,
            map(sum, zip(*(each.y for each in answer.plot.series), strict=True)),
            strict=True,
        )
    )
    assert heights["fp16"] == pytest.approx(17.224, abs=5e-4)
    assert answer.plot.marks[0].y == pytest.approx(20.25)


def test_where_only_several_cards_do_it_is_told_what_they_take_together():
    answer = TOOL.plan(SizeInputs(model="llama-2-70b"), Context(today=TODAY))

    assert "takes 132.51 GiB: 1 x B200 is the smallest that fits, with" in answer.headline

    answer = TOOL.plan(SizeInputs(model="llama-3.1-405b", precision="fp8"), Context(today=TODAY))

    [mark] = answer.plot.marks
    assert "takes 387.89 GiB: 4 x H200 is the smallest that fits (394.08 GiB there)" in answer.headline
    assert mark.y == pytest.approx(4 * 139.8 * 0.9)


def test_formulas_end_in_the_number_of_their_line():
    answer = TOOL.plan(SizeInputs(model="gemma-3-27b", gpu="h100", perf=True), Context(today=TODAY))

    told = [line for line in answer.lines if line.formula]
    assert {"weights_gib", "kv_gib", "total_gib", "max_conc", "decode_step_s", "served_tok_s"} <= {
        line.key for line in told
    }
    assert all(line.numbers.count(" = ") >= 1 for line in told)


@pytest.mark.parametrize("each", models(), ids=lambda each: each.name)
def test_every_model_of_the_catalogue_can_be_sized(each):
    answer = sized(model=each.name, ctx=2048)

    assert answer["total_gib"] > answer["weights_gib"] > 0


@given(servings)
def test_parts_are_the_total(way):
    memory = plan_memory(way)
    parts = [memory.weights, memory.kv, memory.runtime, memory.activations, memory.logits]

    assert memory.total.value == pytest.approx(sum(part.value for part in parts), rel=1e-12)
    assert all(part.value > 0 for part in parts)


@given(servings, st.integers(0, 4096), st.integers(0, 64))
def test_longer_and_more_sequences_never_take_less(way, tokens, more):
    larger = way.but(ctx=way.ctx + tokens, concurrency=way.concurrency + more)

    assert plan_memory(way).total <= plan_memory(larger).total


@given(servings)
def test_more_bits_never_take_less(way):
    totals = [plan_memory(way.but(precision=name)).total for name in ("nf4", "int4", "int8", "fp16", "fp32")]
    caches = [plan_memory(way.but(kv_bits=bits)).total for bits in (8, 16)]

    assert totals == sorted(totals)
    assert caches == sorted(caches)


@given(servings, cards, utils)
def test_the_most_sequences_are_the_most_that_fit(way, card, util):
    limit = limit_of(card.vram, util=util)
    most = max_concurrency(way, limit)

    assert most == 0 or plan_memory(way.but(concurrency=most)).total <= limit
    assert plan_memory(way.but(concurrency=most + 1)).total > limit


@given(servings, cards, utils)
def test_the_longest_sequences_are_the_longest_that_fit(way, card, util):
    limit = limit_of(card.vram, util=util)
    longest = max_context(way, limit)

    assert longest == 0 or plan_memory(way.but(ctx=longest)).total <= limit
    if longest < way.ctx:
        assert plan_memory(way.but(ctx=longest + 16)).total > limit


@given(servings, cards, utils)
def test_what_would_do_does(way, card, util):
    found = fit(way, card.vram, util=util)
    smallest = smallest_fit(way, util=util)

    assert found.is_fit == (found.headroom >= Bytes(0)) == (found.max_concurrency >= way.concurrency)
    assert smallest is None or smallest[1].is_fit
    if found.is_fit:
        assert smallest is not None


@given(servings, cards)
def test_another_order_of_the_same_cards_finds_as_few(way, card):
    both = [card, gpu("H200")]
    one, other = (smallest_fit(way, among=order) for order in (both, both[::-1]))

    assert (one is None) == (other is None)
    if one and other:
        assert one[1].serving.tp == other[1].serving.tp
