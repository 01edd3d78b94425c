"""The tool `finetune`: what training a model on one's own data takes, how long, and what it costs."""

from gateway.planning.contract import Answer, Context, PlanError, Tool
from gateway.planning.tuning import finetune_views as views
from gateway.planning.tuning.finetune_case import Case, FinetuneInputs, case_of
from gateway.planning.tuning.training import GPU_COUNTS, Cost, Memory, memory_of
from gateway.planning.units import Hours


def plan(inputs: FinetuneInputs, context: Context) -> Answer:
    case = case_of(inputs, context)
    training = case.training
    memory = memory_of(training)
    count = inputs.gpus or case.fewest(memory)
    if count is None or memory.per_gpu(count) > case.gpu.vram * inputs.util:
        raise _misfit(case, memory, count)
    price, offer = case.price(count)
    cost = case.cost(training, count, price)
    return Answer(
        tool="finetune",
        headline=_headline(case, count, cost),
        lines=[
            *views.memory_lines(training, memory, count),
            *views.work_lines(case, training, cost, count, price),
        ],
        tables=[views.method_table(case, price), views.fit_table(memory, inputs.util)],
        assumptions=[*case.known, *offer],
        warnings=_warnings(case),
        plot=views.memory_plot(case),
    )


def _misfit(case: Case, memory: Memory, count: int | None) -> PlanError:
    inputs, card = case.inputs, case.gpu
    limit = card.vram * inputs.util
    ways = [
        f"{views.NAMES[way.method]}{' with checkpointing' if way.is_checkpointed else ''} ({needed} x {card.name})"
        for way in case.ways
        if way != case.training
        if (needed := case.fewest(memory_of(way))) and (count is None or needed <= count)
    ]
    if own := case.fewest(memory):
        ways.insert(0, f"{own} x {card.name}")
    held = memory.per_gpu(count or GPU_COUNTS[-1])
    return PlanError(
        f"It does not fit on {count or GPU_COUNTS[-1]} x {card.name}: each would hold {held.gib:,.2f} GiB"
        f" and gives {limit.gib:,.2f} GiB ({inputs.util:.0%} of {card.vram.gib:,.2f})."
        + (
            f" What would fit: {'; '.join(ways[:3])}." if ways else " Take a bigger GPU, or shorter examples."
        ),
        param="gpus" if inputs.gpus else "gpu",
    )


def _headline(case: Case, count: int, cost: Cost) -> str:
    runs = f"{case.inputs.runs} runs" if case.inputs.runs > 1 else "one run"
    return (
        f"{views.NAMES[case.inputs.method]} fine-tuning of {case.name} fits on {count} x {case.gpu.name},"
        f" takes {_time(cost.wall)} and costs {cost.total.amount:,.2f} {cost.total.currency} for {runs}."
    )


def _time(time: Hours) -> str:
    return f"{time.value:,.1f} hours" if time.value >= 2 else f"{time.value * 60:,.0f} minutes"


def _warnings(case: Case) -> list[str]:
    inputs = case.inputs
    told = [
        f"Time and cost rest on an MFU of {inputs.mfu:g}: 0.3 to 0.55 is usual, less for short examples or slow links."
    ]
    if inputs.method == "lora":
        told.append(
            "LoRA saves memory and storage, not as much work: two thirds to three quarters of full training, since frozen weights"
            " are multiplied with all the same."
        )
    if inputs.method == "qlora":
        told.append("QLoRA unpacks its 4-bit weights at every use: expect a lower MFU than LoRA's.")
    if case.architecture is None:
        told.append("Without a configuration activations and logits are unknown, and the memory lacks them.")
    if not case.is_storage_priced and inputs.storage_months:
        told.append(f"Storage is not counted: no price in {inputs.currency} is known for it.")
    return told


TOOL = Tool(
    name="finetune",
    help="What it takes to train a model on one's own data: memory by part, GPUs, hours and money.",
    inputs=FinetuneInputs,
    plan=plan,
    files=("config", "data"),
    examples=(
        "--model llama-3-8b --method lora --data-gb 1 --gpu h100",
        "--model glm-4-9b --tokens 238e6 --gpus 4 --checkpointing --price 1.79",
        "--model qwen2.5-7b --method qlora --rank 16 --targets q --targets k --targets v --targets o --tokens 5e6 --gpu rtx4090",
    ),
)
