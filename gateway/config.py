"""The configuration file: one YAML document, one tree of frozen structs, every default and its meaning once.

What admins edit while it runs (tiers, tenants, keys, prices) lives in the database; the file seeds it.
"""

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from gateway.errors import ConfigError
from policies.contract import SIZES, Size

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Gib = Annotated[float, msgspec.Meta(gt=0, le=100_000)]
UpToAnHour = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Gpu = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9/:-]{0,127}$")]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Origin = Annotated[str, msgspec.Meta(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/?#\s]+)$")]
Device = Annotated[str, msgspec.Meta(pattern=r"^(auto|cpu|split|cuda(:[0-9]+)?)$")]
ModelName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Usd = Decimal
Kind = Literal["chat", "embedding", "moderation"]

ABILITIES = (
    "tools",
    "vision",
    "audio",
    "audio_output",
    "files",
    "video",
    "json_object",
    "json_schema",
    "logprobs",
    "reasoning",
    "store",
    "completions",
    "unpriced_tools",
)
ANTHROPIC_ABILITIES = ("tools", "vision", "files", "json_schema", "reasoning", "unpriced_tools")
"""Those that can be asked for in Anthropic's dialect."""
_HTTP_URL = re.compile(r"https?://[^/?#@]+(/[^?#]*)?")
_MOST_SOCKET_BYTES = 107
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(?:\.[a-z0-9_]{1,64})?")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Server(_Section, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Port = 8080
    admin_host: str = "127.0.0.1"
    """Admin and finance listen here, apart from the apps. Keep it off public networks."""
    admin_port: Port = 8081
    max_body_bytes: Positive = 10_000_000
    """Beyond it: 413."""
    max_header_bytes: Positive = 32_768
    """Beyond it: 431."""
    header_timeout_s: Seconds = 5.0
    """A request whose headers take longer to arrive gets 408; a new connection that sends nothing is closed."""
    body_timeout_s: Seconds = 10.0
    """A body that takes longer to arrive gets 408."""
    keep_alive_s: Seconds = 75.0
    """How long an idle connection stays open. Behind a load balancer: longer than it keeps its own."""
    write_stall_s: Seconds = 30.0
    """A client that leaves its answer unread for so long is cut off; what the answer cost is still charged."""
    max_connections: NotNegative = 4096
    """Open at once, on each of the two listeners; more get 503. 0: no limit."""
    max_connections_per_client: NotNegative = 0
    """Of one address (of IPv6: one /64). 0: no limit, because behind a load balancer all come from its address."""
    cors_origins: tuple[Origin, ...] = ()
    """Where web pages that call the apps' listener come from: `https://chat.example.com`, or `*` for anywhere."""
    drain_s: Seconds = 30.0
    """How long running requests may finish after SIGTERM."""
    public_metrics: bool = True
    """Serve /metrics on the apps' listener too. It names models and upstreams, never tenants."""


class Database(_Section, frozen=True, kw_only=True):
    url: str = ""
    """`sqlite:///PATH` or `postgresql://...`; empty is SQLite in the data folder."""
    url_env: str = ""
    """Name of an environment variable that holds the URL: for URLs with a password."""


class LimitStore(_Section, frozen=True, kw_only=True):
    url: str = "embedded"
    """`embedded` (a Valkey of our own in the data folder), or `redis://`, `rediss://`, `unix://`."""
    url_env: str = ""
    timeout_s: Seconds = 0.25
    """What the store may take to answer, from the sending; beyond it the breaker counts a failure, and a request with a
    budget gets 503. On a crowded machine a store that is well may be late, too."""
    local_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """Share of each rate that this process grants by itself while the store is gone: 1 / number of gateways."""


class Cache(_Section, frozen=True, kw_only=True):
    enabled: bool = True
    url: str = "embedded"
    """As for limits. A store of its own, so that cached replies can never push out a counter."""
    url_env: str = ""
    timeout_s: Seconds = 0.05
    """What the store may take to answer; beyond it the request is a miss."""
    ttl_s: Positive = 3600
    when: Literal["deterministic", "always"] = "deterministic"
    """`deterministic`: only requests with `temperature: 0`, or a `seed`, have one right answer to repeat."""
    max_entry_bytes: Positive = 262_144
    embedded_max_mib: Positive = 256


class Keys(_Section, frozen=True, kw_only=True):
    pepper_file: str = ""
    """A file with at least 32 random bytes in hex; empty is `secrets/pepper` in the data folder, made when absent."""
    pepper_env: str = ""
    cache_s: Seconds = 5.0
    """A revoked key stops working within this."""
    stale_s: Seconds = 300.0
    """How long keys already seen still count while the database is gone."""


