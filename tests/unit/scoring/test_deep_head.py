"""A head believes of the encoder's vectors only what held on sources that it had not seen."""

import numpy as np
import pytest

from gateway.errors import ConfigError
from gateway.scoring.deep_head import fit_deep_head, load, save

SIZE = 12
PROBE = np.eye(SIZE)[0]
SOURCES = ["exam"] * 300 + ["chat"] * 100


def data(*, seed=0, of_difficulty=1.0, of_vector=1.0):
    """Difficulties, vectors of length 1, and failures that come of both, a noise, and each source's own level."""
    rng = np.random.default_rng(seed)
    difficulties = rng.normal(-0.5, 1.2, len(SOURCES))
    vectors = rng.normal(size=(len(SOURCES), SIZE))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    logits = of_difficulty * difficulties + of_vector * 6 * vectors[:, 3] + rng.normal(0, 1, len(SOURCES))
    levels = np.where(np.array(SOURCES) == "exam", 1.0, -1.0)
    return difficulties, vectors.astype(np.float32), 1 / (1 + np.exp(-logits - levels))


def fit(difficulties, vectors, failures):
    return fit_deep_head(difficulties, vectors, failures, SOURCES, PROBE)


def refined(head, difficulties, vectors):
    return np.array([head(d, v) for d, v in zip(difficulties, vectors, strict=True)])


def agreement(values, failures):
    return np.corrcoef(values, failures)[0, 1]


def test_vectors_that_tell_of_failures_make_the_difficulty_a_better_guess_elsewhere():
    head = fit(*data())
    difficulties, vectors, failures = data(seed=1)

    better = refined(head, difficulties, vectors)

    assert agreement(better, failures) > agreement(difficulties, failures) + 0.1


def test_vectors_that_tell_nothing_move_next_to_nothing():
    head = fit(*data(of_vector=0.0))
    difficulties, vectors, _ = data(seed=1)

    assert refined(head, difficulties, vectors) == pytest.approx(difficulties, abs=0.4)


def test_vectors_that_mislead_elsewhere_change_nothing_at_all():
    difficulties, vectors, needs = data()
    is_exam = np.array(SOURCES) == "exam"
    vectors[:, 3] *= np.where(is_exam, 1, -1)  # what means hard in one source means easy in the other

    head = fit(difficulties, vectors, needs)

    assert refined(head, difficulties, vectors) == pytest.approx(difficulties)


def test_refined_difficulties_keep_the_first_ones_mean_and_spread():
    difficulties, vectors, failures = data()

    better = refined(fit(difficulties, vectors, failures), difficulties, vectors)

    is_exam = np.array(SOURCES) == "exam"
    assert better[is_exam].mean() + better[~is_exam].mean() == pytest.approx(
        difficulties[is_exam].mean() + difficulties[~is_exam].mean()
    )
    assert better.std() == pytest.approx(difficulties.std(), rel=0.1)


def test_how_hard_a_source_is_as_a_whole_teaches_the_head_nothing():
    difficulties, vectors, failures = data()
    is_exam = np.array(SOURCES) == "exam"
    harder = np.where(is_exam, 0.5 + failures / 2, failures)

    assert fit(difficulties, vectors, harder).weights == pytest.approx(
        fit(difficulties, vectors, failures).weights, rel=1e-6
    )


def test_a_head_is_not_fitted_to_a_single_source():
    difficulties, vectors, failures = data()

    with pytest.raises(ValueError, match="two sources"):
        fit_deep_head(difficulties, vectors, failures, ["exam"] * len(SOURCES), PROBE)


def test_a_head_is_read_back_as_it_was_written(tmp_path):
    head = fit(*data())

    save(head, tmp_path / "head.json")

    assert load(tmp_path / "head.json") == head


@pytest.mark.parametrize("text", [None, b"", b"{}", b'{"slope": "steep"}', b"\xff"], ids=repr)
def test_a_file_that_holds_no_head_is_refused_by_its_name(tmp_path, text):
    if text is not None:
        (tmp_path / "head.json").write_bytes(text)

    with pytest.raises(ConfigError, match=r"head\.json"):
        load(tmp_path / "head.json")


def test_a_head_goes_with_its_own_encoder_and_with_its_quantised_copy_only():
    head = fit(*data())
    nearly = PROBE + 0.2 * np.eye(SIZE)[1]

    head.check(nearly / np.linalg.norm(nearly))

    for other in (np.eye(SIZE)[1], np.eye(SIZE + 1)[0]):
        with pytest.raises(ConfigError, match="another encoder"):
            head.check(other)
