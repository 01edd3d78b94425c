"""What a request with pictures, sounds and files is taken to weigh."""

from typing import Any

import pytest

from gateway.api.media import text_bytes


def weight(part: dict[str, Any]) -> int:
    """Of the part beyond the rest of a request."""
    return text_bytes(0, [{"role": "user", "content": [part]}])


@pytest.mark.parametrize("size", [1_000, 5_000_000])
def test_an_image_weighs_the_same_however_many_bytes_it_has(size: int) -> None:
    url = "data:image/png;base64," + "A" * size

    assert weight({"type": "image_url", "image_url": {"url": url}}) + len(url) == 8_192


def test_an_image_elsewhere_weighs_as_much_as_one_that_is_sent() -> None:
    assert weight({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}) == 8_192


def test_sound_and_files_weigh_a_share_of_their_bytes() -> None:
    data = "A" * 6_400

    assert weight({"type": "input_audio", "input_audio": {"data": data}}) + 6_400 == 100
    assert weight({"type": "file", "file": {"file_data": data}}) + 6_400 == 800


@pytest.mark.parametrize(
    "part", [{"type": "image_url"}, {"type": "image_url", "image_url": 5}, {"type": "text"}]
)
def test_odd_parts_weigh_their_bytes_or_more(part: dict[str, Any]) -> None:
    assert weight(part) >= 0
