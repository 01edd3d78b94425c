"""How heavy pictures, sounds and files are: their bytes are not text, and a model does not read them as such."""

from typing import Any

_IMAGE_BYTES = 8_192
"""An image is a few hundred to some thousand tokens, however many bytes it has: one counts as this many of text."""
_AUDIO_SHARE = 64
"""Speech is about ten tokens a second, and a second is 4 to 40 KB of base64."""
_FILE_SHARE = 8
"""A page of a PDF is up to some thousand tokens, as text and as picture, and seldom less than 30 KB."""


def text_bytes(raw_bytes: int, messages: list[Any]) -> int:
    """Of a request with these chat messages: no tokenizer should make more tokens of it."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            for part in content:
                raw_bytes += _extra(part)
    return raw_bytes


def _extra(part: Any) -> int:
    """What a content part weighs beyond its bytes; negative for nearly all that is not text."""
    if not isinstance(part, dict):
        return 0
    kind = part.get("type")
    if kind in ("image_url", "video_url"):
        url = _at(part, kind, "url")
        return _IMAGE_BYTES - len(url) if url.startswith("data:") else _IMAGE_BYTES
    if kind == "input_audio":
        size = len(_at(part, "input_audio", "data"))
        return size // _AUDIO_SHARE - size
    if kind == "file":
        size = len(_at(part, "file", "file_data"))
        return size // _FILE_SHARE - size
    return 0


def _at(part: dict[str, Any], field: str, inner: str) -> str:
    value = part.get(field)
    found = value.get(inner) if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""
