"""What `tco` asks: the load, and the prices of each way to serve it."""

from decimal import Decimal
from typing import Annotated, Literal

from gateway.planning.contract import Inputs, asked
from gateway.planning.sizing.architecture import Precision
from gateway.planning.sizing.performance import SERVING_EFFICIENCY, SERVING_SOURCE

USD = {
    "cpu_price": ("5000", "each", "an article's bill of a server with four A100", "2024"),
    "memory_price": ("15000", "each", "an article's bill of a server with four A100", "2024"),
    "disk_price": ("8000", "each", "an article's bill of a server with four A100", "2024"),
    "network_price": ("2000", "each", "an article's bill of a server with four A100", "2024"),
    "storage_price": ("0.023", "per GB-month", "AWS S3 list price, first 50 TB", "2024"),
    "egress_price": ("0.09", "per GB", "AWS list price to the internet, first 10 TB", "2024"),
    "kwh_price": ("0.15", "per kWh", "an article; local", "2024"),
    "fte_price": (
        "120000",
        "per year",
        "an assumption: a full-time engineer with all that comes with one",
        "",
    ),
}
"""Defaults of amounts, which are of this currency whatever the answer's is."""

_MOST = 1e9
"""Of any amount: what is beyond is a slip."""


def _amount(meaning: str, unit: str = "", *, usd: str = "") -> object:
    """In the answer's currency. `usd` names its default, if it has one."""
    if not usd:
        return asked(meaning, unit=unit, ge=0, le=_MOST)
    default, unit, source, as_of = USD[usd]
    whence = ", ".join(part for part in (source, as_of) if part)
    return asked(f"{meaning}; {default} USD unless given ({whence})", unit=unit, ge=0, le=_MOST)


