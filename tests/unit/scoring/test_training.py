"""A scorer that is trained on a user's own answers, on top of the one that ships."""

import random
from pathlib import Path

import numpy as np
import pytest
import splintr

from gateway.errors import ConfigError
from gateway.scoring.artefact import GRAPH, HEADS, LEVELS, SHIPPED, load, read_manifest
from gateway.scoring.contract import Scorable
from gateway.scoring.evaluation_files import EvaluationError, EvaluationFile
from gateway.scoring.features import inputs_of
from gateway.scoring.model import GraphScorer
from gateway.scoring.prompt import prompt_of
from gateway.scoring.training.base import read_base
from gateway.scoring.training.design import raw_features
from gateway.scoring.training.store import read_heads, read_neighbours
from gateway.scoring.training.user import Trainer, Wish
from gateway.values import OutcomeRow
from tests.fixtures.evaluations import write

NOW_MS = 1_800_000_000_000
LEVEL = {"small": "medium", "large": "frontier"}
PROMPTS = [
    "What is the capital of France?",
    "Prove that every bounded monotone sequence of real numbers converges.",
    "def f(x):\n    return [y ** 2 for y in x]\n\nWhat does this do? Rewrite it in Rust.",
    "证明根号2是无理数。请一步一步地解释。",
    "Объясни, почему небо голубое",
    "🙂🙃",
    "",
    " \n\t ",
    "Which is true?\nA. one\nB. two\nC. three\nD. four",
    "a long story of numbers 1, 2, 3. " * 3200,
]


def rows(count: int = 300, *, seed: int = 0, source: str = "shop") -> list[dict[str, object]]:
    """The small model fails at refunds, which look easy, and the large one seldom fails at all."""
    rng = random.Random(seed)
    goods = ["kettle", "lamp", "carpet", "chair", "curtain", "blender", "mirror", "pillow"]
    found = []
    for n in range(count):
        is_hard = n % 2 == 1
        thing, number = rng.choice(goods), rng.randint(10, 9999)
        asked = (
            f"Refund for the {thing} of order {number}?"
            if is_hard
            else f"Explain step by step how the price of {number} dollars of our {thing} includes 19 % tax, and thank for it."
        )
        found.append(
            {
                "source": source,
                "prompt": f"{asked} ({n})",
                "s:small": float(rng.random() < (0.15 if is_hard else 0.9)),
                "s:large": float(rng.random() < 0.92),
            }
        )
    return found


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(SHIPPED, now_ms=NOW_MS)


