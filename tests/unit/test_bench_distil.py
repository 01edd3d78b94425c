"""The script that makes the scorer's word vectors: what it splits text into, and how it joins two encoders."""

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("tokenizers")

from bench.routing import distil  # noqa: E402  # after the packages that it needs

BERT = ["[PAD]", "the", "user", "items", "get", "sum", "12", "##ing", "##name"]
JIEBA = "数学 900 n\n的 3000 u\n数 40 n\n学 30 v\nB超 3 n\n"
CODE = ["def get_user(items): return obj.items, self.user"] * 10


@pytest.fixture(scope="module")
def tokenizer():
    return distil.tokenizer(np, distil.counted(np, distil.first_guess(BERT, JIEBA, CODE), CODE))


def test_words_inside_identifiers_are_pieces(tokenizer):
    assert tokenizer.encode("getUser(items)").tokens == ["▁get", "user", "(", "items", ")"]


def test_chinese_is_split_into_words_without_spaces(tokenizer):
    assert tokenizer.encode("数学的").tokens == ["▁", "数学", "的"]


def test_a_word_in_a_script_that_is_not_covered_is_one_unknown_piece(tokenizer):
    assert tokenizer.encode("Привет").ids == [tokenizer.token_to_id("▁"), tokenizer.token_to_id("<unk>")]


def test_a_piece_of_a_text_is_likelier_than_one_that_no_text_has():
    guess = distil.first_guess(BERT, JIEBA, CODE)

    frequency = distil.counted(np, guess, CODE * 1_000)

    assert frequency["items"] / frequency["ing"] > guess["items"] / guess["ing"]


def test_dimensions_come_in_order_of_variance_and_chinese_follows_e5():
    rng = np.random.default_rng(0)
    e5 = rng.normal(size=(60, 4))
    minilm = e5 @ rng.normal(size=(4, 4))
    is_english = np.arange(60) < 50
    minilm[50:] = 7.0  # what an encoder without Chinese says of it: the same of everything

    vectors = distil.joined(np, e5, minilm, is_english, 4)

    variance = vectors.var(0)
    assert list(variance) == sorted(variance, reverse=True)
    assert np.linalg.matrix_rank(vectors[50:] - vectors[50:].mean(0)) == 4
