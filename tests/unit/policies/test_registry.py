"""Where policies come from, and what a plugin can and cannot do."""

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from policies import plugin
from policies.contract import Acceptance, Decision, NoCandidateError
from policies.document import PolicyError
from policies.registry import Registry
from tests.fixtures.routing import candidate, facts, one_of_each_size

DOCUMENT = "name: {name}\ndescription: d\nversion: 1\nobjective: {{kind: cheapest}}\n"


def test_the_library_is_there_without_any_folder():
    registry = Registry.load(entry_points=False)

    assert registry.names == ("brownout", "burst", "cascade", "cheapest", "cheapest_adequate", "threshold")
    assert registry.fallback.name == "cheapest"


def test_a_folder_adds_its_documents_and_nothing_else(tmp_path):
    (tmp_path / "a.yaml").write_text(DOCUMENT.format(name="a"))
    (tmp_path / "b.yml").write_text(DOCUMENT.format(name="b"))
    (tmp_path / "notes.txt").write_text("not a policy")
    (tmp_path / "folder.yaml").mkdir()

    registry = Registry.load([tmp_path], entry_points=False)

    assert registry.names[6:] == ("a", "b")


@pytest.mark.parametrize(
    ("name", "taken_by"), [("threshold", "threshold.yaml"), ("named", "requests that name a model")]
)
def test_a_name_can_be_given_once(tmp_path, name, taken_by):
    (tmp_path / "mine.yaml").write_text(DOCUMENT.format(name=name))

    with pytest.raises(PolicyError) as refused:
        Registry.load([tmp_path], entry_points=False)

    assert str(refused.value) == f"mine.yaml: name: {name!r} is taken by {taken_by}"


@pytest.mark.fault("S15")
def test_one_bad_document_refuses_the_whole_load_so_that_the_old_registry_stays(tmp_path):
    (tmp_path / "good.yaml").write_text(DOCUMENT.format(name="good"))
    (tmp_path / "torn.yaml").write_text("name: torn\ndescr")

    with pytest.raises(PolicyError, match=r"^torn\.yaml:2: not valid YAML: could not find expected ':'$"):
        Registry.load([tmp_path], entry_points=False)


def test_an_unknown_name_and_a_missing_folder_say_what_there_is(tmp_path):
    with pytest.raises(
        PolicyError,
        match=r"^there is no policy 'evil'; there are brownout, burst, cascade, cheapest, cheapest_adequate, threshold$",
    ):
        Registry.load(entry_points=False).get("evil")
    with pytest.raises(PolicyError, match=r"cannot be read: No such file or directory$"):
        Registry.load([tmp_path / "absent"], entry_points=False)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with one policy; gives the function that does it."""

    def install(source: str) -> None:
        (tmp_path / "somebodys_policy.py").write_text(source)
        info = tmp_path / "somebodys_policy-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-policy\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[weighbridge.policies]\ntheirs = somebodys_policy:Theirs\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "somebodys_policy", raising=False)

    return install


def test_an_installed_package_brings_its_policy(installed):
    installed(
        "from policies.contract import Decision\n"
        "class Theirs:\n"
        "    name = 'theirs'\n"
        "    def decide(self, facts, candidates):\n"
        "        return Decision(candidates=tuple(candidates)[-1:], policy='x', reason='the last\\nis best')\n"
    )

    decision = Registry.load().get("theirs").decide(facts(), one_of_each_size())

    assert [one.model for one in decision.candidates] == ["cloud"]
    assert (decision.policy, decision.reason) == ("theirs", "theirs: the last is best")


@pytest.mark.parametrize(
    "source", ["raise OSError('no licence')", "Theirs = 3", "class Theirs: name = 'a b'"]
)
def test_a_package_that_cannot_be_loaded_is_named(installed, source):
    installed(source)

    with pytest.raises(
        PolicyError, match=r"^entry point theirs \(somebodys_policy:Theirs\): cannot be loaded: "
    ):
        Registry.load()


@dataclass
class Theirs:
    answer: Any
    name: str = "theirs"

    def decide(self, given_facts, candidates):
        if isinstance(self.answer, Exception):
            raise self.answer
        return Decision(candidates=self.answer, policy="theirs", reason="because")


@pytest.mark.fault("S16")
@pytest.mark.parametrize(
    "answer",
    [
        (),
        "evil",
        (candidate("evil"),),
        (candidate("small"), candidate("small")),
        (candidate("large", is_healthy=False),),
        RuntimeError("boom"),
        RecursionError(),
    ],
)
def test_a_plugin_that_decides_nonsense_fails_as_a_policy_error(answer):
    candidates = [candidate("small"), candidate("large", is_healthy=False)]

    with pytest.raises(PolicyError, match=r"^theirs: "):
        plugin.wrap(Theirs(answer)).decide(facts(), candidates)


def test_a_plugin_cannot_alter_a_candidate_or_hide_what_was_dropped():
    real = candidate("small", expected_cost=5)
    forged = candidate("small", expected_cost=0, worst_cost=0)

    decision = plugin.wrap(Theirs((forged,))).decide(facts(), [real, candidate("large", is_healthy=False)])

    assert decision.candidates == (real,)
    assert decision.dropped == (("local/large", "health"),)


@dataclass
class TheirCascade:
    acceptance: Acceptance
    max_calls: int = 3
    name: str = "theirs"

    def decide(self, given_facts, candidates):
        return Decision(tuple(candidates), policy="theirs", reason="because", acceptance=self.acceptance)


def test_a_plugin_may_weigh_answers_if_it_says_how_many_it_may_ask_for():
    small, large = candidate("small"), candidate("large")
    forged = candidate("small", worst_cost=0, expected_cost=5)
    acceptance = Acceptance(thresholds=(0.9,), seconds=(forged,))

    decision = plugin.wrap(TheirCascade(acceptance)).decide(facts(), [small, large])
    single = plugin.wrap(TheirCascade(acceptance, max_calls=1)).decide(facts(), [small, large])

    assert decision.acceptance == Acceptance(thresholds=(0.9,), seconds=(small,))
    assert single.acceptance is None


@pytest.mark.fault("S16")
@pytest.mark.parametrize(
    "acceptance",
    [
        Acceptance(thresholds=(2.0,)),
        Acceptance(thresholds=(float("nan"),)),
        Acceptance(thresholds=(0.5,), seconds=(candidate("evil"),)),
        "always",
    ],
)
def test_a_plugin_that_accepts_nonsense_fails_as_a_policy_error(acceptance):
    with pytest.raises(PolicyError, match=r"^theirs: "):
        plugin.wrap(TheirCascade(acceptance)).decide(facts(), one_of_each_size())


@pytest.mark.parametrize("calls", [0, 11, True, "2"])
def test_a_plugin_asks_for_one_to_ten_answers(calls):
    with pytest.raises(PolicyError, match=r"^max_calls: expected a whole number between 1 and 10$"):
        plugin.wrap(TheirCascade(Acceptance(thresholds=()), max_calls=calls))


def test_a_plugins_refusal_is_joined_with_the_rules_that_always_hold():
    theirs = plugin.wrap(Theirs(NoCandidateError([("local/small", "not on Sundays")])))

    with pytest.raises(NoCandidateError) as refused:
        theirs.decide(facts(), [candidate("small"), candidate("large", is_healthy=False)])

    assert refused.value.dropped == (("local/large", "health"), ("local/small", "not on Sundays"))
