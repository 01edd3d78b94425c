"""Speeds at best, what they rest on, and how measured ones replace the assumptions."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.answering import answered
from gateway.planning.contract import Context, PlanError
from gateway.planning.rendering import record
from gateway.planning.sizing.calibration import Calibration, read_calibration
from gateway.planning.sizing.gpus import gpu, gpus
from gateway.planning.sizing.memory import Serving
from gateway.planning.sizing.models import model, models
from gateway.planning.sizing.performance import (
    Efficiency,
    Measured,
    bytes_per_step,
    calibrated,
    concurrencies,
    decode_step,
    prefill_time,
    speed,
)
from gateway.planning.sizing.size import TOOL, SizeInputs
from gateway.planning.units import Seconds, TokensPerSecond
from tests.fixtures.planning import TODAY

USUAL = Efficiency()
CALIBRATION = Calibration(
    mbu=0.6,
    mfu=0.4,
    serving_eff=0.8,
    model="Llama-3-8B",
    gpu="A10",
    tp=1,
    precision="fp16",
    date="2026-11-20",
)


def serving(name, **changes):
    return Serving(architecture=model(name).architecture, **changes)


def tokens_s(way, batch, ctx, card):
    return batch / decode_step(way, batch, ctx, gpu(card), USUAL).value


def sized(files=None, **inputs):
    return record(
        answered(TOOL, SizeInputs(**inputs), inputs, Context(today=TODAY, files=files or {})),
        version="1",
        today=TODAY,
    )


@pytest.mark.parametrize(
    ("card", "speeds"),
    [
        ("A10", (28.9, 217.0, 716.1)),
        ("A100-40", (74.9, 562.3, 1855.8)),
        ("A100-80", (98.2, 737.3, 2433.5)),
        ("H100", (161.4, 1211.3, 3998.1)),
        ("H200", (231.2, 1735.7, 5728.6)),
    ],
)
def test_decoding_is_as_fast_as_in_the_reference(card, speeds):
    found = [tokens_s(serving("llama-3-8b"), batch, 1088, card) for batch in (1, 8, 32)]

    assert found == pytest.approx(speeds, abs=0.05)


def test_all_speeds_of_the_reference_file_are_met(golden):
    for key, row in golden.items():
        if key.startswith("roofline/"):
            _, name, precision, card = key.split("/")
            found = {
                batch: tokens_s(serving(name, precision=precision), int(batch), 1088, card) for batch in row
            }
            assert found == pytest.approx(row, abs=0.05)


def test_70b_on_four_cards_is_as_fast_as_in_the_reference():
    way = serving("llama-2-70b", tp=4)

    assert decode_step(way, 1, 512, gpu("A100-80"), USUAL).value * 1e3 == pytest.approx(23.11, abs=0.005)
    assert tokens_s(way, 32, 512, "A100-80") == pytest.approx(1334.2, abs=0.05)
    assert prefill_time(way, 512, gpu("A100-80")).value * 1e3 == pytest.approx(113.3, abs=0.05)


def test_a_published_run_of_llama_7b_is_met_within_two_percent():
    """llm-analysis, A100-80, 512 tokens in: prefill 31.89 ms and decoding 7.48 ms at these efficiencies."""
    way, card = serving("llama-7b"), gpu("A100-80")

    assert prefill_time(way, 512, card, 0.7).value * 1e3 == pytest.approx(31.89, rel=0.02)
    step = decode_step(way, 1, 528, card, Efficiency(mbu=0.9, mfu=0.7))
    assert step.value * 1e3 == pytest.approx(7.48, rel=0.02)


def test_a_step_reads_only_the_experts_that_its_tokens_touch():
    way = serving("mixtral-8x7b", tp=2)
    experts = way.architecture.expert_weights("fp16")
    all_weights = way.architecture.weights("fp16") - way.architecture.lookup_weights("fp16")

    assert (all_weights - bytes_per_step(way, 1, 0)) / experts == pytest.approx(0.75)
    assert (all_weights - bytes_per_step(way, 2, 0)) / experts == pytest.approx(0.75**2)
    assert (all_weights - bytes_per_step(way, 128, 0)) / experts == pytest.approx(0, abs=1e-12)


def test_a_tied_head_is_read_although_it_is_the_embedding():
    assert bytes_per_step(serving("llama-3.2-1b"), 1, 0) == model("llama-3.2-1b").architecture.weights("fp16")


def test_large_batches_are_bound_by_arithmetic():
    way, card = serving("llama-3-8b"), gpu("A10")

    assert not speed(way.but(concurrency=4096), card, prompt=1, output=16, efficiency=USUAL).is_memory_bound
    assert speed(way, card, prompt=1024, output=128, efficiency=USUAL).is_memory_bound


def test_fp8_is_faster_only_on_cards_that_have_it():
    way = serving("llama-3-8b")

    times = [
        prefill_time(way.but(precision="fp8"), 1024, gpu(card)) / prefill_time(way, 1024, gpu(card))
        for card in ("H100", "A100-80")
    ]

    assert times == pytest.approx([989 / 1979, 1.0])


def test_real_traffic_is_never_faster_than_its_prompts_are_read():
    of = speed(serving("llama-3-8b", concurrency=32), gpu("A10"), prompt=8000, output=16, efficiency=USUAL)

    assert of.served == of.whole < of.decode * USUAL.serving


def test_sequences_are_doubled_up_to_what_fits():
    assert concurrencies(20, 3) == [1, 2, 3, 4, 8, 16, 20]
    assert concurrencies(1, 1) == [1]


def test_the_answer_says_that_it_is_a_bound_and_what_it_rests_on():
    answer = sized(model="llama-3-8b", gpu="a100-40", perf=True, concurrency=8)

    assert answer["decode_tok_s"] == pytest.approx(562.3, abs=0.05)
    assert answer["served_tok_s"] == pytest.approx(562.3 / 2, abs=0.05)
    used = {each["name"]: (each["value"], each["origin"]) for each in answer["assumptions"]}
    assert used["mbu used"] == (0.73, "default")
    assert used["mfu used"] == (0.5, "default")
    assert used["serving_eff used"] == (0.5, "default")
    assert any("upper bounds" in text for text in answer["warnings"])


def test_the_table_goes_up_to_what_fits():
    answer = sized(model="llama-3-8b", gpu="a100-80", perf=True)

    assert [row["concurrency"] for row in answer["throughput"]] == [1, 2, 4, 8, 16, 32, 55]
    assert answer["throughput"][0]["decode_tok_s"] == pytest.approx(98.2, abs=0.05)


def test_without_a_card_the_smallest_is_taken():
    answer = sized(model="llama-3-8b", perf=True)

    assert "on 1 x A10" in answer["headline"]
    assert answer["decode_tok_s"] == pytest.approx(28.9, abs=0.05)


def test_formulas_have_the_speed_of_the_precision():
    answer = TOOL.plan(
        SizeInputs(model="llama-3-8b", precision="fp8", gpu="h100", perf=True), Context(today=TODAY)
    )

    [prefill] = [line for line in answer.lines if line.key == "prefill_s"]
    assert "(1.979e+15 x 1 x 0.5)" in prefill.numbers


def test_slow_links_between_cards_are_warned_of():
    told = [sized(model="llama-3-8b", gpu=card, tp=2, perf=True)["warnings"] for card in ("4090", "a100-80")]

    assert [any("talks to its neighbours over PCIe" in text for text in texts) for texts in told] == [
        True,
        False,
    ]


def test_a_calibration_replaces_the_assumptions_and_is_named():
    text = msgspec.json.encode(CALIBRATION).decode()

    answer = sized(files={"calibration": text}, model="llama-3-8b", gpu="a10", perf=True, calibration="file")

    assert answer["decode_tok_s"] == pytest.approx(28.9 * 0.6 / 0.73, abs=0.05)
    [mbu] = [each for each in answer["assumptions"] if each["name"] == "mbu used"]
    assert (mbu["value"], mbu["source"], mbu["as_of"]) == (
        0.6,
        "measured: Llama-3-8B in fp16 on 1 x A10",
        "2026-11-20",
    )
    assert not any("the shares may be others" in text for text in answer["warnings"])


def test_what_is_given_stands_before_what_was_calibrated():
    text = msgspec.json.encode(CALIBRATION).decode()

    answer = sized(
        files={"calibration": text}, model="llama-3-8b", gpu="a10", perf=True, calibration="file", mbu=0.73
    )

    assert answer["decode_tok_s"] == pytest.approx(28.9, abs=0.05)


def test_a_calibration_of_another_card_is_warned_of():
    text = msgspec.json.encode(CALIBRATION).decode()

    answer = sized(files={"calibration": text}, model="llama-3-8b", gpu="h100", perf=True, calibration="file")

    assert any("measured on 1 x A10 in fp16: on 1 x H100-80" in text for text in answer["warnings"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mbu": 0}, "mbu is 0"),
        ({"mfu": 1.5}, "mfu is 1.5"),
        ({"serving_eff": -1}, "serving_eff is -1"),
        ({"mbu": "high"}, "no file of `weighbridge plan calibrate`"),
        ({"precision": "int3"}, "no file of `weighbridge plan calibrate`"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(changes, told):
    with pytest.raises(PlanError, match=told):
        read_calibration(msgspec.json.encode(msgspec.to_builtins(CALIBRATION) | changes).decode())


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_another_file_is_no_calibration(text):
    with pytest.raises(PlanError):
        read_calibration(text)


def measurements(way, card, true, *, overhead_s=0.05):
    """What a worker of that efficiency would be measured to do, if each first token waited so long besides."""

    def first_token(tokens):
        return prefill_time(way, tokens, card, true.mfu) + Seconds(overhead_s)

    alone = decode_step(way, 1, 512 + 64, card, true)
    together = decode_step(way, 8, 512 + 64, card, true)
    return Measured(
        short_prompt=256,
        short_first_token=first_token(256),
        long_prompt=2048,
        long_first_token=first_token(2048),
        decode_prompt=512,
        decode_output=128,
        decode_alone=TokensPerSecond(1 / alone.value),
        decode_together=TokensPerSecond(8 / together.value * true.serving),
        together=8,
    )


@given(
    st.sampled_from(models()),
    st.sampled_from(gpus()),
    st.floats(0.05, 0.99),
    st.floats(0.05, 0.99),
    st.floats(0.05, 0.99),
)
def test_calibration_finds_the_efficiency_that_was_there(known, card, mbu, mfu, serving_share):
    way, true = Serving(architecture=known.architecture), Efficiency(mbu=mbu, mfu=mfu, serving=serving_share)
    measured = measurements(way, card, true)
    alone = decode_step(way, 1, 576, card, true)
    arithmetic_alone = 2 * way.architecture.counts.matmul_active / (card.fp16.value * mfu)

    if alone.value > arithmetic_alone:
        found = calibrated(way, card, measured)
        assert (found.mbu, found.mfu, found.serving) == pytest.approx((mbu, mfu, serving_share), rel=1e-6)


def test_a_worker_faster_than_its_card_is_refused():
    way, card = serving("llama-3-8b"), gpu("H200")
    measured = measurements(way, card, USUAL)

    with pytest.raises(PlanError, match=r"decodes one sequence at 584% .*\(MBU\).*the GPU"):
        calibrated(way, gpu("A10"), measured)


def test_a_long_prompt_that_costs_nothing_was_cached():
    measured = measurements(serving("llama-3-8b"), gpu("H200"), USUAL)
    cached = msgspec.structs.replace(measured, long_first_token=measured.short_first_token)

    with pytest.raises(PlanError, match="prefix was cached"):
        calibrated(serving("llama-3-8b"), gpu("H200"), cached)


ways = st.builds(
    Serving,
    architecture=st.sampled_from(models()).map(lambda each: each.architecture),
    precision=st.sampled_from(["fp16", "fp8", "int4"]),
)


@given(ways, st.sampled_from(gpus()), st.integers(1, 256), st.integers(1, 65_536))
def test_a_step_is_never_shorter_with_more_or_longer_sequences(way, card, batch, ctx):
    step = decode_step(way, batch, ctx, card, USUAL)

    assert step <= decode_step(way, batch + 1, ctx, card, USUAL)
    assert step <= decode_step(way, batch, ctx + 64, card, USUAL)


@given(ways, st.sampled_from(gpus()), st.integers(1, 65_536))
def test_a_longer_prompt_never_takes_less_time(way, card, tokens):
    assert prefill_time(way, tokens, card) < prefill_time(way, tokens + 1, card)


@given(ways, st.sampled_from(gpus()), st.integers(1, 128), st.floats(0.1, 0.9))
def test_a_better_engine_is_never_slower(way, card, batch, mbu):
    one, better = (
        speed(way.but(concurrency=batch), card, prompt=512, output=64, efficiency=Efficiency(mbu=share))
        for share in (mbu, mbu + 0.1)
    )

    assert one.decode <= better.decode
    assert one.served <= better.served
    assert better.served <= better.whole <= better.decode