class Journal(_Section, frozen=True, kw_only=True):
    dir: str = ""
    """Empty is `journal` in the data folder. A disk of its own is best: when it is full, paid requests stop."""
    segment_bytes: Positive = 16_777_216
    ship_every_s: Seconds = 0.25
    max_unshipped: Positive = 200_000
    """Entries that may wait for the database; beyond it, paid requests get 503."""


class Idempotency(_Section, frozen=True, kw_only=True):
    """What is kept of requests with an Idempotency-Key, in the database."""

    ttl_s: Positive = 86_400
    """A repetition within this gets the same answer and costs nothing."""
    max_reply_bytes: Positive = 1_000_000
    """A larger answer is not kept: its repetition gets 400."""


class Batches(_Section, frozen=True, kw_only=True):
    """`/v1/files` and `/v1/batches`: requests that nobody waits for. Every gateway on the database works on them."""

    concurrency: NotNegative = 2
    """Lines that this gateway runs at the same time. 0: it leaves them to others."""
    pauses_at: NotNegative = 2
    """No line begins while more interactive requests than this are running here."""
    max_lines: Positive = 50_000
    max_active: Positive = 20
    """Unfinished batches that a tenant may have."""
    max_file_bytes: Positive = 100_000_000
    max_tenant_bytes: Positive = 1_000_000_000
    """Of all files of a tenant. What batches write counts, but is never refused."""
    file_ttl_s: Positive = 2_592_000
    """How long a file is kept whose owner does not say."""
    upload_timeout_s: Seconds = 600.0
    """A file that takes longer to arrive gets 408."""
    lease_s: Seconds = 60.0
    """The lines of a gateway that has been silent for so long are taken over."""
    poll_s: Seconds = 2.0
    """How often an idle gateway looks for the batches that others have taken in."""


class Outcomes(_Section, frozen=True, kw_only=True):
    """What is kept of what became of answers: users' votes, what judges and measurements said. Never a prompt."""

    retention_days: Positive = 400
    """What is older is removed."""
    votes_per_day: NotNegative = 200
    """Of a user's votes in any 24 hours so many count; later ones are kept without weight. 0: none counts."""
    votes_per_minute: Positive = 60
    """What a user may send to each gateway; beyond it: 429."""


