"""Fine-tuning: known numbers of memory, work and money, and what the tool says of them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.answering import answered
from gateway.planning.contract import Context, PlanError
from gateway.planning.reading import from_text
from gateway.planning.sizing import models
from gateway.planning.sizing.gpus import gpu
from gateway.planning.tuning.finetune import TOOL
from gateway.planning.tuning.finetune_case import FinetuneInputs, tokens_per_byte
from gateway.planning.tuning.training import (
    Training,
    adapter_parameters,
    cost_of,
    fewest_gpus,
    memory_of,
    work_of,
)
from gateway.planning.units import Bytes, FlopsPerSecond, Money, Tokens, in_cents

GLM = models.model("glm-4-9b").architecture
LLAMA = models.model("llama-7b").architecture
A100 = FlopsPerSecond(312e12)
TODAY = Context(today="2026-11-21")

sizes = st.floats(1e6, 1e12)


def cost(work, **changes):
    return cost_of(work, **({"peak": A100, "mfu": 0.4, "price": Money(28, "CNY")} | changes))


def training(**changes):
    return Training(**({"parameters": GLM.counts.total, "architecture": GLM} | changes))


def asked(**inputs):
    return answered(TOOL, FinetuneInputs(**inputs), inputs, TODAY)


def line(answer, key):
    return next(each.value for each in answer.lines if each.key == key)


def test_a_gigabyte_taken_for_a_billion_tokens_is_120_gpu_hours():
    seed = cost(work_of(Training(parameters=9e9), Tokens(1e9)))

    assert seed.gpu_hours.value == pytest.approx(120.192, rel=1e-5)
    assert float(seed.compute.amount) == pytest.approx(3365.385, rel=1e-6)


def test_by_its_tokens_a_gigabyte_is_30_gpu_hours():
    found = cost(work_of(training(), Tokens(1e9 / 4.2)), gpus=4)

    assert found.gpu_hours.value == pytest.approx(29.889, rel=2e-5)
    assert found.wall.value == pytest.approx(7.472, rel=1e-4)
    assert in_cents([found.compute]) == [Decimal("836.89")]


def test_lora_takes_two_thirds_of_the_work():
    full, lora = (
        cost(work_of(training(method=method, adapter=2_785_280), Tokens(1e9 / 4.2)))
        for method in ("full", "lora")
    )

    assert lora.gpu_hours.value == pytest.approx(19.926, rel=2e-5)
    assert in_cents([lora.compute]) == [Decimal("557.93")]
    assert lora.gpu_hours / full.gpu_hours == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("changes", "gb"),
    [
        ({"state_bytes": "16"}, 150.39922176),
        ({"state_bytes": "18"}, 169.19912448),
        ({"state_bytes": "20"}, 187.9990272),
        ({"method": "lora", "adapter": 2_785_280}, 18.8444672),
        ({"method": "qlora", "adapter": 2_785_280}, 6.736326329344),
    ],
)
def test_weights_gradients_and_states_take_known_memory(changes, gb):
    assert memory_of(training(**changes)).states.gb == pytest.approx(gb, rel=1e-9)


def test_the_reference_arithmetic_agrees(golden):
    kinds = {
        "full16": {"state_bytes": "16"},
        "full18": {"state_bytes": "18"},
        "full20": {"state_bytes": "20"},
        "lora": {"method": "lora", "adapter": golden["glm4_lora_r8"]},
        "qlora": {"method": "qlora", "adapter": golden["glm4_lora_r8"]},
    }
    found = {name: memory_of(training(**changes)).states.gb for name, changes in kinds.items()}

    assert found == pytest.approx(golden["ft_mem_gb"], rel=1e-9)


def test_adapters_have_known_sizes():
    assert adapter_parameters(GLM, 8, ["qkv"]) == 2_785_280
    assert adapter_parameters(LLAMA, 8, ["q", "v"]) == 4_194_304


def test_an_adapter_stands_beside_each_expert():
    mixtral = models.model("mixtral-8x7b").architecture
    dense = models.model("mistral-7b").architecture

    assert adapter_parameters(mixtral, 8, ["up"]) == 8 * adapter_parameters(dense, 8, ["up"])


def test_an_adapter_has_no_place_in_compressed_attention():
    deepseek = models.model("deepseek-v3").architecture

    with pytest.raises(PlanError, match="compressed"):
        adapter_parameters(deepseek, 8, ["q"])
    assert adapter_parameters(deepseek, 8, ["o"]) == 8 * 61 * (7168 + 128 * 128)


def test_checkpointing_keeps_a_layers_input_and_works_more():
    kept, again = training(), training(is_checkpointed=True)

    one = 2048 * 4096
    assert memory_of(kept).activations == Bytes(34 * one * 40)
    assert memory_of(again).activations == Bytes((2 * 40 + 34) * one)
    assert (kept.factor, again.factor) == (6, 8)


def test_work_follows_what_a_token_goes_through_and_memory_all_there_is():
    mixtral = models.model("mixtral-8x7b").architecture
    moe = Training(parameters=mixtral.counts.total, architecture=mixtral)

    assert work_of(moe, Tokens(1)).value == 6 * 12_879_925_248
    assert memory_of(moe).states == Bytes(16 * 46_702_792_704)


def test_gpus_are_paid_for_while_they_wait_for_each_other():
    found = cost(work_of(training(), Tokens(1e9 / 4.2)), gpus=4, scaling=0.5, runs=3)

    assert found.wall.value == pytest.approx(2 * 29.8893 / 4, rel=1e-4)
    assert found.paid.value == pytest.approx(3 * 2 * 29.8893, rel=1e-4)


@given(sizes, sizes, st.integers(1, 64), st.floats(0.1, 1))
def test_more_tokens_or_parameters_never_cost_less(one, other, gpus, scaling):
    low, high = sorted((one, other))

    def of(parameters, tokens):
        return cost(
            work_of(Training(parameters=parameters), Tokens(tokens)), gpus=gpus, scaling=scaling
        ).total

    assert of(low, low) <= of(low, high) <= of(high, high)


@given(st.integers(1, 64), st.integers(1, 16384), st.integers(1, 16), st.booleans())
def test_more_gpus_never_hold_more_each(gpus, sequence, batch, is_checkpointed):
    memory = memory_of(training(sequence=sequence, batch=batch, is_checkpointed=is_checkpointed))

    assert memory.per_gpu(gpus + 1) <= memory.per_gpu(gpus)
    longer = memory_of(training(sequence=sequence + 1, batch=batch, is_checkpointed=is_checkpointed))
    assert longer.per_gpu(gpus) > memory.per_gpu(gpus)


@given(st.floats(8e9, 200e9))
def test_the_fewest_gpus_fit_and_one_less_does_not(vram):
    memory = memory_of(training(is_checkpointed=True))

    count = fewest_gpus(memory, Bytes(vram), 0.95)

    if count is None:
        assert memory.per_gpu(64).value > vram * 0.95
    else:
        assert memory.per_gpu(count).value <= vram * 0.95
        assert count == 1 or count > 8 or memory.per_gpu(count - 1).value > vram * 0.95


def test_the_tool_answers_in_one_sentence():
    answer = asked(model="glm-4-9b", data_gb=1, gpus=4, scaling=1, price=Decimal(28), currency="CNY")

    assert answer.headline == (
        "Full fine-tuning of GLM-4-9B fits on 4 x A100-80, takes 7.5 hours and costs 836.89 CNY for one run."
    )
    assert line(answer, "gpu_hours") == pytest.approx(29.889, rel=2e-5)
    assert line(answer, "states_gb") == pytest.approx(150.399, rel=1e-5)
    assert any("no price in CNY" in warning for warning in answer.warnings)


def test_the_parts_of_the_cost_sum_to_their_total():
    answer = asked(model="llama-3-8b", method="lora", data_gb=3.3, runs=7, gpu="h100")

    assert line(answer, "compute") + line(answer, "storage") == line(answer, "total")


def test_it_says_what_would_fit():
    with pytest.raises(PlanError, match=r"154.01 GiB and gives 76.00 GiB .* 3 x A100-80; LoRA") as refused:
        asked(model="glm-4-9b", tokens=1e6, gpus=1)

    assert refused.value.param == "gpus"


def test_a_catalogue_price_is_shown_with_its_source_and_warned_of_when_old():
    answer = asked(model="llama-3-8b", method="qlora", tokens=1e6, gpu="h100")

    [price] = [each for each in answer.assumptions if each.name.startswith("price of one")]
    assert price.as_of
    assert price.source
    assert any("Older than 90 days" in warning for warning in answer.warnings)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"tokens": 1e6}, "one of model, config or params"),
        ({"model": "glm-4-9b", "params": 9e9, "tokens": 1e6}, "not model and params at once"),
        ({"model": "glm-4-9b"}, "one of tokens, data_gb or data"),
        ({"params": 9e9, "method": "lora", "tokens": 1e6}, "give model or config"),
        ({"model": "glm-4-9b", "tokens": 1e6, "currency": "EUR"}, "No price in EUR"),
        ({"model": "glm-4-9b", "data": " "}, "no text"),
    ],
)
def test_what_is_missing_or_too_much_is_named(inputs, message):
    with pytest.raises(PlanError, match=message):
        asked(**inputs)


def test_a_number_of_parameters_alone_lacks_activations_and_says_so():
    answer = asked(params=9e9, data_gb=1)

    assert line(answer, "activations_gib") is None
    assert any("Without a configuration" in warning for warning in answer.warnings)


def test_tokens_of_a_file_are_counted():
    text = "The quick brown fox jumps over the lazy dog. " * 40

    answer = answered(
        TOOL,
        FinetuneInputs(model="llama-3-8b", method="lora", data="file.txt"),
        ["data"],
        Context(today="2026-11-21", files={"data": text}),
    )

    assert line(answer, "tokens") == pytest.approx(401, abs=1)
    assert tokens_per_byte("北京是中国的首都。" * 20) > tokens_per_byte(text)


def test_a_long_file_is_counted_from_all_over():
    text = "all the same words " * 200_000 + "完全不同的文字" * 200_000

    assert tokens_per_byte(text) == pytest.approx(0.15, abs=0.08)


@pytest.mark.parametrize("example", TOOL.examples)
def test_examples_work(example):
    words = example.split()
    given_: dict[str, list[str]] = {}
    for at, word in enumerate(words):
        if word.startswith("--"):
            value = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("--") else None
            given_.setdefault(word[2:].replace("-", "_"), []).append(value)
    inputs = {
        name: values if name == "targets" else True if values == [None] else values[0]
        for name, values in given_.items()
    }

    answer = answered(TOOL, from_text(FinetuneInputs, inputs, str), inputs, TODAY)

    assert answer.headline


def test_the_diagram_marks_what_the_gpu_gives():
    plot = asked(model="llama-3-8b", tokens=1e6, gpus=4).plot

    assert plot.marks[0].y == pytest.approx((gpu("a100-80").vram * 0.95).gib)
    assert len(plot.series[0].x) == 6


def test_a_model_without_the_matrices_is_trained_whole():
    answer = asked(model="deepseek-v2-lite", tokens=1e6, gpu="h200")

    assert {row["method"] for row in answer.tables[0].rows} == {"Full"}


def test_a_matrix_named_twice_counts_once():
    assert adapter_parameters(GLM, 8, ["q", "q"]) == adapter_parameters(GLM, 8, ["q"])
