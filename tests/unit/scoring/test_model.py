"""The model that ships: who is known by name, and what it says of anything at all."""

import pytest
import splintr

from gateway.scoring.artefact import SHIPPED, load
from gateway.scoring.contract import Prompt, Scorable
from gateway.scoring.model import GraphScorer


@pytest.fixture(scope="module")
def scorer() -> GraphScorer:
    artefact = load(SHIPPED)
    return GraphScorer(artefact, splintr.Tokenizer.from_pretrained(artefact.manifest.tokenizer).encode_flat)


def asked(user: str) -> Prompt:
    return Prompt(
        system="", user=user, history="", turns=1, has_tools=False, has_images=False, wants_json=False
    )


def accuracy(scorer: GraphScorer, name: str) -> float:
    return scorer.head(Scorable(id=f"local/{name}", size="medium", upstream_model=name)).accuracy


def test_a_model_is_known_by_its_name_however_it_is_dressed(scorer: GraphScorer) -> None:
    tuned = accuracy(scorer, "Meta-Llama-3.1-70B-Instruct")

    assert tuned > 0
    assert accuracy(scorer, "meta-llama/Llama-3.1-70B-Instruct-AWQ") == tuned
    assert accuracy(scorer, "llama-3.1-70b") == tuned, "who serves it serves the tuned one"


def test_a_base_model_is_not_its_tuned_sister(scorer: GraphScorer) -> None:
    assert accuracy(scorer, "Meta-Llama-3-70B") != accuracy(scorer, "Meta-Llama-3.1-70B-Instruct")


def test_what_the_configuration_says_of_a_model_stands_above_its_name(scorer: GraphScorer) -> None:
    by_name = Scorable(id="a/x", size="medium", upstream_model="Llama-3.1-70B-Instruct")
    told = Scorable(id="a/y", size="medium", upstream_model="Llama-3.1-70B-Instruct", p_good=0.2)

    score = scorer.score([asked("Summarise this contract in three lines.")], [by_name, told])[0]

    assert score.p_good["a/y"] < score.p_good["a/x"]


def test_larger_models_promise_more_and_harder_prompts_less(scorer: GraphScorer) -> None:
    sizes = [Scorable(id=f"a/{size}", size=size) for size in ("small", "medium", "large", "cloud")]

    easy, hard = scorer.score(
        [asked("Good morning!"), asked("Implement Raft in Go with snapshots, and prove its safety.")], sizes
    )

    assert list(hard.p_good.values()) == sorted(hard.p_good.values())
    assert easy.complexity < 0.1
    assert hard.complexity > 0.4
    assert hard.p_good["a/small"] < 0.5 < easy.p_good["a/small"]


@pytest.mark.parametrize(
    "text", ["", "\ud800", "\x00" * 50, "字" * 50_000, "🙂" * 9, "a" * 200_000, "\n" * 9_000]
)
def test_any_text_gets_a_sane_score(scorer: GraphScorer, text: str) -> None:
    score = scorer.score([asked(text)], [Scorable(id="a/x", size="small")])[0]

    assert 0 < score.complexity < 1
    assert 0 < score.p_good["a/x"] < 1


def test_a_script_that_has_no_vectors_is_said_to_be_unread(scorer: GraphScorer) -> None:
    read, unread = scorer.score(
        [asked("What is the capital of France?"), asked("საქართველოს დედაქალაქი რომელია?")], ()
    )

    assert not read.is_partial
    assert unread.is_partial
