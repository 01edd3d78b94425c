"""The page that tells which client works how well."""

from pathlib import Path

import pytest

from tests.clients import table
from tests.clients.suites import Report, Result

OURS = Report("some-sdk", "1.2", (Result("a", True), Result("b", True)))
PEERS = Report("some-sdk", "1.2", (Result("a", True), Result("b", False, "it said `no` at 127.0.0.1:4711")))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    page = tmp_path / "page.md"

    page.write_text(table.page({"Us": [OURS], "Them": [PEERS]}, {"Us": "0.1", "Them": "9.0"}, "2026-11-21"))

    assert "| some-sdk | 1.2 | 2 | 2 | 1 |" in page.read_text()
    assert "| All |  | 2 | 2 | 1 |" in page.read_text()
    assert "- b: `it said 'no' at 127.0.0.1`" in page.read_text()
    assert table.committed("some-sdk", page=page) == ("1.2", 2, 2)


def test_a_client_that_is_not_on_the_page_is_missed_by_name(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| Client |\n")

    with pytest.raises(LookupError, match="other-sdk is not in"):
        table.committed("other-sdk", page=page)
