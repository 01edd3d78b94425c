"""From tokens to text as it may be shown: no half characters, and nothing that may yet turn out a stop string."""

import codecs
from collections.abc import Sequence
from typing import Any


class Vocabulary:
    """The bytes of each token. A special one has none, unless it is among `shown`."""

    def __init__(self, tokenizer: Any, grammar_tokenizer: Any, *, shown: Sequence[str] = ()) -> None:
        special = set(tokenizer.all_special_ids)
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        special |= {token for token, entry in added.items() if entry.special}
        self.size: int = len(tokenizer)
        self.special: dict[int, str] = {}
        self._bytes = []
        for token in range(self.size):
            if token in special:
                self.special[token] = text = added[token].content if token in added else ""
                self._bytes.append(text.encode() if text in shown else b"")
            elif token in added:
                self._bytes.append(added[token].content.encode())
            else:
                # Its own mark for special tokens is this one byte, which it therefore never gives.
                data = grammar_tokenizer.decode_bytes([token])
                is_last_byte = not data and tokenizer.convert_ids_to_tokens(token) == "\u00ff"
                self._bytes.append(b"\xff" if is_last_byte else data)
        self.drops_first_space = _drops_first_space(tokenizer)

    def bytes_of(self, token: int) -> bytes:
        """Empty for what the model's last layer has beyond the tokenizer."""
        return self._bytes[token] if token < self.size else b""

    def name_of(self, token: int) -> bytes:
        """Like `bytes_of`, with the names of special tokens."""
        return self.special[token].encode() if token in self.special else self.bytes_of(token)


def _drops_first_space(tokenizer: Any) -> bool:
    """Sentencepiece writes the space before a word into the word, and begins every text with one."""
    pieces = tokenizer.convert_tokens_to_ids(["\u2581a"])
    return pieces != [tokenizer.unk_token_id] and None not in pieces and tokenizer.decode(pieces) == "a"


class TextStream:
    """The text of one choice, token by token."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.shown = 0
        """Characters that were given out."""
        self.is_stopped = False

    @property
    def length(self) -> int:
        """Of all characters so far, the held ones too."""
        return self.shown + len(self._held)

    def add(self, data: bytes, *, is_last: bool = False) -> str:
        """What can be shown now. After the last, or a stop string, nothing is held back."""
        text = self._held + self._characters.decode(data, final=is_last)
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if ends:
            self.is_stopped = True
            text, self._held = text[: min(ends)], ""
        elif is_last:
            self._held = ""
        else:
            keep = len(text) - _beginning_of_a_stop(text, self._stops)
            text, self._held = text[:keep], text[keep:]
        self.shown += len(text)
        return text


def _beginning_of_a_stop(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end may be the start of a stop string."""
    longest = max((len(stop) - 1 for stop in stops), default=0)
    for count in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-count:]) for stop in stops):
            return count
    return 0
