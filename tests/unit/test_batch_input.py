"""What a batch's lines say is only told of the batch if a database can hold it."""

import pytest

from gateway.batches.input import InputCheck
from tests.fixtures.batch_lines import CHAT, jsonl, line


@pytest.mark.fault("A4")
@pytest.mark.parametrize(
    ("model", "told"),
    [("small", "small"), ("a\x00b", None), ("x" * 257, None), ("", ""), (5, None), (["small"], None)],
)
def test_a_model_that_cannot_be_one_is_not_the_batchs(model: object, told: str | None) -> None:
    check = InputCheck(CHAT, max_lines=10, max_line_bytes=10_000)

    lines = check.take(jsonl(line("a", model=model), line("b", model=model)).splitlines())

    assert len(lines) == 2  # and each is refused by itself
    assert check.errors == []
    assert check.model == told
