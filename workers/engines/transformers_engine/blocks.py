"""The library's memory of keys and values, with what it lacks: prompts are found again only by those who may find them,
and room is made piece by piece."""

from collections.abc import Sequence
from typing import Any

from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.cache_allocators.cache_allocator import compute_block_hash

from workers.engines.transformers_engine.row import Row

Needs = dict[str, int]
"""New blocks of each kind of attention."""


class Blocks(PagedAttentionCache):  # type: ignore[misc]  # the library has no types
    """What an answer leaves behind is kept for as long as nobody needs the room, and counts as free."""

    reader: Row
    """Whose prompt is looked up."""

    @classmethod
    def become(cls, cache: Any) -> None:
        """The library makes the cache, and has handed it to all its parts."""
        cache.__class__ = cls

    @property
    def kept(self) -> int:
        return sum(len(allocator.ledger.cached_blocks) for allocator in self.cache_allocators.values())

    def needs(self, state: Any, tokens: int) -> Needs:
        """For so many tokens more."""
        return {
            name: allocator.needs_new_blocks(state.request_id, state.current_len(), tokens)
            for name, allocator in self.cache_allocators.items()
        }

    def needs_at_first(self, state: Any, row: Row) -> Needs:
        """For the whole prompt and the first token. What of it is found goes to the end of what is thrown away."""
        needs = self.needs(state, len(state.remaining_prefill_tokens) + 1)
        found = self._find(row, state.remaining_prefill_tokens)
        for name, allocator in self.cache_allocators.items():
            kept = allocator.ledger.cached_blocks
            kept |= {block: kept.pop(block) for block in found if block in kept}
            needs[name] -= len(found)
        return needs

    def make_room(self, needs: Sequence[Needs]) -> bool:
        """Throws away of what is kept the oldest, as far as it takes. False if there would not be enough all the same."""
        if self.count_storable_requests(needs) == len(needs):
            return True
        for name, allocator in self.cache_allocators.items():
            free = self.pool.count_free_blocks(allocator.index)
            free += self.pool.num_free_sectors * allocator.blocks_per_sector
            missing = sum(need[name] for need in needs) - free
            if missing > len(allocator.ledger.cached_blocks):
                return False
            self._throw_away(allocator, missing)
        self.pool.try_to_free_sectors()
        return bool(self.count_storable_requests(needs) == len(needs))

    def can_store_request_tokens(self, state: Any, request_len: int, dry_run: bool = False) -> bool:
        self.make_room([self.needs(state, request_len)])
        return bool(super().can_store_request_tokens(state, request_len, dry_run))

    def compute_free_capacity(self, relative: bool = True) -> float:
        free = super().compute_free_capacity(relative=False)
        for allocator in self.cache_allocators.values():
            free += len(allocator.ledger.cached_blocks) * allocator.bytes_per_block
        return float(free / (self.num_sectors * self.bytes_per_sector if relative else 1))

    def search_prefix_match(self, request_id: str, prompt_ids: list[int]) -> int:
        found = self._find(self.reader, prompt_ids)
        if not found:
            return 0
        (allocator,) = self.cache_allocators.values()
        length = len(found) * allocator.tokens_per_page
        allocator.acquire_prefix_blocks(request_id, length, found)
        return int(length)

    def mark_complete_blocks(self, state: Any, complete_blocks: Needs) -> None:
        row: Row = state.logit_processor_kwargs["row"]
        if row.root is None:
            return
        for name, count in complete_blocks.items():
            is_new = self._mark_first(name, state, row.root)
            # It goes on from the hash of the first, and so do all that follow.
            super().mark_complete_blocks(state, {name: count - is_new})

    def _mark_first(self, name: str, state: Any, root: int) -> bool:
        """As the library does it, but for the root."""
        allocator = self.cache_allocators[name]
        table, ledger = allocator.block_table[state.request_id], allocator.ledger
        own = table[0]
        if own in ledger.block_to_hash:
            return False
        tokens = (state.initial_tokens + state.generated_tokens)[: allocator.tokens_per_page]
        same = ledger.register_new_hash(own, compute_block_hash(root, tokens))
        if same is not None:
            ledger.acquire(same)
            table[0] = same
            if ledger.release(own):
                self.pool.free_blocks(allocator.index, [own])
        return True

    def _find(self, row: Row, prompt: list[int]) -> list[int]:
        """Never the whole of a prompt: a token at least has to be computed."""
        found: list[int] = []
        if row.root is None or not self.use_prefix_sharing:
            return found
        (allocator,) = self.cache_allocators.values()
        page, parent = allocator.tokens_per_page, row.root
        for start in range(0, (len(prompt) - 1) // page * page, page):
            parent = compute_block_hash(parent, prompt[start : start + page])
            block = allocator.ledger.hash_to_block.get(parent)
            if block is None:
                break
            found.append(block)
        return found

    def _throw_away(self, allocator: Any, count: int) -> None:
        ledger = allocator.ledger
        oldest = list(ledger.cached_blocks)[: max(count, 0)]
        for block in oldest:
            del ledger.cached_blocks[block]
            del ledger.hash_to_block[ledger.block_to_hash.pop(block)]
        self.pool.free_blocks(allocator.index, oldest)
