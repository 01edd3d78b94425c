"""Keys: their form, their hashes, and the pepper."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Keys
from gateway.errors import ConfigError
from gateway.ledger.credentials import Credentials, key_id, load_pepper

PEPPER = bytes(range(32))


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(PEPPER, randbelow=random.Random(1).randrange)


@pytest.mark.parametrize("prefix", ["sk-wb", "wb-admin", "wb-finance"])
def test_a_key_carries_its_kind_and_its_id(credentials, prefix):
    issued = credentials.issue(prefix)

    assert len(issued.text) == len(prefix) + 1 + 8 + 1 + 43 + 6
    assert key_id(issued.text, prefix) == issued.id
    assert credentials.matches(issued.text, issued.digest)


def test_a_key_of_another_kind_has_no_id(credentials):
    assert key_id(credentials.issue("wb-finance").text, "sk-wb", "wb-admin") is None


@given(position=st.integers(0, 62), other=st.sampled_from("0123456789ABCXYZabcxyz-_ é"))
def test_one_wrong_character_is_seen_without_a_store(position, other):
    text = Credentials(PEPPER, randbelow=random.Random(1).randrange).issue("sk-wb").text
    wrong = text[:position] + other + text[position + 1 :]

    assert key_id(wrong, "sk-wb") is None or wrong == text


def test_the_hash_needs_the_pepper(credentials):
    issued = credentials.issue("sk-wb")

    assert not Credentials(bytes(32)).matches(issued.text, issued.digest)
    assert not credentials.matches(issued.text, None)


def test_the_pepper_is_made_once_and_read_by_its_owner_only(tmp_path):
    made = load_pepper(Keys(), tmp_path / "secrets")

    assert len(made) == 32
    assert load_pepper(Keys(), tmp_path / "secrets") == made
    assert (tmp_path / "secrets" / "pepper").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["pepper"]


def test_of_two_processes_that_make_the_pepper_at_once_one_wins(tmp_path):
    def meanwhile(size: int) -> bytes:
        load_pepper(Keys(), tmp_path, token_bytes=lambda size: b"\x01" * size)
        return b"\x02" * size

    assert load_pepper(Keys(), tmp_path, token_bytes=meanwhile) == b"\x01" * 32


@pytest.mark.parametrize(("text", "why"), [("not hex", "not hexadecimal"), ("ab" * 31, "31 bytes long")])
def test_a_pepper_that_is_no_pepper_is_refused(tmp_path, text, why):
    (tmp_path / "pepper").write_text(text)

    with pytest.raises(ConfigError, match=why):
        load_pepper(Keys(pepper_file=str(tmp_path / "pepper")), tmp_path)


def test_a_folder_that_cannot_keep_the_pepper_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot keep the pepper"):
        load_pepper(Keys(), tmp_path / "file" / "secrets")
