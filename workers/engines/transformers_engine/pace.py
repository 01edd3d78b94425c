"""How much of a prompt a step may read while other answers run beside it: as much as keeps their pace."""

SLOWER = 2.0
"""A step with a piece of a prompt may take so many times as long as one without."""
LEAST = 8
"""Tokens of a piece, so that every prompt is read some day."""
UNTRIED = 32
"""Tokens of the first piece beside answers, from which their price is learnt."""
_WEIGHT = 0.5
"""Of the newest step in what is known: a prompt's tokens get dearer the more of it has been read."""


class Pace:
    """Learns from how long steps take; a piece never has more than `most` tokens, as when nothing runs beside it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._plain_s: float | None = None
        """Of a step in which answers go on and no prompt is read."""
        self._each_s: float | None = None
        """Of each prompt token beyond that."""

    def piece(self, answers: int, *, waiting: int = 1) -> int:
        """Prompt tokens of the next step, beside so many answers that go on. When more wait for their first token than go
        on, those have to be slower for it: one answer's next token is worth no more than another's first."""
        if not answers or self._plain_s is None:
            return self._most
        if self._each_s is None:
            return min(UNTRIED, self._most)
        affordable = int((SLOWER - 1) * self._plain_s / self._each_s * max(1.0, waiting / answers))
        return max(min(affordable, self._most), min(LEAST, self._most))

    def took(self, seconds: float, *, answers: int, prompt_tokens: int) -> None:
        """One step, from its beginning to the next one's."""
        if answers and not prompt_tokens:
            self._plain_s = _mean(self._plain_s, seconds)
        elif prompt_tokens and self._plain_s is not None:
            # Less than nothing is noise; zero would forbid no piece at all.
            each = max((seconds - self._plain_s) / prompt_tokens, 1e-9)
            self._each_s = _mean(self._each_s, each)


def _mean(known: float | None, new: float) -> float:
    return new if known is None else (1 - _WEIGHT) * known + _WEIGHT * new
