"""The worker's command line: what its words mean, and which do not go together."""

import pytest

from tests.fixtures.worker import MODEL
from workers.options import parser


@pytest.mark.parametrize(
    ("words", "means"),
    [
        ([], "auto"),
        (["--reuse-prompts"], "always"),
        (["--reuse-prompts", "never"], "never"),
        (["--reuse-prompts", "--slots", "2"], "always"),
    ],
)
def test_prompts_are_reused_by_salt_unless_something_else_is_said(words: list[str], means: str) -> None:
    assert parser().parse_args(["--model", MODEL, *words]).reuse_prompts == means


def test_a_lame_duck_may_be_none_and_a_drain_may_not() -> None:
    assert parser().parse_args(["--model", MODEL, "--lame-duck", "0"]).lame_duck == 0
    with pytest.raises(SystemExit):
        parser().parse_args(["--model", MODEL, "--drain", "0"])


def test_a_worker_listens_in_one_place() -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--model", MODEL, "--uds", "worker.sock", "--port", "1"])


@pytest.mark.parametrize("address", ["169.254.169.254", "http://host/path", "ftp://host"])
def test_the_metadata_services_address_is_a_url_without_a_path(address: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--model", MODEL, "--spot", "aws", "--spot-address", address])
