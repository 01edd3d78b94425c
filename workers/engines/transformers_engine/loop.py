"""The library's batching loop, with what it lacks: word of when a request's memory is free, figures, and its own end.

Everything of transformers that is not its public interface is leaned on here and in `hook`, and nowhere else.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import structlog
import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    OutputRouter,
)
from transformers.generation.continuous_batching.scheduler import FIFOScheduler

from workers.engines.contract import EngineStats
from workers.engines.transformers_engine.blocks import Blocks
from workers.engines.transformers_engine.hook import Echo, Sampler
from workers.engines.transformers_engine.lockstep import Lockstep
from workers.engines.transformers_engine.memory import Budget
from workers.engines.transformers_engine.pace import Pace
from workers.engines.transformers_engine.row import Row, Step, call_in
from workers.engines.transformers_engine.scheduler import RankScheduler, row_of
from workers.engines.transformers_engine.steps import StepSize, take_back
from workers.errors import EngineError

log = structlog.get_logger()


def config_of(budget: Budget, *, slots: int, batch: int, shares_prefixes: bool) -> ContinuousBatchingConfig:
    return ContinuousBatchingConfig(
        page_size=budget.page,
        num_blocks=budget.blocks,
        max_batch_tokens=batch,
        max_requests_per_batch=slots,
        allow_block_sharing=shares_prefixes,
        safety_margin=0.0,  # our scheduler looks ahead, and by request
        # The sampler is Python between two steps: it can neither be captured nor be a step ahead.
        use_async_batching=False,
        use_cuda_graph=False,
        disable_nccl_graph_mixing=False,  # it would matter to graphs, and warn without them
    )


class Loop:
    """Runs in a thread of its own. The methods may be called from any other."""

    def __init__(
        self, model: Any, config: ContinuousBatchingConfig, lockstep: Lockstep | None = None
    ) -> None:
        """`lockstep` if other processes run the same steps. The first of them is asked, the others follow."""
        self.lockstep = lockstep
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._is_dead = False
        self._mourners: list[Callable[[], None]] = []
        self._early: set[Row] = set()
        """Closed while their request was still on its way into the loop."""
        self._questions: queue.SimpleQueue[Future[EngineStats]] = queue.SimpleQueue()
        follows = lockstep is not None and not lockstep.is_first
        self.step = StepSize(config.max_batch_tokens)
        # Ranks have clocks of their own, and must cut prompts alike.
        self.pace = Pace(config.max_batch_tokens) if lockstep is None else None
        self._sampler = Echo(lockstep) if follows else Sampler(lockstep)
        self._manager = _Manager(model, config, self)

    def start(self) -> None:
        """Takes the memory. Raises MemoryError."""
        self._manager.warmup()
        self._manager.start()

    def stop(self) -> None:
        self._manager.stop(block=True, hard_stop=True)

    def wait(self) -> bool:
        """Returns when the first rank has stopped, or at an error of its own: then False."""
        self._manager.join(0.0)
        return self._manager.background_thread_status.fatal_error is None

    def submit(self, row: Row, end_tokens: list[int]) -> None:
        """Raises EngineError if the loop has died."""
        with self._lock:
            if self._is_dead:
                raise EngineError
            self._rows[row.id] = row
        taken = self._manager.add_request(
            row.prompt, request_id=row.id, max_new_tokens=row.limit, eos_token_id=end_tokens, row=row
        )
        if taken is None:
            self.release(row.id, has_failed=True)

    def close(self, row: Row) -> None:
        """`row.released` is set before the next step but one is computed, or at once if there is nothing to release."""
        with self._lock:
            if self._is_dead or row.id not in self._rows:
                row.released.set()
            elif row.has_arrived:
                self._manager.cancel_request(row.id)
            else:
                self._early.add(row)

    def arrived(self, row: Row) -> None:
        """Called by the loop: from now on it can be cancelled."""
        with self._lock:
            row.has_arrived = True
            if row in self._early:
                self._early.discard(row)
                self._manager.cancel_request(row.id)

    def ask(self) -> "Future[EngineStats]":
        """Raises EngineError if the loop has died."""
        answer: Future[EngineStats] = Future()
        with self._lock:
            if self._is_dead:
                raise EngineError
            self._questions.put(answer)
        self._manager.wake()
        return answer

    def on_death(self, tell: Callable[[], None]) -> None:
        """Called in the loop's thread once all who waited were told, or at once if that is over."""
        with self._lock:
            if not self._is_dead:
                self._mourners.append(tell)
                return
        tell()

    def report(self, scheduler: "_Scheduler") -> None:
        """Called by the loop between two steps: answers who has asked."""
        for question in _drained(self._questions):
            if question.set_running_or_notify_cancel():
                question.set_result(scheduler.figures(self._sampler.generated))

    def can_take_back(self) -> bool:
        """The step that is under way. Other ranks may have had the memory for it, and would not come with us."""
        return self.lockstep is None and not self._sampler.has_picked

    def release(self, request_id: str, *, has_failed: bool = False) -> None:
        row = self._rows.pop(request_id, None)
        if row is None:
            return
        if has_failed:
            call_in(row.inbox.loop, row.inbox.steps.put_nowait, Step(row.choice, 0, has_failed=True))
        call_in(row.inbox.loop, row.released.set)

    def died(self) -> None:
        with self._lock:
            if self._is_dead:
                return
            self._is_dead = True
            left = list(self._rows)
        for request_id in left:
            self.release(request_id, has_failed=True)
        for question in _drained(self._questions):
            question.set_exception(EngineError())
        for tell in self._mourners:
            tell()


