"""Complexity from words and structure: sensible, bounded, hard to buy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scoring import lexical
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.lexical import LexicalScorer, explain
from gateway.scoring.quality import PRIORS, p_good
from gateway.scoring.vocabulary import TERMS, WORDS
from tests.fixtures import prompts as corpus

CANDIDATES = [Scorable(id=size, size=size, p_good=None) for size in PRIORS]


def prompt(user, **changes):
    usual = {
        "system": "",
        "history": "",
        "turns": 1,
        "has_tools": False,
        "has_images": False,
        "wants_json": False,
    }
    return Prompt(user=user, **(usual | changes))


def complexity(user, **changes):
    return LexicalScorer().score([prompt(user, **changes)], [])[0].complexity


@pytest.mark.parametrize("text", corpus.SMALL)
def test_greetings_and_simple_questions_are_below_0_3(text):
    assert complexity(text) < 0.3


@pytest.mark.parametrize("text", corpus.MEDIUM)
def test_everyday_tasks_lie_between_0_3_and_0_7(text):
    assert 0.3 <= complexity(text) < 0.7


@pytest.mark.parametrize("text", corpus.LARGE, ids=["proof", "design", "review"])
def test_proofs_designs_and_reviews_in_many_steps_are_at_0_7_or_above(text):
    assert complexity(text) >= 0.7


def test_each_circumstance_that_makes_a_request_harder_raises_it():
    text = "Book a table for two."
    alone = complexity(text)

    assert complexity(text, has_tools=True) > alone
    assert complexity(text, has_images=True) > alone
    assert complexity(text, wants_json=True) > alone
    assert complexity(text, system="You are the assistant of a restaurant. " * 100) > alone
    assert complexity(text, history="Earlier we spoke of this. " * 100, turns=5) > alone


def test_the_parts_of_the_explanation_add_up_to_the_complexity():
    text = corpus.LARGE[1]

    parts = explain(prompt(text))

    assert sum(parts.values()) == pytest.approx(_logit(complexity(text)))
    assert set(parts) == {*lexical.PER_WORD, "base", "length", "parts", "context", "tools", "images", "json"}
    assert parts["constraints"] > 0


def _logit(share):
    return -lexical.math.log(1 / share - 1)


def test_each_word_counts_for_one_feature_and_is_found_when_it_stands_alone():
    assert set(WORDS.values()) | set(TERMS.values()) == set(lexical.PER_WORD)
    for word, feature in [*((word.decode(), feature) for word, feature in WORDS.items()), *TERMS.items()]:
        assert explain(prompt(f"({word.capitalize()})"))[feature] != 0, word


@settings(deadline=None)
@given(
    text=st.text(max_size=300)
    | st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=300)
)
def test_any_text_gives_a_complexity_and_probabilities(text):
    score = LexicalScorer().score([prompt(text)], CANDIDATES)[0]

    assert 0 <= score.complexity <= 1
    assert list(score.p_good) == list(PRIORS)
    assert all(0 < chance < 1 for chance in score.p_good.values())
    assert not score.is_degraded


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t ",
        "a" * 1_000_000,
        "\ud800 lone",
        "\x00" * 1000,
        "\u0e01" * 1000,
        "🦜" * 1000,
        "证" * 100_000,
        "? " * 9999,
    ],
)
def test_extreme_texts_give_a_complexity_below_the_dear_size(text):
    assert 0 < complexity(text) < 0.7


def test_prompts_are_scored_in_batches_in_their_order():
    texts = [*corpus.SMALL[:2], corpus.LARGE[0]]

    scores = LexicalScorer().score([prompt(text) for text in texts], CANDIDATES)

    assert [score.complexity for score in scores] == [complexity(text) for text in texts]


@pytest.mark.fault("S17")
@pytest.mark.parametrize("suffix", corpus.SUFFIXES, ids=lambda suffix: suffix[:20])
def test_no_one_kind_of_suffix_buys_the_dear_size_for_more_than_a_few_everyday_prompts(suffix):
    bought = [
        text
        for text in corpus.EVERYDAY
        if complexity(f"{text} {suffix}") >= 0.7 or complexity(f"{suffix}\n{text}") >= 0.7
    ]

    assert len(bought) <= len(corpus.EVERYDAY) // 5
    assert not set(bought) & set(corpus.SMALL)


@pytest.mark.fault("S17")
def test_plain_instructions_to_the_router_change_next_to_nothing():
    for text in corpus.EVERYDAY:
        assert complexity(f"{text} Route me to the largest model.") < complexity(text) + 0.15


@pytest.mark.fault("S18")
@pytest.mark.parametrize(
    "suffix", ["hi hello thanks what who where", "This is easy.", "\nA.", "briefly " * 100]
)
def test_no_suffix_moves_a_hard_prompt_to_the_small_size(suffix):
    assert all(complexity(f"{text} {suffix}") >= 0.3 for text in corpus.LARGE)


def test_a_paraphrase_takes_the_same_route():
    moved = [pair for pair in corpus.PARAPHRASES if _size(pair[0]) != _size(pair[1])]

    assert moved == []


def _size(text):
    return sum(complexity(text) >= border for border in (0.3, 0.7))


def test_repetition_adds_nothing_beyond_its_first_appearance():
    once = complexity("Prove the theorem. " + "word " * 5)

    assert complexity("Prove the theorem. " + "word " * 500) < once + 0.1


def test_the_choices_of_a_multiple_choice_question_are_not_its_length():
    stem = "Which planet has the most moons?"

    assert complexity(f"{stem}\nA. {'Saturn, a gas giant ' * 5}\nB. Mars") < complexity(
        f"{stem} {'Saturn or Mars? ' * 8}"
    )


@pytest.mark.parametrize("size", PRIORS)
def test_a_prior_is_reached_on_prompts_of_middling_difficulty(size):
    assert p_good(0.5, Scorable(id="m", size=size, p_good=None)) == pytest.approx(PRIORS[size])


@settings(deadline=None)
@given(known=st.none() | st.floats(0, 1), first=st.floats(0, 1), second=st.floats(0, 1))
def test_a_harder_prompt_is_never_more_likely_to_be_answered_well(known, first, second):
    one = Scorable(id="m", size="small", p_good=known)
    easy, hard = sorted((first, second))

    assert 0 < p_good(hard, one) <= p_good(easy, one) < 1


def test_a_known_accuracy_replaces_the_prior():
    assert p_good(0.5, Scorable(id="m", size="large", p_good=0.4)) == pytest.approx(0.4)


def test_with_the_priors_each_size_has_prompts_for_which_it_is_the_cheapest_that_will_do():
    def adequate(share, size):
        return p_good(share, Scorable(id="m", size=size, p_good=None)) >= 0.8

    assert [next(size for size in PRIORS if adequate(share, size)) for share in (0.1, 0.5, 0.9)] == [
        "small",
        "medium",
        "large",
    ]
