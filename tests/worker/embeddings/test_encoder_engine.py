"""The encoder engine over tiny random models, against pooling by hand, and over the real MiniLM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.fixtures.tiny_encoder import (
    WIDTH,
    WINDOW,
    loaded,
    minilm_folder,
    vectors,
    write_bert,
    write_decoder,
    write_layout,
    write_roberta,
)
from workers.engines.encoder_engine.engine import EncoderEngine
from workers.engines.encoder_engine.folder import holds_encoder
from workers.engines.encoder_engine.passes import passes_of
from workers.errors import ConfigError, InvalidRequestError

TEXTS = ["the weight of a letter", "winter", "zwölf boxkämpfer jagen viktor quer über den großen deich"]
NOISE = 1e-5

Pool = Callable[[Any], Any]
"""A text's token vectors, without padding, to one."""


def by_hand(folder: Path, pool: Pool, *, normalised: bool = True) -> Any:
    """Each text by itself, through transformers alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for text in TEXTS:
        with torch.no_grad():
            tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vector = pool(tokens)
        found.append(vector / vector.norm() if normalised else vector)
    return torch.stack(found).numpy()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def laid_out(bert: Path, tmp_path: Path) -> Callable[..., Path]:
    def lay_out(pooling: dict[str, Any], **options: Any) -> Path:
        for file in bert.iterdir():
            (tmp_path / file.name).symlink_to(file)
        return write_layout(tmp_path, pooling, **options)

    return lay_out


@pytest.mark.parametrize(
    ("key", "name", "pool"),
    [
        ("pooling_mode_mean_tokens", "mean", lambda tokens: tokens.mean(0)),
        ("pooling_mode_cls_token", "cls", lambda tokens: tokens[0]),
        ("pooling_mode_max_tokens", "max", lambda tokens: tokens.max(0).values),
        (
            "pooling_mode_mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
            lambda tokens: tokens.sum(0) / len(tokens) ** 0.5,
        ),
        ("pooling_mode_lasttoken", "lasttoken", lambda tokens: tokens[-1]),
        (
            "pooling_mode_weightedmean_tokens",
            "weightedmean",
            lambda tokens: (
                (tokens * torch.arange(1, len(tokens) + 1)[:, None]).sum(0) / sum(range(1, len(tokens) + 1))
            ),
        ),
    ],
)
@pytest.mark.parametrize("normalised", [True, False])
def test_vectors_are_pooled_as_the_folder_says(
    laid_out: Callable[..., Path], key: str, name: str, pool: Pool, normalised: bool
) -> None:
    folder = laid_out({key: True}, normalised=normalised)

    engine = loaded(folder)

    assert (engine.card.pooling, engine.card.normalised) == (name, normalised)
    expected = by_hand(folder, pool, normalised=normalised)
    assert np.abs(vectors(engine, TEXTS) - expected).max() < NOISE * np.abs(expected).max()


def test_several_ways_of_pooling_stand_side_by_side(laid_out: Callable[..., Path]) -> None:
    folder = laid_out({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True})

    engine = loaded(folder)

    assert (engine.card.pooling, engine.card.dimensions) == ("cls+mean", 2 * WIDTH)
    expected = by_hand(folder, lambda tokens: torch.cat([tokens[0], tokens.mean(0)]))
    assert np.abs(vectors(engine, TEXTS) - expected).max() < NOISE


def test_without_a_layout_vectors_are_means_of_length_one_and_a_line_says_so(
    bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = loaded(bert)

    said = capsys.readouterr().out
    assert "layout_assumed" in said
    assert "modules.json" in said
    assert (engine.card.pooling, engine.card.normalised) == ("mean", True)
    assert np.abs(vectors(engine, TEXTS) - by_hand(bert, lambda tokens: tokens.mean(0))).max() < NOISE


def test_a_decoder_made_for_vectors_takes_those_of_the_last_token(tmp_path: Path) -> None:
    folder = write_layout(write_decoder(tmp_path), {"pooling_mode_lasttoken": True})

    engine = loaded(folder)

    assert np.abs(vectors(engine, TEXTS) - by_hand(folder, lambda tokens: tokens[-1])).max() < NOISE


def test_a_vector_is_the_same_alone_and_in_company(minilm: EncoderEngine) -> None:
    texts = ["word " * length for length in (1, 200, 3, 40, 41, 44, 90, 2, 250, 7)]

    together = vectors(minilm, texts)
    alone = np.concatenate([vectors(minilm, [text]) for text in texts])

    assert np.abs(together - alone).max() < NOISE


def test_vectors_are_those_of_sentence_transformers_itself(minilm: EncoderEngine) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(minilm_folder()), local_files_only=True, device="cpu").encode(TEXTS)

    assert np.abs(vectors(minilm, TEXTS) - expected).max() < NOISE


def test_what_means_the_same_is_closer_than_what_does_not(minilm: EncoderEngine) -> None:
    eats, meal, weather = vectors(minilm, ["A man is eating food.", "A man has a meal.", "It rains in Oslo."])

    assert eats @ meal > 0.7
    assert abs(eats @ weather) < 0.2


def test_the_card_tells_what_is_loaded(minilm: EncoderEngine) -> None:
    card = minilm.card

    assert (card.engine, card.abilities) == ("encoder", ("embeddings",))
    assert (card.dimensions, card.context_window, card.parameters) == (384, 256, 22_713_728)
    assert (card.dtype, card.quantisation, card.shorter) == ("float32", "none", ())


def test_int8_vectors_are_nearly_those_of_the_whole_weights(minilm: EncoderEngine) -> None:
    engine = loaded(minilm_folder(), precision="int8")

    likeness = (vectors(engine, TEXTS) * vectors(minilm, TEXTS)).sum(axis=1)

    assert engine.card.quantisation == "int8"
    assert likeness.min() > 0.95


def test_tokens_are_taken_as_they_are(minilm: EncoderEngine) -> None:
    tokens = minilm.read((TEXTS[0],), None)

    assert minilm.read((tuple(tokens[0]),), None) == [tuple(tokens[0])]
    assert np.array_equal(vectors(minilm, [tuple(tokens[0])]), vectors(minilm, [TEXTS[0]]))


def test_a_token_that_the_model_has_not_is_refused(minilm: EncoderEngine) -> None:
    with pytest.raises(InvalidRequestError, match=r"`input\[1\]` has a token .* 30522"):
        minilm.read(((101, 102), (101, 30522)), None)


def test_a_text_beyond_the_window_is_refused_and_never_cut(minilm: EncoderEngine) -> None:
    with pytest.raises(InvalidRequestError, match=r"256 tokens and `input\[1\]` has 303") as refusal:
        minilm.read(("short", "word " * 301), None)

    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "input")


def test_the_window_is_the_shortest_that_anybody_tells(laid_out: Callable[..., Path]) -> None:
    folder = laid_out({"pooling_mode_mean_tokens": True}, max_length=20)

    assert loaded(folder).card.context_window == 20
    assert loaded(folder, context=10).card.context_window == 10


def test_positions_that_are_never_used_do_not_count(tmp_path: Path) -> None:
    engine = loaded(write_roberta(tmp_path))

    assert engine.card.context_window == WINDOW
    assert vectors(engine, [[7] * WINDOW]).shape == (1, WIDTH)


def test_a_text_of_which_no_token_is_left_is_refused(tmp_path: Path) -> None:
    engine = loaded(write_layout(write_decoder(tmp_path), {"pooling_mode_lasttoken": True}))

    with pytest.raises(InvalidRequestError, match=r"`input\[0\]` has nothing"):
        engine.read(("   ",), None)


def test_the_folders_prompts_go_before_texts(laid_out: Callable[..., Path]) -> None:
    settings = {"prompts": {"query": "numbers: ", "document": ""}, "default_prompt_name": "query"}
    engine = loaded(laid_out({"pooling_mode_mean_tokens": True}, settings=settings))

    assert engine.card.prompts == ("query", "document")
    assert engine.read(("winter",), "query") == engine.read(("winter",), None)
    assert engine.read(("winter",), "query") == engine.read(("numbers: winter",), "document")
    with pytest.raises(InvalidRequestError, match=r"no prompt 'passage'\. Known: query, document"):
        engine.read(("winter",), "passage")


def test_shorter_vectors_are_for_models_trained_for_them(
    laid_out: Callable[..., Path], tmp_path: Path
) -> None:
    folder = laid_out({"pooling_mode_mean_tokens": True})

    assert loaded(folder).card.shorter == ()
    assert loaded(folder, matryoshka=True).card.shorter is None

    write_bert(tmp_path / "told", matryoshka_dimensions=[16, 8])
    assert loaded(tmp_path / "told").card.shorter == (8, 16)


@pytest.mark.parametrize(
    ("architecture", "is_encoder"),
    [
        ("BertModel", True),
        ("XLMRobertaModel", True),
        ("ModernBertForMaskedLM", True),
        ("MistralModel", True),
        ("Qwen3ForCausalLM", False),
        ("GPT2LMHeadModel", False),
        ("Gemma3ForConditionalGeneration", False),
        ("BertForSequenceClassification", False),
    ],
)
def test_a_folder_is_known_by_its_architecture(tmp_path: Path, architecture: str, is_encoder: bool) -> None:
    (tmp_path / "config.json").write_text(f'{{"architectures": ["{architecture}"]}}')

    assert holds_encoder(tmp_path) is is_encoder


def test_a_decoder_with_a_layout_is_an_encoder(tmp_path: Path) -> None:
    folder = write_decoder(tmp_path)
    assert not holds_encoder(folder)

    write_layout(folder, {"pooling_mode_lasttoken": True})
    assert holds_encoder(folder)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"model_type": "SparseEncoder"}, "it is a SparseEncoder"),
        ({"truncate_dim": 8}, "truncate_dim"),
    ],
)
def test_what_cannot_be_served_as_it_is_meant_is_refused_at_the_start(
    laid_out: Callable[..., Path], settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError, match=line):
        loaded(laid_out({"pooling_mode_mean_tokens": True}, settings=settings))


def test_pooling_without_the_prompts_is_refused_at_the_start(laid_out: Callable[..., Path]) -> None:
    folder = laid_out(
        {"pooling_mode_mean_tokens": True, "include_prompt": False}, settings={"prompts": {"query": "q: "}}
    )

    with pytest.raises(ConfigError, match="without its prompts"):
        loaded(folder)


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')

    with pytest.raises(ConfigError, match=r"cannot load it: .+"):
        loaded(tmp_path)


def test_a_precision_that_makes_no_sense_is_refused(bert: Path) -> None:
    with pytest.raises(ConfigError, match="--precision nf4 is not for encoders on cpu"):
        loaded(bert, precision="nf4")


def test_vectors_of_few_bits_have_length_one_all_the_same(bert: Path) -> None:
    engine = loaded(bert, precision="bf16")

    found = vectors(engine, TEXTS)

    assert engine.card.dtype == "bfloat16"
    assert found.dtype == np.float32
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < NOISE


def test_only_like_lengths_go_through_the_model_together() -> None:
    assert passes_of([10, 100, 9, 80, 8, 100]) == [[1, 5, 3], [0, 2, 4]]