def _drained(items: "queue.SimpleQueue[Any]") -> list[Any]:
    return [items.get_nowait() for _ in range(items.qsize())]


class _Manager(ContinuousBatchingManager):  # type: ignore[misc]  # the library has no types
    def __init__(self, model: Any, config: ContinuousBatchingConfig, loop: Loop) -> None:
        # Greedy, and without an end of its own: our sampler and each request decide.
        super().__init__(model, GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0), config)
        self._our_loop = loop
        self.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([loop._sampler]))  # noqa: SLF001 - one file, one subject
        self.logit_processor.tensors_required = 1
        self.output_router = _Router(loop.release)
        if loop.lockstep is not None:
            self.distributed_helper.tp_all_reduce_state = loop.lockstep.state
            if not loop.lockstep.is_first:
                self._wake_up_loop = _Awake()

    def wake(self) -> None:
        self._wake_up_loop.set()

    def _create_batch_processor(self) -> Any:
        is_new = self.batch_processor is None
        processor = super()._create_batch_processor()
        if is_new:
            Blocks.become(processor.cache)
            scheduler = _Scheduler(processor.scheduler, self._our_loop)
            processor.scheduler = processor.offloading_manager.scheduler = scheduler
        return processor

    def _generation_loop_body(self, batch_processor: Any, bootstrapping: bool) -> bool:
        try:
            return bool(super()._generation_loop_body(batch_processor, bootstrapping))
        except _NoMemoryError:
            pass
        # The error is gone, and with it what the step had taken.
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        take_back(batch_processor.inputs_and_outputs.requests_in_batch)
        return True

    def _generation_step(self) -> None:
        step, pace = self._our_loop.step, self._our_loop.pace
        batch = self.batch_processor.inputs_and_outputs.requests_in_batch
        tokens = sum(request.query_length for request in batch)
        answers = sum(bool(request.state.generated_tokens) for request in batch)
        began = time.perf_counter()
        try:
            super()._generation_step()
        except torch.OutOfMemoryError as exc:
            may_be_smaller = step.failed(tokens) and self._our_loop.can_take_back()
            log.warning(
                "engine.out_of_memory", tokens=tokens, goes_on_with=step.tokens if may_be_smaller else 0
            )
            if may_be_smaller:
                raise _NoMemoryError from exc
            raise
        step.passed()
        if pace is not None:
            pace.took(time.perf_counter() - began, answers=answers, prompt_tokens=tokens - answers)

    def _run_generation_loop(self) -> None:
        try:
            super()._run_generation_loop()
        finally:
            self._our_loop.died()

    def _handle_critical_error(self, error: Exception, batch_processor: Any) -> None:
        # Before the library talks to the GPU, which may never answer: whoever waits here is told first.
        self._our_loop.died()
        if self._our_loop.lockstep is None:
            super()._handle_critical_error(error, batch_processor)
        else:
            # It would tell the other ranks by a message while they may wait for another: our end tells them.
            self.background_thread_status.record_fatal_error(error)


