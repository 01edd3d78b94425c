"""What the engine leans on inside transformers. A failure here means: read the new version before raising the pin."""

import inspect

import transformers
from transformers.generation.continuous_batching import cache, cb_logits_processors, continuous_api, scheduler
from transformers.generation.continuous_batching.cache_allocators import cache_allocator

from tests.fixtures.tiny_model import Asker
from workers.engines.transformers_engine.blocks import Blocks
from workers.engines.transformers_engine.loading import BY_SEQUENCE


def test_the_version_is_one_that_was_read() -> None:
    assert transformers.__version__.split(".")[:2] in (["5", "17"], ["5", "18"])


def test_the_loop_takes_requests_before_it_clears_the_closed_ones_and_then_makes_the_batch() -> None:
    source = inspect.getsource(continuous_api.ContinuousBatchProcessor.prepare_next_batch)
    order = ["_update_tp_group_state()", "clear_cancelled_requests()", "scheduler.schedule_batch("]

    places = [source.index(call) for call in order]

    assert places == sorted(places)


def test_the_methods_that_are_overridden_are_there_with_their_arguments() -> None:
    expected = {
        continuous_api.ContinuousBatchingManager._create_batch_processor: ["self"],
        continuous_api.ContinuousBatchingManager._run_generation_loop: ["self"],
        continuous_api.ContinuousBatchingManager._generation_loop_body: ["self", "batch_processor", "bootstrapping"],
        continuous_api.ContinuousBatchingManager._generation_step: ["self"],
        continuous_api.ContinuousBatchingManager._handle_critical_error: ["self", "error", "batch_processor"],
        continuous_api.OutputRouter.deliver: ["self", "output"],
        continuous_api.OutputRouter.deliver_batch: ["self", "outputs"],
        scheduler.FIFOScheduler.schedule_batch: ["self", "token_budget", "cache_budget"],
        scheduler.Scheduler.add_waiting_request: ["self", "state"],
        scheduler.Scheduler.clear_cancelled_requests: ["self"],
        scheduler.Scheduler._get_waiting_candidates: ["self"],
        scheduler.Scheduler._infer_request_tokens: ["self", "state", "request_ids_to_remove_from_waiting"],
        cache.PagedAttentionCache.can_store_request_tokens: ["self", "state", "request_len", "dry_run"],
        cache.PagedAttentionCache.compute_free_capacity: ["self", "relative"],
        cache.PagedAttentionCache.mark_complete_blocks: ["self", "state", "complete_blocks"],
        cache.PagedAttentionCache.search_prefix_match: ["self", "request_id", "prompt_ids"],
        cache.PagedAttentionCache.count_storable_requests: ["self", "list_blocks_needed"],
        cache_allocator.compute_block_hash: ["parent_hash", "tokens"],
        cache_allocator.BlockLedger.register_new_hash: ["self", "block_id", "block_hash"],
        cb_logits_processors.ContinuousBatchingLogitsProcessor.prepare_tensor_args: ["self", "requests_with_new_token"],
        cb_logits_processors.ContinuousBatchingLogitsProcessor.__call__: ["self", "scores", "tensor_arg"],
    }  # fmt: skip

    found = {method: list(inspect.signature(method).parameters) for method in expected}

    assert found == expected


async def test_the_running_parts_are_ours(tiny: Asker) -> None:
    loop = tiny.engine._loaded().loop
    manager = loop._manager
    processor = manager.batch_processor

    assert processor.scheduler._loop is loop
    assert processor.offloading_manager.scheduler is processor.scheduler
    assert type(processor.cache) is Blocks
    assert processor.scheduler.cache is processor.inputs_and_outputs.cache is processor.cache
    assert processor.model_runner.logit_processor.logits_processor[0] is loop._sampler
    assert processor.output_router is manager.output_router
    assert not processor.do_sample
    assert not processor.use_async_batching
    assert processor.cb_config.cuda_graph_booleans == (False, False)
    assert manager.model.config._attn_implementation == BY_SEQUENCE
    assert manager._wake_up_loop.wait
