"""Texts or tokens, one or several of them: what legacy completions and embeddings are made of."""

from typing import Annotated

import msgspec

from gateway.errors import InvalidRequestError

TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], msgspec.Meta(min_length=1)]
Input = str | list[int]


def inputs_of(value: str | list[str | int | list[int]], *, field: str) -> list[Input]:
    """One by one. Raises InvalidRequestError for a list that is not all of one sort."""
    if isinstance(value, str):
        return [value]
    kinds = {type(item) for item in value}
    if kinds == {int}:
        return [value]  # type: ignore[list-item]  # checked in the line before
    if len(kinds) > 1:
        raise InvalidRequestError(
            f"Invalid value for {field!r}: send texts, or the tokens of one, or lists of tokens; not a mixture.",
            param=field,
        )
    return list(value)  # type: ignore[arg-type]  # all texts, or all lists


def weight(value: Input) -> int:
    """In bytes of text, as requests are weighed: four to a token."""
    return len(value.encode()) if isinstance(value, str) else 4 * len(value)