class _NoMemoryError(Exception):
    """For a step, which has to be smaller."""


class _Awake(threading.Event):
    """Of a rank that follows: it waits for the first one's word, and not for one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.set()

    def clear(self) -> None:
        pass


class _Router(OutputRouter):  # type: ignore[misc]  # the library has no types
    """Tokens have gone their own way already: what is left to tell is that a request is over."""

    def __init__(self, release: Callable[..., None]) -> None:
        super().__init__()
        self._release = release

    def deliver(self, output: Any) -> None:
        if output.is_finished():
            self._release(output.request_id, has_failed=output.error is not None)

    def deliver_batch(self, outputs: list[Any]) -> None:
        for output in outputs:
            self.deliver(output)


class _Scheduler(RankScheduler):
    """Tells of what happens, and takes in what is asked."""

    def __init__(self, base: FIFOScheduler, loop: Loop) -> None:
        super().__init__(base, loop.step, loop.pace)
        self._loop = loop
        self._cancelled: list[str] = []
        self._prompt_tokens = 0
        self._found_tokens = 0

    def add_waiting_request(self, state: Any) -> None:
        super().add_waiting_request(state)
        self._loop.arrived(row_of(state))

    def set_request_cancellation(self, request_id: str) -> None:
        self._cancelled.append(request_id)

    def clear_cancelled_requests(self) -> list[Any]:
        """The one moment between new requests and the next step: what is closed costs no more from here."""
        states: list[Any] = []
        # Each by itself: the library's set has another order on every rank.
        for request_id in self._cancelled:
            super().set_request_cancellation(request_id)
            states += super().clear_cancelled_requests()
            self._loop.release(request_id)
        self._cancelled.clear()
        self._loop.report(self)
        return states

    def schedule_batch(self, token_budget: int, cache_budget: int) -> Any:
        batch = super().schedule_batch(token_budget, cache_budget)
        for request in batch[0] or ():
            if not request.state.generated_tokens:
                self._prompt_tokens += request.query_length
        if self._loop.lockstep is not None:
            self._loop.lockstep.mark = self._mark(batch[0] or ())
        return batch

    def _mark(self, batch: Sequence[Any]) -> int:
        """The same on all ranks that compute the same step with the same memory left."""
        tokens = sum(request.query_length for request in batch)
        return hash((len(batch), tokens, len(self.waiting_requests), self.cache.pool.num_free_sectors))

    def _infer_request_tokens(self, state: Any, request_ids_to_remove_from_waiting: set[str]) -> list[int]:
        before = len(state.remaining_prefill_tokens)
        tokens: list[int] = super()._infer_request_tokens(state, request_ids_to_remove_from_waiting)
        found, row = before - len(state.remaining_prefill_tokens), row_of(state)
        if not row.counts:
            row.cached += found
            self._found_tokens += found
        return tokens

    def figures(self, generated_tokens: int) -> EngineStats:
        blocks = self.cache.num_blocks
        return EngineStats(
            busy_slots=len(self.active_requests) + len(self.waiting_requests),
            prompt_tokens=self._prompt_tokens,
            generated_tokens=generated_tokens,
            kv_blocks=blocks,
            kv_blocks_used=blocks - round(self.cache.compute_free_capacity() * blocks),
            kv_blocks_kept=self.cache.kept,
            waiting_slots=len(self.waiting_requests),
            put_back=self.put_back,
            cached_prompt_tokens=self._found_tokens,
            step_tokens=self._loop.step.tokens,
            out_of_memory=self._loop.step.failures,
        )
