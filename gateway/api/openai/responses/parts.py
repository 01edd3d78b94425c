"""The parts of a message's content, as a chat's."""

from collections.abc import Callable
from typing import Any

from gateway.api.openai.responses.body import (
    AudioPart,
    FilePart,
    ImagePart,
    RefusalPart,
    TextPart,
    Typed,
    read,
)
from gateway.api.openai.responses.refusals import unsupported
from gateway.errors import InvalidRequestError

Part = dict[str, Any]

_TEXTS = ("input_text", "output_text")
MEDIA = {"image_url": "vision", "file": "files", "input_audio": "audio"}
"""What a model must be able to do to read a chat's part of this type."""


def read_part(part: Part, role: str, at: str) -> Part:
    """Raises InvalidRequestError for one that a message of this role cannot hold."""
    kind = read(part, Typed, at).type
    if kind in _TEXTS:
        text = read(part, TextPart, at)
        return _marked({"type": "text", "text": text.text}, text.prompt_cache_breakpoint)
    if kind == "refusal" and role == "assistant":
        return {"type": "refusal", "refusal": read(part, RefusalPart, at).refusal}
    if kind in _READERS and role == "user":
        return _READERS[kind](part, at)
    raise unsupported(f"A message of role {role!r} cannot hold a part of type {kind[:64]!r}.", f"{at}.type")


def as_list(content: Any) -> list[Part]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _image(part: Part, at: str) -> Part:
    image = read(part, ImagePart, at)
    if image.image_url is None:
        raise _no_file(image.file_id, at, "image_url")
    url = {"url": image.image_url}
    if image.detail is not None:
        url["detail"] = image.detail
    return _marked({"type": "image_url", "image_url": url}, image.prompt_cache_breakpoint)


def _file(part: Part, at: str) -> Part:
    file = read(part, FilePart, at)
    if file.file_url is not None:
        raise unsupported("Files are not fetched from the web here: send `file_data`.", f"{at}.file_url")
    if file.detail not in (None, "auto"):
        raise unsupported("No model here takes files in another detail than 'auto'.", f"{at}.detail")
    if file.file_data is None:
        raise _no_file(file.file_id, at, "file_data")
    data = {"file_data": file.file_data}
    if file.filename is not None:
        data["filename"] = file.filename
    return _marked({"type": "file", "file": data}, file.prompt_cache_breakpoint)


def _audio(part: Part, at: str) -> Part:
    return {"type": "input_audio", "input_audio": read(part, AudioPart, at).input_audio}


_READERS: dict[str, Callable[[Part, str], Part]] = {
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _marked(part: Part, cache_breakpoint: dict[str, Any] | None) -> Part:
    return part if cache_breakpoint is None else {**part, "prompt_cache_breakpoint": cache_breakpoint}


def _no_file(file_id: str | None, at: str, instead: str) -> InvalidRequestError:
    if file_id is None:
        return InvalidRequestError(
            f"Missing required parameter: '{at}.{instead}'.",
            code="missing_required_parameter",
            param=f"{at}.{instead}",
        )
    return unsupported(f"Models here cannot read stored files: send `{instead}`.", f"{at}.file_id")
