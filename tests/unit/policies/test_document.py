"""Documents that can be used, and the one line that says why another cannot."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import document
from policies.document import PolicyError
from policies.threshold import Step, Threshold

GOOD = """\
name: mine
description: A policy of ours.
version: 3
constraints:
  sizes: [small, large]
objective:
  kind: threshold
  steps:
    - {below: 0.25, size: small}
    - {below: 0.5, size: medium}
  otherwise: large
guards:
  max_attempts: 3
  on_degraded_score: objective
"""


def test_a_document_becomes_a_policy():
    policy = document.parse(GOOD, source="mine.yaml")

    assert (policy.name, policy.description, policy.version) == ("mine", "A policy of ours.", 3)
    assert policy.objective == Threshold(steps=(Step(0.25, "small"), Step(0.5, "medium")), otherwise="large")
    assert (policy.guards.max_attempts, policy.guards.on_degraded_score) == (3, "objective")
    assert len(policy.constraints) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("below: 0.5", "below: half", "objective.steps[1].below: expected a number between 0 and 1"),
        ("below: 0.5", "below: 1.5", "objective.steps[1].below: expected a number between 0 and 1"),
        ("below: 0.5", "below: .nan", "objective.steps[1].below: expected a number between 0 and 1"),
        ("below: 0.5", "below: true", "objective.steps[1].below: expected a number between 0 and 1"),
        ("below: 0.5", "below: 0.25", "objective.steps[1].below: expected more than 0.25, the step before it"),
        ("size: medium", "size: huge", "objective.steps[1].size: expected one of small, medium, large, cloud"),
        ("size: medium", "sise: medium", "objective.steps[1].size: is missing"),
        ("otherwise: large", "otherwise:", "objective.otherwise: is empty"),
        ("kind: threshold", "kind: magic", "objective.kind: expected one of threshold, cheapest_adequate, cheapest, cascade"),
        ("kind: threshold", "kind: [threshold]", "objective.kind: expected one of threshold, cheapest_adequate, cheapest, cascade"),
        ("kind: threshold", "kind: cheapest", "objective.steps: unknown key; known here: kind"),
        ("name: mine", "", "name: is missing"),
        ("name: mine", "name: no", "name: expected a name of letters, digits, `.`, `_` and `-`"),
        ("name: mine", "name: 'a b'", "name: expected a name of letters, digits, `.`, `_` and `-`"),
        ("description: A policy of ours.", "description: ''", "description: expected text of 1 to 1000 characters"),
        ("version: 3", "version: 1.0", "version: expected a whole number between 1 and 1,000,000,000"),
        ("max_attempts: 3", "max_attempts: 0", "guards.max_attempts: expected a whole number between 1 and 10"),
        ("max_attempts: 3", "max_tries: 3", "guards.max_tries: unknown key; known here: max_attempts, max_kv_use, max_queued, on_degraded_score"),
        ("max_attempts: 3", "max_queued: -1", "guards.max_queued: expected a whole number between 0 and 1,000,000"),
        ("max_attempts: 3", "max_queued: few", "guards.max_queued: expected a whole number between 0 and 1,000,000"),
        ("max_attempts: 3", "max_queued:", "guards.max_queued: is empty"),
        ("max_attempts: 3", "max_kv_use: 90", "guards.max_kv_use: expected a number between 0 and 1"),
        ("on_degraded_score: objective", "on_degraded_score: dear", "guards.on_degraded_score: expected one of cheapest, objective"),
        ("sizes: [small, large]", "sizes: [small, big]", "constraints.sizes[1]: expected one of small, medium, large, cloud"),
        ("sizes: [small, large]", "sizes: []", "constraints.sizes: expected a list of 1 to 100 items"),
        ("sizes: [small, large]", "models: {}", "constraints.models: expected `allow` or `deny` with a list of names, `*` stands for anything"),
        ("sizes: [small, large]", "models: {deny: [1]}", "constraints.models.deny[0]: expected text of 1 to 200 characters"),
        ("sizes: [small, large]", "models: a", "constraints.models: expected a mapping"),
        ("sizes: [small, large]", "max_expected_cost_usd: 1e-10", "constraints.max_expected_cost_usd: expected an amount in USD such as 0.002, no finer than a billionth"),
        ("sizes: [small, large]", "max_expected_cost_usd: dear", "constraints.max_expected_cost_usd: expected an amount in USD such as 0.002, no finer than a billionth"),
        (
            "sizes: [small, large]",
            "size: small",
            "constraints.size: unknown key; known here: max_expected_cost_usd, min_p_good, models, sizes, upstreams",
        ),
    ],
)  # fmt: skip
def test_the_message_names_the_place_and_what_was_expected(old, new, message):
    with pytest.raises(PolicyError) as refused:
        document.parse(GOOD.replace(old, new), source="mine.yaml")

    assert str(refused.value) == f"mine.yaml: {message}"


@pytest.mark.fault("A22")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml: expected a mapping"),
        ("- a", "mine.yaml: expected a mapping"),
        ("a: [", "mine.yaml:1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\nb: 2\na: 3", "mine.yaml:3: not valid YAML: the key 'a' is there twice"),
        ("a: 1\n2: b", "mine.yaml:2: not valid YAML: a key must be plain text"),
        ("? [a]\n: b", "mine.yaml:1: not valid YAML: a key must be plain text"),
        ("<<: {a: b}", "mine.yaml:1: not valid YAML: a key must be plain text"),
        ("a: &x 1\nb: *x", "mine.yaml:1: not valid YAML: anchors and aliases are not allowed"),
        ("a: !!python/name:os.system x", "mine.yaml:1: not valid YAML: tags are not allowed"),
        ("a: !include other.yaml", "mine.yaml:1: not valid YAML: tags are not allowed"),
        ("a: b\n---\nc: d", "mine.yaml:2: not valid YAML: but found another document"),
        (
            "a: \x00",
            "mine.yaml: not valid YAML: unacceptable character #x0000: special characters are not allowed",
        ),
        ("a: " + "9" * 5000, "mine.yaml: holds a number or a date that cannot be read"),
        ("a: 2026-99-99", "mine.yaml: holds a number or a date that cannot be read"),
        ("[" * 50_000, "mine.yaml: is nested too deeply"),
        ("a: " + "b" * 65_536, "mine.yaml: is larger than 65,536 bytes"),
    ],
)
def test_a_hostile_document_is_refused_with_one_line(text, message):
    with pytest.raises(PolicyError) as refused:
        document.parse(text, source="mine.yaml")

    assert str(refused.value) == message


@pytest.mark.fault("A22")
@settings(deadline=None)
@given(
    at=st.integers(0, len(GOOD)),
    length=st.integers(0, 8),
    noise=st.text(max_size=6)
    | st.sampled_from(["[", "{", "\n", ": ", "- ", "&a ", "*a", "!!int ", "? ", "|\n", "0x_", ".inf"]),
)
def test_a_damaged_document_is_a_policy_or_a_one_line_error(at, length, noise):
    text = GOOD[:at] + noise + GOOD[at + length :]

    outcome = _name_or_error(text)

    assert len(outcome.splitlines()) == 1


def _name_or_error(text):
    try:
        return document.parse(text, source="mine.yaml").name
    except PolicyError as error:
        return str(error)


@pytest.mark.fault("A22")
def test_a_file_that_every_user_may_change_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    path.chmod(0o666)

    with pytest.raises(
        PolicyError, match=r"^mine\.yaml: every user of this machine may change it; run `chmod o-w "
    ):
        document.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: \xff", "mine.yaml: is not UTF-8 text"),
        (b"#" * 70_000, "mine.yaml: is larger than 65,536 bytes"),
    ],
)
def test_a_file_that_is_no_document_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    with pytest.raises(PolicyError) as refused:
        document.load(path)

    assert str(refused.value) == message
