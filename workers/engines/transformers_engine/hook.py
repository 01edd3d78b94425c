"""Our sampler in the place of the library's: called once a step, for all rows that get a token in it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog
import torch
from torch import Tensor
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
)

from workers.engines.transformers_engine.grammar import masked
from workers.engines.transformers_engine.lockstep import Lockstep
from workers.engines.transformers_engine.row import Inbox, Row, Step, call_in
from workers.engines.transformers_engine.sampling import draw, penalise

log = structlog.get_logger()


class Sampler(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]  # the library has no types
    """The library goes on to take the highest score of each row, so the picked token's is made the highest."""

    supported_kwargs = {"row": Row}  # noqa: RUF012 - the library reads it from the class
    ignored_kwargs = ()

    def __init__(self, lockstep: Lockstep | None = None) -> None:
        """`lockstep` if other ranks take what is picked here."""
        self._lockstep = lockstep
        self._rows: list[Row] = []
        self.generated = 0
        self.has_picked = False
        """In this step, which then cannot be computed again."""

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> Tensor:
        self._rows = [request.state.logit_processor_kwargs["row"] for request in requests_with_new_token]
        self.has_picked = False
        return torch.empty(0, dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:  # noqa: ARG002 - the library passes it
        rows = self._rows
        # The rest are rows whose prompt goes on in the next step.
        logits = scores[: len(rows)]
        if rows:
            tokens = torch.tensor(self._pick(logits, rows), device=logits.device)
            logits[torch.arange(len(rows), device=logits.device), tokens] = torch.inf
            self.generated += len(rows)
        return scores

    def _pick(self, logits: Tensor, rows: Sequence[Row]) -> list[int]:
        steps = self._steps(logits, rows)
        tokens = [step.token for step in steps]
        if self._lockstep is not None:
            self._lockstep.tell(tokens)
        _hand_out(rows, steps)
        return tokens

    def _steps(self, logits: Tensor, rows: Sequence[Row]) -> list[Step]:
        reported = [place for place, row in enumerate(rows) if row.sampling.tops is not None]
        # Before any change: what the model itself thinks.
        logprobs = torch.log_softmax(logits[reported], dim=-1) if reported else None
        penalise(logits, rows)
        masked(logits, rows, _fail)
        tokens, is_sound = draw(logits, [row.sampling for row in rows], [row.uniform() for row in rows])
        picked, sound = torch.stack((tokens, is_sound.long())).tolist()
        for place in (place for place, is_so in enumerate(sound) if not is_so):
            logits[place] = 0
            _fail(rows[place], "no token has a probability")
        steps = [Step(row.choice, token) for row, token in zip(rows, picked, strict=True)]
        if logprobs is not None:
            _report(steps, reported, logprobs, rows)
        self.has_picked = True
        return [_taken(row, step) for row, step in zip(rows, steps, strict=True)]


class Echo(Sampler):
    """On the other ranks of a model that several GPUs hold: they take what the first one has picked."""

    def _pick(self, logits: Tensor, rows: Sequence[Row]) -> list[int]:  # noqa: ARG002 - as the first rank's
        return self._lockstep.hear(len(rows)) if self._lockstep is not None else []


def _report(steps: list[Step], reported: Sequence[int], logprobs: Tensor, rows: Sequence[Row]) -> None:
    tokens = torch.tensor([steps[place].token for place in reported], device=logprobs.device)
    own = logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).tolist()
    widest = max(rows[place].sampling.tops or 0 for place in reported)
    values, ids = (part.tolist() for part in logprobs.topk(widest)) if widest else ([], [])
    for index, place in enumerate(reported):
        count = rows[place].sampling.tops or 0
        tops = tuple(zip(ids[index][:count], values[index][:count], strict=True)) if count else ()
        steps[place] = steps[place]._replace(logprob=own[index], tops=tops)


def _taken(row: Row, step: Step) -> Step:
    if row.grammar is not None and not row.has_failed:
        try:
            row.grammar.consume(step.token)
        except Exception as exc:  # noqa: BLE001 - one row's grammar must not fail the others
            _fail(row, str(exc))
    row.take(step.token)
    return step._replace(has_failed=row.has_failed)


def _fail(row: Row, reason: str) -> None:
    if not row.has_failed:
        log.error("engine.row_failed", request=row.id, reason=reason[:300])
    row.has_failed = True


def _hand_out(rows: Sequence[Row], steps: Sequence[Step]) -> None:
    """One call into each asker's thread, whatever the number of rows."""
    posts: dict[Any, list[tuple[Inbox, Step]]] = defaultdict(list)
    for row, step in zip(rows, steps, strict=True):
        posts[row.inbox.loop].append((row.inbox, step))
    for loop, post in posts.items():
        call_in(loop, _put, post)


def _put(post: Sequence[tuple[Inbox, Step]]) -> None:
    for inbox, step in post:
        inbox.steps.put_nowait(step)
