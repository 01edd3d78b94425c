"""Any encoder in ONNX: its inputs by name, its tokens pooled, its vectors of length 1."""

import numpy as np
import pytest

from gateway.errors import ConfigError
from gateway.scoring.encoder import CHARS_PER_TOKEN, Encoder
from gateway.scoring.session import GPU_DEVICES
from tests.fixtures.encoders import SIZE, write_encoder

TEXTS = ["hello", "prove there are infinitely many primes", "the sum"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder):
    return Encoder(folder)


def test_each_text_has_a_vector_of_length_1(encoder):
    vectors = encoder(TEXTS)

    assert vectors.shape == (len(TEXTS), SIZE)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)


def test_a_text_has_the_same_vector_alone_and_beside_longer_ones(encoder):
    assert encoder(TEXTS)[0] == pytest.approx(encoder(TEXTS[:1])[0], abs=1e-6)


def test_many_texts_come_back_in_their_order(encoder):
    assert encoder.many(TEXTS) == pytest.approx(encoder(TEXTS), abs=1e-6)


def test_the_vector_is_the_mean_over_the_words_and_not_over_the_padding(encoder):
    once, twice = encoder(["hello", "hello hello"])

    assert once == pytest.approx(twice, abs=1e-6)


def test_what_comes_after_so_many_tokens_changes_nothing(folder):
    encoder = Encoder(folder, max_tokens=4)

    assert encoder(["hello " * 4 + "prove"])[0] == pytest.approx(encoder(["hello"])[0], abs=1e-6)


def test_a_long_text_is_cut_before_it_is_tokenised(folder):
    encoder = Encoder(folder, max_tokens=4)
    blank = " " * (4 * CHARS_PER_TOKEN - len("hello"))

    vector = encoder([f"hello{blank}prove"])[0]

    assert vector == pytest.approx(encoder(["hello"])[0], abs=1e-6)


@pytest.mark.parametrize("text", ["", " \n", "\ud800 lone", "\x00", "证明", "🦜" * 5000], ids=ascii)
def test_any_text_has_a_finite_vector(encoder, text):
    vectors = encoder([text])

    assert vectors.shape == (1, SIZE)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    "shape", [{"ints": "int32"}, {"has_types": False}], ids=["32-bit inputs", "no token types"]
)
def test_a_model_gets_the_inputs_that_it_names(tmp_path, shape):
    vectors = Encoder(write_encoder(tmp_path, **shape))(TEXTS)

    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)


def test_a_model_that_pools_by_itself_is_taken_at_its_word(tmp_path):
    vectors = Encoder(write_encoder(tmp_path, pooled=True))(TEXTS)

    assert np.abs(vectors) == pytest.approx(SIZE**-0.5)


@pytest.mark.skipif(any(device.exists() for device in GPU_DEVICES), reason="this machine has a GPU")
def test_the_model_runs_on_the_processor_where_no_gpu_is_seen(encoder):
    assert encoder.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json"])
def test_a_folder_that_lacks_a_part_is_refused_by_its_name(tmp_path, missing):
    (write_encoder(tmp_path) / missing).unlink()

    with pytest.raises(ConfigError, match=missing):
        Encoder(tmp_path)


@pytest.mark.parametrize("broken", ["model.onnx", "tokenizer.json"])
def test_a_part_that_cannot_be_read_is_refused_in_one_line(tmp_path, broken):
    (write_encoder(tmp_path) / broken).write_bytes(b"\x00not this\nnor that")

    with pytest.raises(ConfigError, match=broken) as refusal:
        Encoder(tmp_path)

    assert "\n" not in str(refusal.value)


def test_a_model_of_other_things_than_text_is_refused(tmp_path):
    write_encoder(tmp_path, extra_input="pixel_values")

    with pytest.raises(ConfigError, match="pixel_values"):
        Encoder(tmp_path)