class TcoInputs(Inputs, frozen=True, kw_only=True):
    scenario: Annotated[
        str | None, asked("start from the inputs of a shipped case: startup, bank, 50qps, ecommerce, p4d")
    ] = None
    years: Annotated[int, asked("how far to look", unit="years", ge=1, le=30)] = 5
    currency: Annotated[str, asked("of the answer, and of all amounts that are given")] = "USD"
    exchange: Annotated[tuple[str, ...], asked("A rate to convert listed prices with, as USD:EUR=0.92")] = ()
    prices: Annotated[
        str | None, asked("your own list of GPU prices instead of the shipped one: CSV in SkyPilot's form")
    ] = None
    budget: Annotated[Decimal | None, asked("what a month may cost", unit="per month", gt=0, le=_MOST)] = None
    data: Annotated[
        Literal["anywhere", "rented", "own"],
        asked("how far data may go: to APIs, to rented machines, or nowhere but own ones"),
    ] = "anywhere"

    requests_per_day: Annotated[
        float,
        asked(
            "requests of an average day", unit="requests", source="an article's example", ge=0.001, le=1e12
        ),
    ] = 10_000
    qps: Annotated[
        float | None,
        asked("requests per second over the whole day, instead of per day", unit="1/s", ge=1e-6, le=1e7),
    ] = None
    input_tokens: Annotated[
        int, asked("tokens of a prompt", unit="tokens", source="an article's example", ge=1, le=10_000_000)
    ] = 1024
    output_tokens: Annotated[
        int, asked("tokens of an answer", unit="tokens", source="an article's example", ge=1, le=10_000_000)
    ] = 512
    cached_share: Annotated[
        float, asked("share of prompts' tokens that the API bills as cached", ge=0, le=1)
    ] = 0.0
    shape: Annotated[
        str,
        asked("how a day's requests fall: flat, office (9 to 17), day (a wave), or 24 weights with commas"),
    ] = "flat"
    demand_growth: Annotated[float, asked("more requests each year, as a fraction", gt=-1, le=1)] = 0.0

    model: Annotated[str, asked("served on rented and own GPUs; a name of `plan size`")] = "llama-3-8b"
    precision: Annotated[Precision, asked("of its weights")] = "fp16"
    gpu: Annotated[str, asked("rented and bought; a name of `plan size`")] = "A100-80"
    replica_gpus: Annotated[
        int | None,
        asked("GPUs that a copy of the model takes; the fewest that hold it unless given", ge=1, le=64),
    ] = None
    concurrency: Annotated[
        int, asked("requests that a copy works on at once, as far as memory allows", unit="requests", ge=1)
    ] = 32
    serving_eff: Annotated[
        float,
        asked("share of the possible speed that real traffic reaches", source=SERVING_SOURCE, ge=0.001, le=1),
    ] = SERVING_EFFICIENCY
    tok_s: Annotated[
        float | None,
        asked(
            "measured speed of a copy, prompt and answer together, instead of an estimate",
            unit="tokens/s",
            ge=0.001,
            le=1e9,
        ),
    ] = None
    utilisation: Annotated[
        float,
        asked(
            "share of its speed that a copy is loaded to in the busiest hour",
            source="an assumption: queues grow fast beyond",
            ge=0.01,
            le=1,
        ),
    ] = 0.75

    api: Annotated[str, asked("model of the API")] = "gpt-4o-mini"
    api_input: Annotated[Decimal | None, _amount("its price for input instead", "per 1M tokens")] = None
    api_cached: Annotated[Decimal | None, _amount("its price for cached input instead", "per 1M tokens")] = (
        None
    )
    api_output: Annotated[Decimal | None, _amount("its price for output instead", "per 1M tokens")] = None
    api_price_growth: Annotated[float, asked("of the API's price each year, as a fraction", gt=-1, le=1)] = (
        0.0
    )

    gpu_price: Annotated[
        Decimal | None, _amount("of a rented GPU; the cheapest of the list unless given", "per GPU-hour")
    ] = None
    cloud: Annotated[str | None, asked("only offers of this provider")] = None
    region: Annotated[str | None, asked("only offers in this region")] = None
    discount: Annotated[
        float,
        asked(
            "for a commitment to pay all hours, as a fraction",
            source="an article, of one year",
            as_of="2024",
            ge=0,
            lt=1,
        ),
    ] = 0.4
    spot_discount: Annotated[
        float,
        asked(
            "of spot machines, where the list has no spot price, as a fraction",
            source="p3.2xlarge: 0.918 of 3.06",
            as_of="2025-08",
            ge=0,
            lt=1,
        ),
    ] = 0.7
    interrupts_per_h: Annotated[
        float,
        asked("how often a spot machine is taken away", unit="1/h", source="an assumption", ge=0, le=1e4),
    ] = 0.01
    lost_min: Annotated[
        float, asked("time lost each time", unit="min", source="an assumption", ge=0, le=1e4)
    ] = 10.0
    storage_gb: Annotated[
        float,
        asked(
            "kept with the rented machines",
            unit="GB",
            source="an assumption: weights and images",
            ge=0,
            le=1e12,
        ),
    ] = 100.0
    storage_price: Annotated[Decimal | None, _amount("of storage", usd="storage_price")] = None
    egress_gb: Annotated[
        float | None, asked("sent a month, instead of what answers come to", unit="GB", ge=0, le=1e12)
    ] = None
    egress_price: Annotated[Decimal | None, _amount("of what is sent", usd="egress_price")] = None
    free_egress_gb: Annotated[
        float, asked("sent for nothing each month", unit="GB", source="AWS", as_of="2024", ge=0, le=1e12)
    ] = 100.0
    text_bytes: Annotated[
        float,
        asked(
            "sent for a token of an answer as text",
            unit="B/token",
            source="English, with its JSON",
            ge=0,
            le=1e6,
        ),
    ] = 5.0
    sse_bytes: Annotated[
        float,
        asked(
            "sent for a token that is streamed as an event of its own",
            unit="B/token",
            source="an event as OpenAI sends it, with id, model and choices",
            ge=0,
            le=1e6,
        ),
    ] = 250.0
    streamed_share: Annotated[
        float, asked("share of answers that are streamed so", source="an assumption: all", ge=0, le=1)
    ] = 1.0
    extra: Annotated[Decimal, _amount("of other rented services", "per month")] = Decimal(0)
    tax: Annotated[float, asked("on APIs and rented services, as a fraction; 0.06 in China", ge=0, le=1)] = (
        0.0
    )
    rent_price_growth: Annotated[float, asked("of rents each year, as a fraction", gt=-1, le=1)] = 0.0

    server_gpus: Annotated[int, asked("GPUs of an own server", ge=1, le=16)] = 4
    server_price: Annotated[
        Decimal | None, _amount("of an own server, instead of the sum of its parts", "each")
    ] = None
    card_price: Annotated[Decimal | None, _amount("of a GPU; the catalogue's unless given", "each")] = None
    cpu_price: Annotated[Decimal | None, _amount("of a server's processors", usd="cpu_price")] = None
    memory_price: Annotated[Decimal | None, _amount("of its memory", usd="memory_price")] = None
    disk_price: Annotated[Decimal | None, _amount("of its disks", usd="disk_price")] = None
    network_price: Annotated[Decimal | None, _amount("of its network", usd="network_price")] = None
    life: Annotated[
        int,
        asked("until servers are replaced", unit="years", source="an article; 3 is common too", ge=1, le=15),
    ] = 5
    residual: Annotated[float, asked("what they fetch then, as a fraction of their price", ge=0, lt=1)] = 0.0
    wacc: Annotated[
        float, asked("what capital costs a year, as a fraction; discounts later years too", ge=0, le=1)
    ] = 0.0
    kw_max: Annotated[
        float | None,
        asked("drawn by a busy server; its GPUs' and 1.4 kW unless given", unit="kW", ge=0, le=1e4),
    ] = None
    kw_idle: Annotated[
        float | None, asked("drawn by an idle one; 0.3 of that unless given", unit="kW", ge=0, le=1e4)
    ] = None
    pue: Annotated[
        float,
        asked(
            "power of the whole site over that of its computers",
            source="Uptime Institute's survey, average; large clouds 1.1 to 1.2",
            as_of="2023",
            ge=1,
            le=5,
        ),
    ] = 1.58
    kwh_price: Annotated[Decimal | None, _amount("of power", usd="kwh_price")] = None
    maintenance: Annotated[
        float,
        asked(
            "A year, as a fraction of the purchase",
            source="an article; 0.10 is common too",
            ge=0,
            le=1,
        ),
    ] = 0.15
    software: Annotated[Decimal, _amount("licences", "per server and year")] = Decimal(0)
    bandwidth: Annotated[Decimal, _amount("of own servers", "per month")] = Decimal(0)
    colo: Annotated[Decimal, _amount("rent of room and racks", "per month")] = Decimal(0)
    own_fte: Annotated[
        float,
        asked(
            "people that own servers take more than rented ones",
            unit="FTE",
            source="an assumption",
            ge=0,
            le=1e4,
        ),
    ] = 0.25
    rented_fte: Annotated[
        float, asked("people that rented machines take more than an API", unit="FTE", ge=0, le=1e4)
    ] = 0.0
    fte_price: Annotated[Decimal | None, _amount("of one of them", usd="fte_price")] = None
    own_price_growth: Annotated[
        float, asked("of power, upkeep and people each year, as a fraction", gt=-1, le=1)
    ] = 0.0
    hardware_price_growth: Annotated[
        float, asked("of servers bought later, each year, as a fraction", gt=-1, le=1)
    ] = 0.0

    overflow: Annotated[
        Literal["rented", "api"], asked("where the hybrid sends what its own servers cannot take")
    ] = "rented"

    busy_s: Annotated[
        float | None,
        asked("also count by time: how long an inference keeps a rented GPU busy", unit="s", gt=0, le=1e6),
    ] = None
    batch: Annotated[float, asked("inferences that it does at once, for busy_s", ge=1, le=1e4)] = 1.0
