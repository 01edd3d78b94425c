"""From the options to a model that is ready for the loop: what every rank of it does in the same way."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from workers.engines.transformers_engine import loading, memory, parallel, splitting
from workers.engines.transformers_engine.ranks import Meeting

if TYPE_CHECKING:
    from workers.engines.transformers_engine.lockstep import Lockstep

DEFAULT_BATCH = {"cpu": 256, "cuda": 512}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    slots: int
    context: int
    threads: int
    batch: int | None = None
    """Tokens of one step, of prompts and answers together; a longer prompt is read in several."""
    reuse_prompts: str = "auto"
    """`auto`: by requests with a salt, among the same salt. `always`: by all, those without one among themselves."""
    precision: str = "auto"
    device: str = "auto"
    attention: str = "auto"
    kv_gib: float | None = None
    """Memory of all requests' keys and values, on each GPU. None: enough for every slot."""
    tensor_parallel: int = 1
    """GPUs that hold the model together."""


class Plan(NamedTuple):
    """What is known before any weight is read."""

    options: Options
    device: str
    precision: str
    attention: str
    budget: memory.Budget
    placement: dict[str, Any] | None
    """What transformers is told of several GPUs. None on one."""


class Parts(NamedTuple):
    loaded: loading.Loaded
    config: Any
    """The library's ContinuousBatchingConfig."""
    lockstep: "Lockstep | None"
    """None on one GPU."""


def plan(folder: Path, options: Options, *, local: int = 0) -> Plan:
    """`local`: which of several GPUs that hold the model together is ours. Raises ConfigError, with the numbers if it
    does not fit."""
    import torch

    count = options.tensor_parallel
    torch.set_num_threads(max(1, options.threads // count))
    device = loading.pick_device(options.device)
    precision = loading.pick_precision(options.precision, device)
    shape = loading.read_shape(folder)
    is_split = options.device == loading.SPLIT
    wanted = "sequence" if is_split and options.attention == "auto" else options.attention
    attention = loading.pick_attention(wanted, device, slides=shape.slides)
    if is_split:
        splitting.check(attention, tensor_parallel=count, gpus=torch.cuda.device_count())
    placement: dict[str, Any] | None = None
    if count > 1:
        parallel.check(count, shape, precision=precision, device=device)
        placement = {"distributed_config": parallel.distributed_config(folder, count)}
    bytes_per_value = 4 if loading.computes_in(precision, device) == "float32" else 2
    budget = memory.plan(
        parallel.share_of(shape, count),
        slots=options.slots,
        context=options.context,
        kv_gib=options.kv_gib,
        is_flash="flash" in attention,
        bytes_per_value=bytes_per_value,
    )
    parameters = loading.count_parameters(folder)
    if is_split:
        free = splitting.free_bytes()
        room = splitting.room(free, budget, shape, bytes_per_value=bytes_per_value)
        placement = {"device_map": "auto", "max_memory": room}
        memory.check_fits(parameters, precision, budget, sum(free), f"{len(free)} GPUs together")
    else:
        mine, where = parallel.free_bytes(local, count, device)
        memory.check_fits(parallel.parameters_each(parameters, count, shape), precision, budget, mine, where)
    return Plan(options, device, precision, attention, budget, placement)


def load(folder: Path, plan: Plan, meeting: Meeting | None) -> Parts:
    """`meeting` if there are other ranks: they load at the same time. Raises ConfigError."""
    from workers.engines.transformers_engine.lockstep import Lockstep
    from workers.engines.transformers_engine.loop import config_of

    options = plan.options
    loaded = loading.load(
        folder,
        precision=plan.precision,
        device=plan.device,
        attention=plan.attention,
        placement=plan.placement,
    )
    if options.device == loading.SPLIT:
        splitting.check_placed(loaded.model)
    config = config_of(
        plan.budget,
        slots=options.slots,
        batch=max(options.batch or DEFAULT_BATCH[plan.device.partition(":")[0]], 2 * options.slots),
        shares_prefixes=options.reuse_prompts != "never",
    )
    if meeting is None:
        return Parts(loaded, config, None)
    meeting.wait_until_loaded()
    lockstep = Lockstep(meeting.new_group(), is_first=meeting.is_first, slots=options.slots)
    return Parts(loaded, config, lockstep)
