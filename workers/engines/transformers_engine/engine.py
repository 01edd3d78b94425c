"""Models of a folder on transformers' continuous batching: paged memory, one batch for all, tokens as they come.

torch and transformers are imported when the model is loaded, not before.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import anyio

from workers.engines.contract import EngineStats, Job, ModelCard, Token, TokenUsage
from workers.engines.transformers_engine import loading, memory, preparation
from workers.engines.transformers_engine.answer import Answer
from workers.engines.transformers_engine.preparation import Options
from workers.engines.transformers_engine.prompt import Prompts
from workers.engines.transformers_engine.ranks import Followers, Meeting, Place
from workers.engines.transformers_engine.row import Inbox, Row, Sampling, call_in, root_of
from workers.engines.transformers_engine.settings import defaults_of, sampling_of, stops_of
from workers.engines.transformers_engine.text import Vocabulary
from workers.engines.transformers_engine.tools import CallReader, Family, callable_tools, family_of
from workers.errors import ConfigError, EngineError
from workers.models import ModelFile
from workers.request import ChatRequest, Request

if TYPE_CHECKING:
    from workers.engines.transformers_engine.grammar import Grammars, Matcher
    from workers.engines.transformers_engine.loop import Loop


class _Parts(NamedTuple):
    """What there is once the model is loaded."""

    loop: "Loop"
    prompts: Prompts
    grammars: "Grammars"
    vocabulary: Vocabulary
    end_tokens: list[int]
    defaults: Sampling
    family: Family | None
    card: ModelCard


class TransformersEngine:
    def __init__(
        self, model: ModelFile, options: Options, *, seeds: random.Random, place: Place | None = None
    ) -> None:
        """`seeds` gives one to each choice whose request has none. `place` if torchrun has started the other ranks."""
        self._model = model
        self._options = options
        self._seeds = seeds
        self._place = place
        self._meeting: Meeting | None = None
        self._followers = Followers() if options.tensor_parallel > 1 and place is None else None
        self._parts: _Parts | None = None
        # Templates, tokens and grammars of new requests; two, so that a large schema is not in everybody's way.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="transformers")

    @property
    def slots(self) -> int:
        return self._options.slots

    @property
    def card(self) -> ModelCard:
        return self._loaded().card

    async def start(self) -> None:
        if self._followers is not None:
            size = self._options.tensor_parallel
            task = {"model": str(self._model.path), "options": self._options}
            self._place = self._followers.start(size, task)
        try:
            self._parts = await asyncio.get_running_loop().run_in_executor(self._pool, self._load)
        except BaseException:
            if self._followers is not None:
                self._followers.kill()
            raise
        if self._followers is not None:
            self._followers.watch(self._parts.loop.died)

    async def stop(self) -> None:
        if self._parts is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._end, self._parts.loop)
        self._pool.shutdown()

    async def generate(self, job: Job) -> AsyncGenerator[Token | TokenUsage, None]:
        parts = self._loaded()
        prompts, grammar = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._prepare, job.request
        )
        inbox = Inbox()
        rows = self._rows(job, prompts, grammar, inbox)
        answers = [self._answer(job, row) for row in rows]
        submitted: list[Row] = []
        try:
            for row in rows:
                parts.loop.submit(row, parts.end_tokens)
                submitted.append(row)
            running = set(range(len(rows)))
            while running:
                step = await inbox.steps.get()
                if step.choice not in running:
                    continue  # it was a step further when its answer ended
                if step.has_failed:
                    raise EngineError
                answer = answers[step.choice]
                for token in answer.take(step):
                    yield token
                if answer.is_done:
                    running.discard(step.choice)
                    parts.loop.close(rows[step.choice])
            yield _usage(rows, answers, len(prompts))
        finally:
            with anyio.CancelScope(shield=True):
                for row in submitted:
                    parts.loop.close(row)
                for row in submitted:
                    await row.released.wait()

    async def stats(self) -> EngineStats:
        return await asyncio.wrap_future(self._loaded().loop.ask())

    async def failed(self) -> None:
        loop, is_dead = asyncio.get_running_loop(), asyncio.Event()
        self._loaded().loop.on_death(lambda: call_in(loop, is_dead.set))
        await is_dead.wait()

    def _loaded(self) -> _Parts:
        if self._parts is None:
            raise EngineError
        return self._parts

    def _prepare(self, request: Request) -> "tuple[list[list[int]], Matcher | None]":
        parts = self._loaded()
        return parts.prompts.tokens(request), parts.grammars.of(request)

    def _rows(self, job: Job, prompts: list[list[int]], grammar: "Matcher | None", inbox: Inbox) -> list[Row]:
        parts, request = self._loaded(), job.request
        sampling = sampling_of(request, parts.defaults, vocabulary=parts.vocabulary.size)
        each = request.n or 1
        return [
            Row(
                # Callers may choose a job's id, and the loop must not mix up two that are the same.
                id=f"{job.id}-{choice}-{self._seeds.getrandbits(64):x}",
                choice=choice,
                prompt=prompts[choice // each],
                limit=parts.prompts.limit(request, prompts[choice // each]),
                sampling=sampling,
                randomness=random.Random(self._seed(request, choice % each)),  # noqa: S311 - it picks words, no secrets
                inbox=inbox,
                grammar=grammar and grammar.copy(),
                rank=job.rank,
                root=self._root(job.salt),
            )
            for choice in range(len(prompts) * each)
        ]

    def _root(self, salt: str | None) -> int | None:
        if salt is None:
            return root_of("") if self._options.reuse_prompts == "always" else None
        return root_of(salt)

    def _seed(self, request: Request, choice: int) -> int | str:
        """The first of several answers is the one that the same seed gives alone."""
        if request.seed is None:
            return self._seeds.getrandbits(128)
        return f"{request.seed}/{choice}"

    def _answer(self, job: Job, row: Row) -> Answer:
        parts, request = self._loaded(), job.request
        return Answer(
            row.choice,
            parts.vocabulary,
            limit=row.limit,
            end_tokens=parts.end_tokens,
            stops=stops_of(request),
            calls=self._reader(job, row.choice),
            begins_text=isinstance(request, ChatRequest),
        )

    def _reader(self, job: Job, choice: int) -> CallReader | None:
        family, request = self._loaded().family, job.request
        if family is None or not isinstance(request, ChatRequest) or not request.wants_tools:
            return None

        def new_id(index: int) -> str:
            """Nine letters and digits, as Mistral's template wants them back."""
            return hashlib.sha256(f"{job.id}/{choice}/{index}".encode()).hexdigest()[:9]

        return CallReader(family, callable_tools(request), new_id)

    def _load(self) -> _Parts:
        loading.go_offline()
        try:
            import llguidance.hf

            from workers.engines.transformers_engine.grammar import Grammars
            from workers.engines.transformers_engine.loop import Loop
        except ImportError as exc:
            raise ConfigError(
                f"the transformers engine is not installed ({exc}); run `pip install weighbridge[worker]`"
            ) from exc
        plan = preparation.plan(self._model.path, self._options)
        if self._place is not None:
            check = self._followers.check if self._followers is not None else _nothing
            self._meeting = Meeting(self._place, device=plan.device, check=check)
        loaded, config, lockstep = preparation.load(self._model.path, plan, self._meeting)
        size = loaded.model.config.get_text_config().vocab_size
        matching = llguidance.hf.from_tokenizer(loaded.tokenizer, n_vocab=size, eos_token=loaded.end_tokens)
        family = family_of(loaded.tokenizer.chat_template)
        parts = _Parts(
            loop=Loop(loaded.model, config, lockstep),
            prompts=Prompts(
                loaded.tokenizer,
                vocabulary=size,
                window=plan.budget.window,
                short_call_ids=family is not None and family.short_ids,
            ),
            grammars=Grammars(matching, loaded.tokenizer, family),
            vocabulary=Vocabulary(loaded.tokenizer, matching, shown=family.marks if family else ()),
            end_tokens=loaded.end_tokens,
            defaults=defaults_of(loaded.model.generation_config),
            family=family,
            card=self._card(loaded, plan.budget, family),
        )
        try:
            parts.loop.start()
        except (MemoryError, RuntimeError, ValueError) as exc:
            raise ConfigError(f"--model {self._model.path}: transformers cannot batch it: {exc}") from exc
        return parts

    def _end(self, loop: "Loop") -> None:
        if self._followers is not None:
            self._followers.let_go()
        loop.stop()
        if self._followers is not None:
            self._followers.stop()
        if self._meeting is not None:
            self._meeting.leave()

    def _card(self, loaded: loading.Loaded, budget: memory.Budget, family: Family | None) -> ModelCard:
        tools = () if family is None else ("tools",)
        return ModelCard(
            model=self._model.name,
            engine="transformers",
            quantisation=loading.PRECISIONS[loaded.precision].quantisation,
            dtype=loaded.dtype,
            parameters=loaded.parameters,
            context_window=budget.window,
            tensor_parallel=self._options.tensor_parallel,
            abilities=("json_object", "json_schema", "regex", "logprobs", "completions", *tools),
        )


def _nothing() -> None:
    """torchrun looks after the ranks that it has started."""


def _usage(rows: list[Row], answers: list[Answer], prompts: int) -> TokenUsage:
    each = len(rows) // prompts
    firsts = rows[::each]
    return TokenUsage(
        prompt=sum(len(row.prompt) for row in firsts),
        # Of several answers to one prompt, one at least had to compute what the others found.
        cached=sum(min(row.cached for row in rows[at * each : (at + 1) * each]) for at in range(prompts)),
        completion=sum(answer.tokens for answer in answers),
    )