@pytest.fixture(scope="module")
def trained(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("trained")
    traffic, _ = trainer.read(EvaluationFile(write(folder / "shop.jsonl", rows())), LEVEL, "source")
    return folder / "out", trainer.train(traffic, {}, folder / "out", Wish(rounds=50, name="shop"))


@pytest.fixture
def read(trainer: Trainer, tmp_path: Path):
    return lambda those, levels=LEVEL: trainer.read(
        EvaluationFile(write(tmp_path / "a.jsonl", those)), levels, "source"
    )


def scorer_of(folder: Path) -> GraphScorer:
    artefact = load(folder)
    return GraphScorer(artefact, splintr.Tokenizer.from_pretrained(artefact.manifest.tokenizer).encode_flat)


def test_the_graph_says_what_its_weights_say_of_any_text():
    artefact = load(SHIPPED)
    encode = splintr.Tokenizer.from_pretrained(artefact.manifest.tokenizer).encode_flat
    fitted, _ = read_heads(SHIPPED, artefact.manifest)
    prompts = [prompt_of({"messages": [{"role": "user", "content": text}]}) for text in PROMPTS]

    need, levels, mix = fitted.predict(*raw_features(read_base(SHIPPED / GRAPH), prompts, encode))

    names = ["need", "levels", "mix"]
    by_graph = [artefact.session.run(names, inputs_of([one], encode).feeds()) for one in prompts]
    assert np.allclose([one[0][0] for one in by_graph], need, atol=1e-4)
    assert np.allclose([one[1][0] for one in by_graph], levels, atol=1e-4)
    assert np.allclose([one[2][0] for one in by_graph], mix, atol=1e-4)


def test_a_trained_scorer_loads_and_knows_what_was_hard_there(trained):
    folder, _ = trained
    scorer = scorer_of(folder)
    small = Scorable(id="local/small", size="small", model="small", upstream_model="small")

    hard, easy = scorer.score(
        [
            prompt_of({"messages": [{"role": "user", "content": text}]})
            for text in (
                "Refund for the teapot of order 77?",
                "Explain step by step how the price of 80 dollars of our teapot includes 19 % tax, and thank for it.",
            )
        ],
        [small],
    )

    assert hard.p_good[small.id] < 0.5 < easy.p_good[small.id]
    assert hard.complexity > easy.complexity


def test_it_finds_more_on_prompts_kept_aside_than_length_and_the_base(trained):
    _, result = trained
    (row,) = result.rows

    assert row.apgr["trained"].value > max(row.apgr["length"].value, row.apgr["base"].value) + 0.02
    assert row.apgr["trained"].low < row.apgr["trained"].value < row.apgr["trained"].high
    assert {one.model for one in result.heads} == {"small", "large"}


def test_the_experts_of_the_base_stay_as_they_are(trained):
    folder, _ = trained
    before, _ = read_heads(SHIPPED, read_manifest(SHIPPED))
    after, _ = read_heads(folder, read_manifest(folder))

    old = len(before.sources)
    assert after.sources == (*before.sources, "shop")
    assert np.array_equal(after.need[:old], before.need)
    assert np.array_equal(after.levels[:old], before.levels)
    assert np.array_equal(after.gate[:old], before.gate)


def test_models_that_were_measured_before_keep_their_heads(trained):
    folder, _ = trained

    known = read_manifest(SHIPPED).models

    assert {name: read_manifest(folder).models[name] for name in known} == known


@pytest.fixture(scope="module")
def again(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory):
    """The same once more, but for the texts."""
    folder = tmp_path_factory.mktemp("again")
    traffic, _ = trainer.read(EvaluationFile(write(folder / "other.jsonl", rows())), LEVEL, "source")
    wish = Wish(rounds=2, name="shop", keep_texts=True)
    return folder / "out", trainer.train(traffic, {}, folder / "out", wish)


def test_prompts_are_kept_only_where_they_are_asked_for(trained, again):
    of_shop = len(read_manifest(SHIPPED).sources)
    kept, left = read_neighbours(again[0]), read_neighbours(trained[0])

    assert all(kept.texts[kept.source == of_shop])
    assert not any(left.texts[left.source == of_shop])
    assert left.texts[0] == read_neighbours(SHIPPED).texts[0]


def test_the_same_answers_make_the_same_scorer(trained, again):
    one, other = trained[1].manifest, again[1].manifest

    assert [one.files[name] for name in (GRAPH, HEADS)] == [other.files[name] for name in (GRAPH, HEADS)]
    assert one.version == other.version
    assert one.version.startswith("shop-")


def test_a_trained_scorer_is_a_base_for_the_next(trained, tmp_path):
    folder, _ = trained
    second = Trainer(folder, now_ms=NOW_MS)
    path = write(tmp_path / "a.jsonl", rows(source="bank", seed=1))

    # Its models are known by now.
    traffic, _ = second.read(EvaluationFile(path), {}, "source")
    result = second.train(traffic, {}, tmp_path / "next", Wish(rounds=2))

    assert result.manifest.sources[-2:] == ("shop", "bank")
    with pytest.raises(EvaluationError, match="has a source 'shop' already"):
        second.read(EvaluationFile(write(tmp_path / "b.jsonl", rows())), {}, "source")


def test_the_card_tells_what_was_measured_on_what(trained):
    folder, result = trained

    text = (folder / "card.md").read_text("utf-8")

    assert text.startswith(f"# Scorer {result.manifest.version}")
    assert "| shop | medium to frontier | 300 |" in text
    assert "Refund" not in text
    assert "(shop-reliability.svg)" in text
    assert (folder / "shop-reliability.svg").exists()


def test_a_model_that_nobody_placed_stands_where_its_mean_score_puts_it(read):
    those = [row | {"s:mine": row["s:large"], "s:other": row["s:small"]} for row in rows()]

    (traffic,), _ = read(those)

    assert (traffic.placed["mine"].level, traffic.placed["mine"].by) == ("frontier", "its mean score")
    assert traffic.placed["other"].level == "medium"
    assert traffic.placed["small"].by == "you"


def test_a_model_that_the_base_measured_stands_where_it_did(read):
    those = [row | {"s:meta-llama/Meta-Llama-3.1-8B-Instruct": row["s:small"]} for row in rows()]

    (traffic,), _ = read(those, {})

    placed = traffic.placed["meta-llama/Meta-Llama-3.1-8B-Instruct"]
    assert (placed.by, placed.level in LEVELS) == ("its name", True)


def test_models_of_which_nothing_is_known_are_refused(read):
    with pytest.raises(EvaluationError, match="say it of one at least with --level"):
        read(rows(), {})


def test_too_few_prompts_are_told_and_left_out(read):
    found, notes = read([*rows(), *rows(40, source="bank", seed=1)])

    assert [one.source.name for one in found] == ["shop"]
    assert "bank: 40 prompts have a score of each level" in notes[0]
    assert "200 are needed" in notes[0]


def test_answers_that_are_all_alike_teach_nothing(read):
    found, notes = read([row | {"s:small": 1.0} for row in rows()])

    assert found == []
    assert "300 are good and 0 bad" in notes[0]


def test_prompts_without_a_score_of_every_level_are_left_out(read):
    those = rows()
    for row in those[:50]:
        row["s:large"] = None

    (traffic,), _ = read(those)

    assert (len(traffic.prompts), traffic.left_out) == (250, 50)


def test_strong_models_that_are_no_better_leave_only_failure_to_learn(trainer, read, tmp_path):
    (traffic,), _ = read([row | {"s:large": row["s:small"]} for row in rows()])

    result = trainer.train([traffic], {}, tmp_path / "out", Wish(rounds=2))

    assert traffic.source.need == "failure"
    assert "there is no gain to learn" in result.notes[0]


def outcomes(count: int, value: float, p_good: float = 0.6) -> list[OutcomeRow]:
    return [
        OutcomeRow(
            tenant=f"t{n % 4}",
            user=f"u{n % 20}",
            model="fast",
            candidate="local/fast",
            source="feedback",
            value=value,
            p_good=p_good,
            created_ms=NOW_MS,
        )
        for n in range(count)
    ]


FAST = Scorable(id="local/fast", size="small", model="fast", upstream_model="mistral-7b-instruct-v0.3")


def test_outcomes_of_the_ledger_move_a_head(trainer, tmp_path):
    moved = trainer.moved(outcomes(200, 1.0), [FAST])

    result = trainer.train([], moved, tmp_path / "out", Wish())

    name = FAST.upstream_model
    before, after = read_manifest(SHIPPED).models[name], result.manifest.models[name]
    assert after.shift > before.shift + 0.5
    assert after.position == before.position
    assert result.manifest.files[GRAPH] == read_manifest(SHIPPED).files[GRAPH]
    assert result.manifest.version.split("-")[-1] != read_manifest(SHIPPED).version.split("-")[-1]
    assert scorer_of(tmp_path / "out").head(FAST) == after


def test_a_few_outcomes_leave_a_head_as_it_is(trainer):
    (moved,) = trainer.moved(outcomes(20, 0.0), [FAST]).values()

    assert (moved.outcomes, moved.head) == (20, None)


def test_a_base_that_kept_no_sample_is_refused(tmp_path):
    for file in SHIPPED.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with np.load(tmp_path / HEADS) as arrays:
        np.savez(tmp_path / HEADS, **{name: arrays[name] for name in arrays if not name.startswith("rows_")})

    with pytest.raises(ConfigError, match=r"nothing can be trained on top of it: no rows_mmlu"):
        read_heads(tmp_path, read_manifest(SHIPPED))


def test_the_card_that_ships_is_that_of_the_scorer_that_ships():
    """`python bench/routing/holdout.py ... --card gateway/scoring/shipped` writes it."""
    text = (SHIPPED / "card.md").read_text("utf-8")

    assert text.startswith(f"# Scorer {read_manifest(SHIPPED).version}\n")
