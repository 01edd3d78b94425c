"""Models by name and by config.json: their parameters are what was published, and what cannot be counted is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import BITS
from gateway.planning.sizing.models import from_config, model, models, rule_of_thumb
from gateway.planning.units import Bytes

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
PUBLISHED = [each for each in models() if each.published]


def of(**config):
    return from_config(msgspec.json.encode(config).decode())


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda each: each.name)
def test_a_models_parameters_are_those_that_were_published(known):
    assert known.architecture.counts.total == pytest.approx(known.published, rel=1e-4)


def test_only_models_whose_published_count_is_rounded_or_of_other_parts_have_none():
    without = {each.name for each in models()} - {each.name for each in PUBLISHED}

    assert without == {"GLM-4.5", "GLM-4.6", "GLM-4.5-Air", "GLM-4-32B-0414", "Ministral-3-3B"}


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [
        ("GLM-4.5", 355, 32),
        ("GLM-4.5-Air", 106, 12),
        ("deepseek-v3", 671, 37),
        ("qwen3-235b-a22b", 235, 22),
        ("qwen3-30b-a3b", 30.5, 3.3),
        ("mixtral-8x7b", 46.7, 12.9),
        ("gpt-oss-120b", 117, 5.1),
        ("gpt-oss-20b", 21, 3.6),
        ("deepseek-v2-lite", 15.7, 2.4),
    ],
)
def test_a_mixture_of_experts_has_about_the_parameters_of_its_name(name, billions, active):
    counts = model(name).architecture.counts

    assert counts.total / 1e9 == pytest.approx(billions, rel=0.01)
    # Some count the embedding among what is active, some the head only.
    assert counts.matmul_active / 1e9 <= active * 1.07
    assert counts.active / 1e9 >= active * 0.99


@pytest.mark.parametrize(
    ("name", "total", "active", "kv"),
    [
        ("Llama-7B", 6_738_415_616, 6_738_415_616, 524_288),
        ("Llama-3-8B", 8_030_261_248, 8_030_261_248, 131_072),
        ("Llama-2-70B", 68_976_648_192, 68_976_648_192, 327_680),
        ("GLM-4-9B", 9_399_951_360, 9_399_951_360, 40_960),
        ("Qwen2.5-7B", 7_615_616_512, 7_615_616_512, 57_344),
        ("Mixtral-8x7B", 46_702_792_704, 12_879_925_248, 131_072),
    ],
)
def test_parameters_and_cache_of_models_that_everyone_asks_for(name, total, active, kv):
    architecture = model(name).architecture

    assert (architecture.counts.total, architecture.counts.active) == (total, active)
    assert architecture.kv_per_token() == Bytes(kv)


def test_weights_of_every_precision_are_those_of_the_reference(golden):
    for key, numbers in golden.items():
        if not key.startswith("size/"):
            continue
        architecture = model(key.removeprefix("size/")).architecture
        assert architecture.counts.total == numbers["params"]
        assert architecture.counts.active == numbers["active"]
        assert architecture.kv_per_token() == Bytes(numbers["kv_token"])
        for name, gib in numbers["w"].items():
            precision = {"int4_g128": "int4", "nf4_dq": "nf4"}.get(name, name)
            assert architecture.weights(precision).gib == pytest.approx(gib, abs=5e-4)


def test_half_the_bits_are_half_the_weights_but_embeddings_stay_at_16_bits():
    architecture = model("llama-7b").architecture

    assert architecture.weights("fp16") / architecture.weights("fp32") == 0.5
    assert 1 - architecture.weights("int4") / architecture.weights("fp16") == pytest.approx(0.711, abs=5e-4)
    assert model("llama-2-70b").architecture.weights("int4").gib == pytest.approx(34.097, abs=5e-4)


def test_the_work_of_a_prompt_is_of_the_matrices_and_not_of_the_layers_alone():
    architecture = model("llama-7b").architecture

    assert architecture.prefill_work(1536).value == 20_916_234_878_976
    assert 2 * architecture.counts.total * 1536 == 20_700_412_772_352


@pytest.mark.parametrize(
    "name",
    [
        "llama-3-8b",
        "LLAMA-3-8B",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "Llama 3 8B",
        "meta-llama/Llama-3-8B",
    ],
)
def test_a_model_is_found_by_its_name_in_any_case_and_by_its_id(name):
    assert model(name).name == "Llama-3-8B"


def test_no_two_models_share_a_name():
    from gateway.planning.sizing.models import _entries, _plain

    names = [name for entry in _entries() for name in {_plain(each) for each in (entry.name, *entry.aliases)}]

    assert sorted(names) == sorted(set(names))


def test_every_model_says_where_its_numbers_are_from():
    assert all(each.source and each.as_of for each in models())


def test_a_misspelt_model_is_told_what_is_near():
    with pytest.raises(PlanError, match=r"Did you mean Llama-3-8B or"):
        model("lama3-8b")


def test_a_model_that_nobody_knows_is_told_what_there_is():
    with pytest.raises(PlanError, match=r"There are Llama-7B, .*config\.json.*rule of thumb"):
        model("zzzz")


def test_a_configuration_counts_as_the_model_of_that_name():
    assert of(**LLAMA).architecture == model("llama-3-8b").architecture


def test_a_configuration_without_heads_for_keys_has_as_many_as_for_queries():
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}

    assert of(**config).architecture.kv_heads == 32


def test_a_language_model_inside_another_is_counted_and_its_eyes_are_not():
    found = of(model_type="llava", text_config=LLAMA, vision_config={"hidden_size": 1024})

    assert found.architecture.counts.total == 8_030_261_248
    assert "vision tower is not counted" in found.notes[0]


def test_gemma_3_leaves_out_what_its_code_fills_in():
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    found = of(model_type="gemma3", text_config=text, vision_config={})

    assert found.architecture == model("gemma-3-4b").architecture


@pytest.mark.parametrize(
    ("family", "shape", "changes", "params"),
    [
        ("gpt_neox", (44, 6144, 64, 64, 24576, 50432), {}, 20_554_567_680),
        ("cohere", (40, 8192, 64, 64, 22528, 256000), {"tie_word_embeddings": True}, 34_980_831_232),
        (
            "starcoder2",
            (32, 4608, 36, 4, 18432, 49152),
            {"use_bias": True, "tie_word_embeddings": True},
            7_173_923_840,
        ),
        ("granite", (40, 4096, 32, 8, 12800, 49155), {"tie_word_embeddings": True}, 8_170_848_256),
        ("olmo2", (32, 4096, 32, 32, 11008, 100352), {}, 7_298_617_344),
        ("nemotron", (32, 4096, 32, 8, 16384, 256000), {}, 7_734_829_056),
        (
            "falcon",
            (60, 8192, 128, 8, 32768, 65024),
            {"new_decoder_architecture": True, "tie_word_embeddings": True},
            41_303_293_952,
        ),
    ],
)
def test_families_outside_the_catalogue_count_as_they_were_published(family, shape, changes, params):
    names = (
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
    )
    config = dict(zip((*names, "vocab_size"), shape, strict=True))

    found = of(
        model_type=family, max_position_embeddings=2048, **{"tie_word_embeddings": False, **config, **changes}
    )

    assert found.architecture.counts.total == params
    assert not found.notes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_size": None}, "no hidden_size or n_embd"),
        ({"intermediate_size": None}, "no intermediate_size"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers of the configuration is no number from 0 to"),
        ({"num_hidden_layers": 10**8}, "100,000,000 layers"),
        ({"hidden_size": 10**12}, "hidden_size of the configuration is no number from 0 to"),
        ({"vocab_size": True}, "vocab_size of the configuration is no number"),
        ({"num_local_experts": 8}, "no num_experts_per_tok"),
        ({"num_local_experts": 8, "num_experts_per_tok": 9}, "more experts than it has"),
        ({"is_encoder_decoder": True}, "an encoder beside its decoder"),
        ({"mamba_d_state": 128}, "state-space layers"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of linear_attention"),
        ({"attention_chunk_size": 8192}, "attention in chunks"),
        ({"rope_scaling": {"type": "linear", "factor": "x"}}, "of another kind than it must be"),
        ({"layer_types": 3}, "of another kind than it must be"),
        ({"num_attention_heads": 0}, "32 layers of 0 heads"),
        ({"num_key_value_heads": 0, "head_dim": 0, "vocab_size": 0}, "no sensible vocab"),
    ],
)
def test_a_configuration_that_cannot_be_counted_is_refused_with_what_is_wrong(changes, told):
    with pytest.raises(PlanError, match=told):
        of(**{key: value for key, value in {**LLAMA, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"llama"', "{}", "[" * 100_000, " " * (2 << 20), '{"text_config": 1}']
)
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(PlanError):
        from_config(text)


def test_a_family_that_is_not_known_is_counted_like_llama_and_says_so():
    found = of(**{**LLAMA, "model_type": "brandnew"})

    assert found.architecture.counts.total == 8_030_261_248
    assert "'brandnew' is no family that the planner knows" in found.notes[0]


@pytest.mark.parametrize(
    ("scaling", "limit"),
    [
        (None, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}, 32768),
        ({"type": "linear", "factor": 2.0}, 16384),
        ({"rope_type": "llama3", "factor": 8.0}, 8192),
    ],
)
def test_the_longest_context_is_that_of_its_scaled_positions(scaling, limit):
    assert of(**LLAMA, rope_scaling=scaling).architecture.context_limit == limit


def test_latent_attention_caches_one_vector_for_all_heads_on_every_gpu():
    architecture = model("deepseek-v3").architecture

    assert architecture.kv_per_token() == Bytes(61 * (512 + 64) * 2)
    assert architecture.kv_per_token(tp=8) == architecture.kv_per_token() * 8


def test_gpus_that_outnumber_the_heads_keep_copies():
    architecture = model("glm-4-9b").architecture

    assert architecture.kv_per_token(tp=2) == architecture.kv_per_token()
    assert architecture.kv_per_token(tp=8) == architecture.kv_per_token() * 4


def test_windowed_layers_keep_no_more_than_their_window():
    architecture = model("gemma-3-27b").architecture
    full, windowed = 10, 52

    of_layer = architecture.kv_per_token() / 62
    assert architecture.kv(512) == of_layer * 62 * 512
    assert architecture.kv(32768) == of_layer * (full * 32768 + windowed * 1024)


def test_the_rule_of_thumb_is_bytes_of_weights_and_a_fifth():
    assert rule_of_thumb(9e9).gb == pytest.approx(21.6)
    assert rule_of_thumb(7e9).gb == pytest.approx(16.8)


@given(st.sampled_from(models()), st.integers(1, 200_000), st.sampled_from([8, 16]))
def test_cache_grows_with_tokens_and_bits(known, tokens, bits):
    architecture = known.architecture

    assert architecture.kv(tokens, bits) <= architecture.kv(tokens + 1, bits)
    assert architecture.kv(tokens, 8) * 2 == architecture.kv(tokens, 16)
    assert architecture.kv_blocks(tokens, bits) >= architecture.kv(tokens, bits)


@given(st.sampled_from(models()))
def test_weights_grow_with_bits_and_the_active_are_among_the_total(known):
    weights = [known.architecture.weights(name) for name in sorted(BITS, key=lambda each: BITS[each])]
    counts = known.architecture.counts

    assert weights == sorted(weights)
    assert 0 < counts.matmul_active <= counts.active <= counts.total
    assert (counts.active == counts.total) == (known.architecture.experts == 1)


@given(
    st.dictionaries(
        st.sampled_from(
            [*LLAMA, "sliding_window", "layer_types", "rope_scaling", "n_routed_experts", "kv_lora_rank"]
        ),
        st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=3) | st.just([]) | st.just({}),
    )
)
def test_no_configuration_breaks_the_reader(changes):
    try:
        found = of(**{**LLAMA, **changes})
    except PlanError:
        return
    assert found.architecture.counts.total > 0
