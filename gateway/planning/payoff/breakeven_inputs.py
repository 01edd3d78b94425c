"""What `breakeven` asks: the API that may be left, the machines that may take its place, and which traffic is meant."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from gateway.planning.contract import Inputs, asked
from gateway.planning.payoff import measured
from gateway.planning.sizing.architecture import Precision
from gateway.planning.sizing.performance import SERVING_EFFICIENCY, SERVING_SOURCE

_HARDWARE = "an article's bill of a server with four A100"


class BreakevenInputs(Inputs, frozen=True, kw_only=True):
    api: Annotated[str, asked("the API's model, for its prices; with from_ledger what was paid counts")] = (
        "gpt-4o-mini"
    )
    api_input: Annotated[
        Decimal | None, asked("its price for input instead", unit="USD per 1M tokens", ge=0)
    ] = None
    api_cached: Annotated[
        Decimal | None, asked("its price for cached input instead", unit="USD per 1M tokens", ge=0)
    ] = None
    api_output: Annotated[
        Decimal | None, asked("its price for output instead", unit="USD per 1M tokens", ge=0)
    ] = None
    input_tokens: Annotated[
        int, asked("of a prompt; with from_ledger as measured", unit="tokens", ge=1, le=10_000_000)
    ] = 1024
    output_tokens: Annotated[
        int, asked("of an answer; with from_ledger as measured", unit="tokens", ge=1, le=10_000_000)
    ] = 512
    cached_share: Annotated[
        float, asked("share of prompts' tokens that the API bills as cached", ge=0, le=1)
    ] = 0.0
    requests_per_day: Annotated[
        float | None, asked("the load, to say what it would take", unit="requests", gt=0, le=1e12)
    ] = None
    shape: Annotated[
        str,
        asked("how a day's requests fall: flat, office (9 to 17), day (a wave), or 24 weights with commas"),
    ] = "flat"

    from_ledger: measured.FromLedger = False
    tenant: measured.Tenant = None
    from_: measured.From = msgspec.field(default=None, name="from")
    to: measured.To = None
    own: Annotated[
        tuple[str, ...],
        asked(
            "of the ledger's traffic, what an own model may replace, and which: WHAT=MODEL or WHAT=TOKENS_PER_SECOND, WHAT"
            " being a size, a model or UPSTREAM/MODEL; none: all that costs anything, by model"
        ),
    ] = ()

    model: Annotated[str, asked("the own model, by a name of `plan size`")] = "llama-3-8b"
    precision: Annotated[Precision, asked("of its weights")] = "fp16"
    gpu: Annotated[str, asked("the card that is rented or bought, by a name of `plan size`")] = "A100-80"
    replica_gpus: Annotated[
        int | None,
        asked("GPUs that a copy of the model takes; none: the fewest that hold it", unit="GPUs", ge=1, le=16),
    ] = None
    concurrency: Annotated[
        int,
        asked(
            "requests that a copy works on at once, as far as memory allows", unit="requests", ge=1, le=10_000
        ),
    ] = 32
    serving_eff: Annotated[
        float,
        asked(
            "share of the possible speed that real traffic reaches",
            unit="share",
            source=SERVING_SOURCE,
            gt=0,
            le=1,
        ),
    ] = SERVING_EFFICIENCY
    tok_s: Annotated[
        float | None,
        asked(
            "measured speed of a copy, prompts and answers together, instead of an estimate",
            unit="tokens/s",
            gt=0,
        ),
    ] = None
    utilisation: Annotated[
        float,
        asked(
            "share of its speed that a copy may be loaded to in any hour: what is above waits",
            unit="share",
            source="an assumption",
            gt=0,
            le=1,
        ),
    ] = 0.75
    variable: Annotated[
        Decimal,
        asked(
            "what a million tokens cost on own machines beside the fixed cost", unit="USD per 1M tokens", ge=0
        ),
    ] = Decimal(0)

    gpu_price: Annotated[
        Decimal | None,
        asked("of a rented GPU; none: the cheapest of the list", unit="USD per GPU-hour", gt=0),
    ] = None
    discount: Annotated[
        float,
        asked(
            "for a commitment to pay all hours",
            unit="share",
            source="an article: reserved for a year",
            ge=0,
            lt=1,
        ),
    ] = 0.4
    hours_per_day: Annotated[
        float,
        asked(
            "rented machines are on, where they are not always", unit="h", source="an office day", gt=0, le=24
        ),
    ] = 8.0
    storage_gb: Annotated[float, asked("kept with rented machines", unit="GB", ge=0)] = 0.0
    storage_price: Annotated[
        Decimal,
        asked(
            "of storage", unit="USD per GB-month", source="AWS S3 list price, first 50 TB", as_of="2024", ge=0
        ),
    ] = Decimal("0.023")
    egress_gb: Annotated[float, asked("sent from rented machines each month", unit="GB", ge=0)] = 0.0
    free_egress_gb: Annotated[float, asked("of that for nothing", unit="GB", ge=0)] = 100.0
    egress_price: Annotated[
        Decimal,
        asked(
            "of what is sent", unit="USD per GB", source="AWS list price to the internet", as_of="2024", ge=0
        ),
    ] = Decimal("0.09")
    tax: Annotated[float, asked("on what is rented; 0.06 in China", unit="share", ge=0, le=1)] = 0.0

    server_gpus: Annotated[int, asked("GPUs of an own server", unit="GPUs", ge=1, le=16)] = 4
    server_price: Annotated[
        Decimal | None,
        asked(
            "of an own server; none: its cards and 30,000 for the rest", unit="USD", source=_HARDWARE, ge=0
        ),
    ] = None
    life: Annotated[
        float, asked("until it is replaced", unit="years", source="an article; 3 is common too", gt=0, le=15)
    ] = 5.0
    residual: Annotated[float, asked("what it fetches then", unit="share of its price", ge=0, lt=1)] = 0.0
    wacc: Annotated[
        float,
        asked("what capital costs a year; makes the discounted payback", unit="share per year", ge=0, le=1),
    ] = 0.0
    kw_max: Annotated[
        float | None,
        asked(
            "drawn by a busy server; none: its GPUs' and 1.4",
            unit="kW",
            source="an article's 3 kW with four A100",
            ge=0,
        ),
    ] = None
    pue: Annotated[
        float,
        asked(
            "power of the whole site over that of its computers",
            source="Uptime Institute's survey, average",
            as_of="2023",
            ge=1,
            le=5,
        ),
    ] = 1.58
    kwh_price: Annotated[
        Decimal, asked("of power", unit="USD per kWh", source="an article; local", as_of="2024", ge=0)
    ] = Decimal("0.15")
    maintenance: Annotated[
        float, asked("a year", unit="share of the price", source="an article; 0.10 is common too", ge=0, le=1)
    ] = 0.15
    software: Annotated[Decimal, asked("licences", unit="USD per server and year", ge=0)] = Decimal(0)
    colo: Annotated[Decimal, asked("rent of room and network", unit="USD per month", ge=0)] = Decimal(0)
    own_fte: Annotated[
        float, asked("people that own servers take", unit="FTE", source="an assumption", ge=0, le=100)
    ] = 0.25
    fte_price: Annotated[
        Decimal, asked("of one of them", unit="USD per year", source="an assumption", ge=0)
    ] = Decimal(120_000)

    diagram: Annotated[
        Literal["load", "months"],
        asked("what --plot draws: cost against load, or cost over the months that pay back"),
    ] = "load"