class PriceConfig(_Section, frozen=True, kw_only=True):
    """USD per million tokens, and per hour of an engine."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None
    """Default: as input."""
    reasoning: Usd | None = None
    """Default: as output."""
    cache_write: Usd | None = None
    """Of input that the upstream stores for later requests, where it bills that dearer. Default: as input."""
    cache_write_1h: Usd | None = None
    """Likewise, where it is stored for an hour. Default: as cache_write."""
    engine_hour: Usd = Decimal(0)
    """Of a worker of ours: what an hour of its engine costs, beside the tokens (`input: 0, output: 0` for the time alone).
    Each answer pays for its share of the engine's time. A sound figure: the rent of all GPUs that the worker has, divided
    by the share of the day in which it works."""
    source: str = "config"


class Model(_Section, frozen=True, kw_only=True):
    size: Size
    kind: Kind = "chat"
    """What it makes: `chat` answers (and legacy completions), an `embedding`, or a `moderation`."""
    upstream_model: str = ""
    """What the upstream calls it; empty: the same name."""
    price: PriceConfig | None = None
    free: bool = False
    """Says on purpose that it costs nothing. A model with neither price nor `free: true` is refused at start."""
    context_window: Positive = 8192
    """Tokens of prompt and answer together; a longer request goes to another model, or gets 400."""
    max_output_tokens: Positive = 4096
    abilities: tuple[str, ...] = ()
    """Of tools, vision, audio, audio_output, files, video, json_object, json_schema, logprobs, reasoning, store,
    completions (the legacy endpoint, with all its fields) and unpriced_tools (what the upstream runs and bills by use,
    such as web search: no price book here holds such fees). Who asks for one that is not there is routed elsewhere, or
    gets 400; nothing is dropped in silence."""
    unsupported: tuple[str, ...] = ()
    """Request fields that this model does not honour, beside those of its upstream: `seed`, `logit_bias`, ..."""
    batch_price_factor: Decimal = Decimal(1)
    """What a line of a batch costs, as a share of the price: 0.5 is half. An upstream bills lines like any request."""
    tokens_per_s: Positive | None = None
    """What its engine writes (of an embedding model: reads) for all requests together under the load that you expect.
    Needed with `price.engine_hour`: by it requests are weighed beforehand, and charged where the worker could not tell its
    time. Ten tokens of a prompt count as one that is written."""
    p_good: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """A known accuracy on prompts of middling difficulty; empty: what its size is expected to reach."""


class Autoscale(_Section, frozen=True, kw_only=True):
    """How many servers there should be, by how full and how busy those are that there are."""

    min: Positive = 1
    max: Positive
    target: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.85
    """Share of what the servers can do that should be used, on average over `average_s`. What waits counts as if it
    ran."""
    average_s: Seconds = 120.0
    burst_s: Seconds = 30.0
    """More work than fits at all, on average over so long: then servers for all of it are asked for at once."""
    tolerance: Share = 0.1
    """Of the servers that there are: a need that exceeds them by less starts none."""
    down_after_s: Seconds = 300.0
    """There are fewer only when for so long no moment asked for more; then a tenth goes, or one, every `average_s`."""
    places_each: Positive | None = None
    """What one server can work on at the same time, for engines that do not tell (vLLM's `--max-num-seqs`), or less
    than it tells if its answers become too slow before."""
    tokens_per_s_each: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """What one server makes when it is full, if you have measured it. Left out: what the last hour has taught."""


class Upstream(_Section, frozen=True, kw_only=True):
    base_url: str = ""
    """Up to and including the version: `https://api.openai.com/v1`. `unix:PATH` is a server behind a Unix socket."""
    base_urls: tuple[str, ...] = ()
    """Instead of `base_url`: several servers of the same models. Each call goes to the one with the least to do."""
    worker: str = ""
    """Instead of either: the worker of this name, as many of it as `weighbridge up` runs at the moment."""
    resolves: bool = False
    """Every address of the host name in `base_url` is a server of its own, as behind a headless service. Looked up again
    every 5 seconds; of IPv4 and IPv6 the kind that the resolver puts first."""
    engine: Literal["", "weighbridge", "vllm", "sglang", "tgi", "llamacpp"] = ""
    """What serves there, if its figures are to be read: queue, places, use of memory for keys and values. Left out for a
    worker of ours: `weighbridge`; else nothing is read. With `vllm` it is sent a `cache_salt` that is each tenant's own, so
    that nobody can find out by the time that it takes what others have asked; `cache_salt` under `unsupported` leaves it out.
    It says too that the server is your own and bills nobody: a call whose connection breaks before it has answered is made
    once more, at another server."""
    metrics_url: str = ""
    """Where these figures are, if not at `/metrics` beside the version of `base_url`."""
    sends_priority: bool = False
    """Of vLLM with `--scheduling-policy priority`: tell each request's class in its `priority`, so that higher classes go
    first there. vLLM without that option refuses such requests."""
    affinity: Literal["none", "prefix"] = "none"
    """`prefix`: requests of a tenant that begin alike go to the same server while it has room, for its prefix cache."""
    autoscale: Autoscale | None = None
    """Tell in `/metrics` how many servers there should be, for what starts and stops them."""
    dialect: Literal["openai", "anthropic"] = "openai"
    """What the server speaks. Anything that looks like OpenAI is `openai`. Callers of any dialect reach it."""
    api_key_env: str = ""
    """Name of the environment variable that holds its key."""
    api_key_file: str = ""
    """Or a file that holds it."""
    keyless: bool = False
    """Says on purpose that it wants no key. Only servers on this machine may go without either."""
    models: dict[ModelName, Model]
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Which of the two the upstream understands. OpenAI's newer models want `max_completion_tokens`."""
    unsupported: tuple[str, ...] = ()
    """Request fields that it does not honour (`seed`, `logit_bias`, `n`, ...), or what a message may ask for within one
    (`tools.web_search_20250305`). Who sends one is routed elsewhere, or gets 400 that names the field. Only
    `encoding_format` is honoured here in its stead, and not sent."""
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    """When the client hangs up: stop the upstream at once, or read on to its own count of what it bills."""
    drain_s: Seconds = 30.0
    """The most that draining may take; then it is stopped, and what it used is estimated."""
    connect_timeout_s: Seconds = 5.0
    first_event_timeout_s: Seconds = 60.0
    """Of a stream: until its first event, after which there is no fallback any more."""
    gap_timeout_s: Seconds = 30.0
    """Of a stream: between two events."""
    total_timeout_s: Seconds = 300.0
    """For the whole attempt, streamed or not."""
    max_connections: Positive = 256
    """To each server."""
    max_reply_bytes: Positive = 16_777_216
    """A longer reply is given up. Vectors are long: theirs may have four times as much."""
    is_breaker_enabled: bool = True
    """Leave it alone for a while after repeated failures; each of several servers for itself."""
    is_cached: bool = True
    """Keep its replies in the cache. `false`: every request reaches it."""
    is_worker: bool = False
    """It is a worker of ours, and is told each request's class in `x-weighbridge-priority`: higher classes go first
    when its places are taken. No other server should know. With `worker` it is one in any case."""

    @property
    def is_ours(self) -> bool:
        return self.is_worker or bool(self.worker)

    @property
    def urls(self) -> tuple[str, ...]:
        """Of its servers, where the file names them."""
        return self.base_urls or ((self.base_url,) if self.base_url else ())


class TierConfig(_Section, frozen=True, kw_only=True):
    priority: int = 0
    """Higher goes first when a worker's places are taken. Each ten is a class: 0 to 9 the lowest, 80 and more the
    highest; below all of them are the lines of batches."""
    sizes: tuple[Size, ...] = SIZES
    """What its requests may be routed to."""
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None
    requests_per_month: Positive | None = None
    budget_usd_per_month: Usd | None = None
    default_output_tokens: Positive = 1024
    """The ceiling of an answer for which the caller names none: it bounds what must be held for it."""
    max_output_tokens: Positive = 8192
    max_choices: Positive = 4
    """The largest `n`."""


def shipped_tiers() -> dict[str, TierConfig]:
    """The plans that every installation starts with. All editable, in the file or by the admin API."""
    return {
        "free": TierConfig(
            priority=0,
            sizes=("small", "medium", "large"),
            requests_per_minute=10,
            tokens_per_minute=20_000,
            concurrency=2,
            requests_per_month=1_000,
            default_output_tokens=512,
            max_output_tokens=2048,
            max_choices=1,
        ),
        "paid": TierConfig(
            priority=10,
            requests_per_minute=600,
            tokens_per_minute=500_000,
            concurrency=32,
            requests_per_month=100_000,
            max_output_tokens=32_768,
        ),
        "vip": TierConfig(
            priority=20,
            requests_per_minute=6_000,
            tokens_per_minute=5_000_000,
            concurrency=256,
            budget_usd_per_month=Decimal(10_000),
            default_output_tokens=4096,
            max_output_tokens=131_072,
            max_choices=8,
        ),
    }


class Policies(_Section, frozen=True, kw_only=True):
    default: Name = "cheapest_adequate"
    dir: str = ""
    """A folder of your own policy documents (*.yaml), beside the shipped ones."""


class DeepScoring(_Section, frozen=True, kw_only=True):
    """A text encoder of your own that looks again at prompts near the decision. Off, because on public data it hardly
    ever changes a route for the better, and takes more CPU than all the rest of a request."""

    folder: str = ""
    """Holds the encoder's `model.onnx` and `tokenizer.json`, and the `head.json` that was fitted to it. Empty: off."""
    band: tuple[Share, Share] = (0.2, 0.8)
    """Prompts of a complexity between these two, and of just these, get the second look."""
    timeout_ms: Positive = 150
    """A prompt that has no vector by then keeps its first score; counted."""
    max_tokens: Positive = 128
    """Of a prompt, from its beginning. A longer one is cut."""
    threads: Positive = 1
    """That share the work of one batch, on a processor."""
    max_batch: Positive | None = None
    """Prompts that go through the encoder together. Left out: 1 on a processor, where each adds its own time to all the
    others', and 16 on a GPU."""
    max_waiting: Positive = 64
    """When more wait, those that have waited longest keep their first score; counted."""


class Scoring(_Section, frozen=True, kw_only=True):
    engine: Literal["auto", "model", "lexical"] = "auto"
    """`model`: the trained model, which needs onnxruntime. `lexical`: words and length alone. `auto`: the model where it
    can run, else the other, with a warning."""
    artefact: str = ""
    """A folder that `weighbridge scorer train` wrote. Empty: the model that ships."""
    threads: Positive = 1
    """That work on one prompt. More gain nothing: it takes a fraction of a millisecond."""
    learn: bool = True
    """Whether outcomes (votes, judgements, deferrals) correct the predictions of the tenant that told them."""
    refresh_s: Positive = 300
    """How often they are read again: some 20 us each, in a thread."""
    timeout_ms: Positive = 20
    fallback_complexity: Share = 0.5
    """Stands for the score when the scorer fails; counted and marked degraded."""
    deep: DeepScoring = DeepScoring()


class Planning(_Section, frozen=True, kw_only=True):
    """`weighbridge plan` with `--from-ledger`."""

    reference: str = ""
    """The model, or UPSTREAM/MODEL, that savings are measured against: where every request would have gone without the
    gateway. `--reference` says another."""


class Telemetry(_Section, frozen=True, kw_only=True):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_file: str = ""
    """Empty: standard output."""


class Worker(_Section, frozen=True, kw_only=True):
    """A model process that `weighbridge up` starts beside the gateway, and starts again when it dies or hangs."""

    model: str
    """A path to a GGUF file or to a folder with a `config.json`, or `smollm2-135m-instruct`, which the demo installs."""
    serves: tuple[ModelName, ...]
    """The names under which it answers."""
    port: Port | None = None
    """Left out: it listens on Unix sockets in the data folder, for upstreams that name it with `worker`."""
    host: str = "127.0.0.1"
    replicas: Positive = 1
    """Processes with the same model."""
    autoscale: Autoscale | None = None
    """Instead of `replicas`: as many as the load asks for."""
    rollout: Literal["start_first", "stop_first"] = "start_first"
    """How a process gives way to one of another model: `start_first` keeps it until the new one is ready, and needs the
    memory of both. A worker with a `port` is always stopped first."""
    drain_s: UpToAnHour = 300.0
    """How long answers may still run in a process that is replaced or retired."""
    gpus: tuple[Gpu, ...] = ()
    """What its processes may have, as CUDA_VISIBLE_DEVICES names them. Left out: each sees all that there are."""
    gpus_each: Positive = 1
    """How many of `gpus` each process gets: more than one share out the weights of every layer."""
    engine: Literal["auto", "llamacpp", "transformers", "encoder"] = "auto"
    """`auto`: llamacpp for a GGUF file; for a folder transformers, or encoder if its model makes vectors."""
    precision: Literal["auto", "bf16", "fp16", "fp32", "int8", "nf4"] = "auto"
    """Of the transformers engine's weights. `auto`: bf16 on a GPU, fp32 on a CPU."""
    device: Device = "auto"
    """Of the transformers engine: `cpu`, `cuda` or `cuda:N`. `auto`: a GPU if there is one; with `gpus` never the CPU.
    `split`: layer after layer over all its GPUs, which is slow, for models that fit in no other way."""
    kv_gib: Gib | None = None
    """Memory of the transformers engine for all requests' keys and values. Left out: enough for every slot's window."""
    api_key_env: str = ""
    api_key_file: str = ""
    slots: Positive = 4
    """Answers at the same time."""
    context_window: Positive = 4096
    """Tokens of prompt and answer together, of each request."""
    threads: Positive = 1
    batch: Positive | None = None
    """Tokens of one step. Left out: what suits engine and device."""
    attention: Literal["auto", "sequence", "sdpa", "flash"] = "auto"
    """Of the transformers engine. `auto`: flash on a GPU where flash-attn is installed."""
    reuse_prompts: Literal["auto", "always", "never"] = "auto"
    """Compute what prompts have in common once. `auto`: within each tenant, where the engine can keep them apart; `always`:
    its timing tells callers of each other's prompts, for one tenant only."""
    matryoshka: bool = False
    """Of the encoder engine: the model was trained for vectors that are cut short (`dimensions`), and does not say so."""
    max_queue: Positive = 64
    """Requests that may wait for a place; one more, and the last in line gets 503."""
    queue_wait_s: UpToAnHour = 30.0
    """Who has waited for so long gets 503."""
    queue_age_s: UpToAnHour = 5.0
    """Who waits rises by a priority class each time that this has passed."""
    spot: Literal["", "aws", "gcp", "azure"] = ""
    """The cloud whose spot machine this is: its processes hear when it is taken back, and finish what they do."""


class Config(_Section, frozen=True, kw_only=True):
    upstreams: dict[Name, Upstream]
    data_dir: str = ""
    """Where the database, the journal and the secrets live; empty: `~/.local/share/weighbridge`."""
    server: Server = Server()
    database: Database = Database()
    limits: LimitStore = LimitStore()
    cache: Cache = Cache()
    keys: Keys = Keys()
    journal: Journal = Journal()
    idempotency: Idempotency = Idempotency()
    batches: Batches = Batches()
    outcomes: Outcomes = Outcomes()
    tiers: dict[Name, TierConfig] = msgspec.field(default_factory=shipped_tiers)
    policies: Policies = Policies()
    scoring: Scoring = Scoring()
    planning: Planning = Planning()
    telemetry: Telemetry = Telemetry()
    workers: dict[Name, Worker] = msgspec.field(default_factory=dict)

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser() if self.data_dir else default_data_dir()

    @property
    def journal_path(self) -> Path:
        return Path(self.journal.dir).expanduser() if self.journal.dir else self.data_path / "journal"

    @property
    def secrets_path(self) -> Path:
        return self.data_path / "secrets"

    def worker_key(self, name: str) -> tuple[str, str]:
        """Where its key is: the name of an environment variable, or a file. Both are empty if it wants none."""
        worker = self.workers[name]
        if worker.port is not None or worker.api_key_env or worker.api_key_file:
            return worker.api_key_env, worker.api_key_file
        return "", str(self.secrets_path / f"worker-{name}.key")

    @property
    def database_url(self) -> str:
        named = read_secret(env=self.database.url_env, where="database")
        return named or self.database.url or f"sqlite:///{self.data_path / 'weighbridge.db'}"


def unix_path(url: str) -> str | None:
    """The socket behind `unix:PATH`; None for any other URL."""
    return str(Path(url[5:]).expanduser()) if url.startswith("unix:") and url != "unix:" else None


def environment() -> dict[str, str]:
    """The process environment, read in this one place."""
    return dict(os.environ)  # noqa: TID251 - the one place where settings come in from outside


def default_data_dir() -> Path:
    env = environment()
    base = env.get("WEIGHBRIDGE_HOME")
    if base:
        return Path(base)
    return Path(env.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "weighbridge"


def read_secret(*, env: str = "", file: str = "", where: str) -> str:
    """A secret named in the file, never written in it; empty when neither place is named."""
    if env:
        value = environment().get(env, "").strip()
        if not value:
            raise ConfigError(
                f"{where}: the environment variable {env} is not set; export it or remove the line"
            )
        return value
    if file:
        path = Path(file).expanduser()
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise ConfigError(f"{where}: cannot read {path}: {exc.strerror}") from exc
    return ""


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError with the place and the reason, in one line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read: {exc.strerror}. `weighbridge up` writes a first one."
        ) from exc
    return parse(text, source=str(path))


def parse(text: str, *, source: str = "config") -> Config:
    try:
        raw = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader that refuses doubled keys
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or str(exc).splitlines()[0]
        raise ConfigError(f"{source}{line}: not valid YAML: {problem}") from exc
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected a mapping of sections such as `upstreams:`")
    try:
        config = msgspec.convert(raw, Config, strict=True)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{source}: {_where(raw, str(exc))}") from exc
    tiers = shipped_tiers() | config.tiers
    config = msgspec.structs.replace(config, tiers=tiers)
    _check(config, source)
    return config


class _StrictLoader(yaml.SafeLoader):
    """YAML lets the second of two equal keys win in silence; a price must not change that way."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _where(raw: dict[str, Any], message: str) -> str:
    """msgspec's "... - at `$.a[...].b`" turned into "a.name.b: ..."."""
    match = re.fullmatch(r"(?P<what>.*?) - at `(?:key` in `)?\$\.?(?P<path>.*)`", message, re.DOTALL)
    if not match:
        return message
    path = match["path"]
    while "[...]" in path:
        before = path[: path.index("[...]")]
        path = path.replace("[...]", f".{_failing_key(raw, before.split('.'), message)}", 1)
    return f"{path}: {match['what']}"


def _failing_key(raw: dict[str, Any], path: list[str], message: str) -> str:
    """Which key of the mapping at `path` is to blame: the one that fails in the same way when it stands alone."""
    keys = list(_at(raw, path))
    for key in keys[:-1]:
        try:
            msgspec.convert(_only(raw, path, key), Config, strict=True)
        except msgspec.ValidationError as exc:
            if str(exc) == message:
                return str(key)
    return str(keys[-1])


def _at(raw: Any, path: list[str]) -> Any:
    for part in path:
        raw = raw[part]
    return raw


def _only(raw: Any, path: list[str], key: Any) -> Any:
    if not path:
        return {key: raw[key]}
    return {**raw, path[0]: _only(raw[path[0]], path[1:], key)}


def _check(config: Config, source: str) -> None:
    if not config.upstreams:
        raise ConfigError(f"{source}: upstreams: name at least one server to route to")
    for name, upstream in config.upstreams.items():
        at = f"{source}: upstreams.{name}"
        _check_servers(at, upstream)
        _check_engine(at, upstream)
        if upstream.worker:
            _check_worker_of(at, upstream, config)
        if not upstream.models:
            raise ConfigError(f"{at}.models: name at least one model")
        for model_name, model in upstream.models.items():
            _check_model(f"{at}.models.{model_name}", model_name, model)
            if upstream.dialect == "anthropic":
                _check_anthropic(f"{at}.models.{model_name}", model)
            _check_dialect(f"{at}.models.{model_name}", upstream, model)
            _check_engine_hour(f"{at}.models.{model_name}", upstream, model)
        if upstream.is_ours and upstream.dialect != "openai":
            field = "worker" if upstream.worker else "is_worker"
            raise ConfigError(f"{at}.{field}: workers of ours speak OpenAI's dialect")
        if upstream.autoscale is not None:
            _check_autoscale(f"{at}.autoscale", upstream.autoscale)
            if not upstream.engine and not upstream.is_ours:
                raise ConfigError(
                    f"{at}.autoscale: say in `engine` what serves there, or its load cannot be read"
                )
        _check_fields(f"{at}.unsupported", upstream.unsupported)
    _check_kinds(source, config)
    low, high = config.scoring.deep.band
    if low > high:
        raise ConfigError(
            f"{source}: scoring.deep.band: expected the lower complexity first, such as [0.2, 0.8]"
        )
    _check_reference(f"{source}: planning.reference", config)
    for name, worker in config.workers.items():
        _check_worker(f"{source}: workers.{name}", worker)
    for name, tier in config.tiers.items():
        _check_usd(f"{source}: tiers.{name}.budget_usd_per_month", tier.budget_usd_per_month)
    if (
        config.server.port
        and config.server.port == config.server.admin_port
        and config.server.host == config.server.admin_host
    ):
        raise ConfigError(
            f"{source}: server.admin_port: {config.server.port} is the apps' port; admin needs its own"
        )


def _check_worker(at: str, worker: Worker) -> None:
    scale, most = worker.autoscale, worker.replicas
    if scale is not None:
        if worker.replicas > 1:
            raise ConfigError(f"{at}.replicas: `autoscale` says how many; remove one of the two")
        _check_autoscale(f"{at}.autoscale", scale)
        most = scale.max
    if worker.port is not None and most > 1:
        raise ConfigError(f"{at}.port: is for one process; leave it out, and name the worker in its upstream")
    if not worker.gpus:
        if worker.gpus_each > 1:
            raise ConfigError(f"{at}.gpus_each: say in `gpus` which there are")
        return
    _check_gpus(at, worker, most)


def _check_autoscale(at: str, scale: Autoscale) -> None:
    if scale.min > scale.max:
        raise ConfigError(f"{at}.min: {scale.min} is more than max, {scale.max}")


def _check_gpus(at: str, worker: Worker, most: int) -> None:
    if len(set(worker.gpus)) < len(worker.gpus):
        raise ConfigError(f"{at}.gpus: names one twice")
    if most * worker.gpus_each > len(worker.gpus):
        raise ConfigError(
            f"{at}.gpus: {most} x {worker.gpus_each} are needed, and {len(worker.gpus)} are named"
        )
    if worker.device not in ("auto", "cuda", "split"):
        raise ConfigError(f"{at}.device: is {worker.device}, and `gpus` says where it runs; remove one")
    if worker.gpus_each > 1 and worker.engine == "llamacpp":
        raise ConfigError(f"{at}.gpus_each: only the transformers engine splits a model over several")


def _check_servers(at: str, upstream: Upstream) -> None:
    named = [field for field in ("base_url", "base_urls", "worker") if getattr(upstream, field)]
    if len(named) != 1:
        said = f", not by {' and '.join(named)}" if named else ""
        raise ConfigError(f"{at}: say where it is by one of `base_url`, `base_urls` and `worker`{said}")
    field = f"{at}.{named[0]}"
    for url in upstream.urls:
        path = unix_path(url)
        if path is None and not _HTTP_URL.fullmatch(url):
            raise ConfigError(
                f"{field}: expected http(s)://host/path without credentials or query, or unix:PATH"
            )
        if path is not None and len(os.fsencode(path)) > _MOST_SOCKET_BYTES:
            raise ConfigError(
                f"{field}: a socket's path has {_MOST_SOCKET_BYTES} bytes at most, not as {path}"
            )
    if len(set(upstream.urls)) < len(upstream.urls):
        raise ConfigError(f"{field}: names a server twice")
    if upstream.resolves and (not upstream.base_url or unix_path(upstream.base_url) is not None):
        raise ConfigError(f"{at}.resolves: needs a `base_url` with a host name to look up")


def _check_engine(at: str, upstream: Upstream) -> None:
    if upstream.sends_priority and (upstream.engine != "vllm" or upstream.dialect != "openai"):
        raise ConfigError(f"{at}.sends_priority: only for `engine: vllm`; workers of ours are told anyway")
    if not upstream.metrics_url:
        return
    if not _HTTP_URL.fullmatch(upstream.metrics_url.partition("?")[0]):
        raise ConfigError(f"{at}.metrics_url: expected http(s)://host/path without credentials")
    if not upstream.engine and not upstream.is_ours:
        raise ConfigError(f"{at}.metrics_url: say in `engine` whose figures are there")
    if not upstream.base_url:
        raise ConfigError(
            f"{at}.metrics_url: is one page; with several servers each tells at its own /metrics"
        )


def _check_worker_of(at: str, upstream: Upstream, config: Config) -> None:
    worker = config.workers.get(upstream.worker)
    if worker is None:
        known = f"there are {', '.join(sorted(config.workers))}" if config.workers else "there are none"
        raise ConfigError(f"{at}.worker: {upstream.worker!r} is not under `workers:`; {known}")
    if upstream.api_key_env or upstream.api_key_file or upstream.keyless:
        raise ConfigError(
            f"{at}: a `worker` is called with its own key: name it at workers.{upstream.worker}"
        )
    for name, model in upstream.models.items():
        asked = model.upstream_model or name
        if asked not in worker.serves:
            raise ConfigError(
                f"{at}.models.{name}: the worker {upstream.worker!r} serves {', '.join(worker.serves)}, not {asked}"
            )


def _check_reference(at: str, config: Config) -> None:
    chats = {
        f"{upstream_name}/{model_name}"
        for upstream_name, upstream in config.upstreams.items()
        for model_name, model in upstream.models.items()
        if model.kind == "chat"
    }
    wanted = config.planning.reference
    if wanted and wanted not in chats and wanted not in {id_.partition("/")[2] for id_ in chats}:
        raise ConfigError(f"{at}: {wanted!r} is no chat model here; there are {', '.join(sorted(chats))}")


def _check_model(at: str, name: str, model: Model) -> None:
    if name == "auto" or name.startswith("auto:"):
        raise ConfigError(f"{at}: `auto` asks the gateway to choose; a model needs another name")
    if model.price is None and not model.free:
        raise ConfigError(
            f"{at}.price: missing; give input and output in USD per million tokens, or say `free: true`"
        )
    if model.price is not None:
        for field in (
            "input",
            "output",
            "cached_input",
            "reasoning",
            "cache_write",
            "cache_write_1h",
            "engine_hour",
        ):
            _check_usd(f"{at}.price.{field}", getattr(model.price, field))
    if model.price is not None and model.free:
        raise ConfigError(f"{at}: has a price and says `free: true`; keep one of them")
    if model.price is not None and not (model.price.input or model.price.output or model.price.engine_hour):
        raise ConfigError(f"{at}.price: is zero; say `free: true` if that is meant")
    unknown = set(model.abilities) - set(ABILITIES)
    if unknown:
        raise ConfigError(f"{at}.abilities: {min(unknown)!r} is none of {', '.join(ABILITIES)}")
    _check_fields(f"{at}.unsupported", model.unsupported)
    if not 0 <= model.batch_price_factor <= 100:
        raise ConfigError(f"{at}.batch_price_factor: expected a share of the price such as 0.5")


def _check_dialect(at: str, upstream: Upstream, model: Model) -> None:
    if upstream.dialect == "anthropic" and model.kind != "chat":
        raise ConfigError(f"{at}.kind: is {model.kind}; in Anthropic's dialect there are only chats")
    if "completions" in model.abilities and (upstream.dialect != "openai" or model.kind != "chat"):
        raise ConfigError(f"{at}.abilities: only chat models in OpenAI's dialect can have `completions`")


def _check_engine_hour(at: str, upstream: Upstream, model: Model) -> None:
    if model.price is None or not model.price.engine_hour:
        return
    if not upstream.is_ours:
        raise ConfigError(
            f"{at}.price.engine_hour: only a worker of ours (`is_worker: true`) tells its engine's time"
        )
    if model.tokens_per_s is None:
        raise ConfigError(
            f"{at}.tokens_per_s: missing; with a price for the engine's time, say what it writes in a second for all "
            "requests together, such as 2000"
        )


def _check_anthropic(at: str, model: Model) -> None:
    if model.kind != "chat":
        raise ConfigError(f"{at}.kind: Anthropic's dialect knows no {model.kind} models")
    lacking = set(model.abilities) - set(ANTHROPIC_ABILITIES)
    if lacking:
        raise ConfigError(
            f"{at}.abilities: {min(lacking)!r} cannot be asked for in Anthropic's dialect, only "
            f"{', '.join(ANTHROPIC_ABILITIES)}"
        )


def _check_fields(at: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not FIELD_NAME.fullmatch(name) or name in ("model", "messages", "stream"):
            raise ConfigError(f"{at}: {name!r} is not a field of a request that a model may do without")
        if name in ABILITIES:
            raise ConfigError(
                f"{at}: {name!r} is an ability: leave it out of the model's `abilities` instead"
            )


def _check_kinds(source: str, config: Config) -> None:
    kinds: dict[str, str] = {}
    for upstream_name, upstream in config.upstreams.items():
        for model_name, model in upstream.models.items():
            if kinds.setdefault(model_name, model.kind) != model.kind:
                raise ConfigError(
                    f"{source}: upstreams.{upstream_name}.models.{model_name}.kind: is {model.kind} here and "
                    f"{kinds[model_name]} elsewhere; one name is one kind"
                )


def _check_usd(at: str, value: Decimal | None) -> None:
    if value is None:
        return
    if not value.is_finite() or value < 0:
        raise ConfigError(f"{at}: {value} is not an amount of money")
    if value != round(value, 6):
        raise ConfigError(f"{at}: {value} is finer than a millionth of a dollar, which is the smallest step")
    if value > 1_000_000:
        raise ConfigError(f"{at}: {value} is more than 1,000,000 USD; is the unit right?")
