"""What is read off an engine's metrics page, and that nothing on it does harm.

The pages are short forms of what these versions write: vLLM 0.6 (v0) and 0.10 to 0.29 (v1), SGLang 0.5, TGI 3.3, llama.cpp of
early 2025 and of 2026.
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.fleet.contract import Load
from gateway.fleet.load import MAX_PAGE_BYTES, parse
from workers.engines.contract import EngineStats
from workers.metrics import Metrics
from workers.slots import Slots

KINDS = ["weighbridge", "vllm", "sglang", "tgi", "llamacpp"]

VLLM_V0 = """\
# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 7.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="m"} 2.0
vllm:num_requests_swapped{model_name="m"} 9.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.25
vllm:cpu_cache_usage_perc{model_name="m"} 0.75
vllm:prompt_tokens_total{model_name="m"} 1.23456e+06
vllm:generation_tokens_total{model_name="m"} 4096.0
"""

VLLM_V1 = """\
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting{engine="1",model_name="m"} 5.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="m",reason="capacity"} 5.0
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.9
vllm:gpu_cache_usage_perc{engine="1",model_name="m"} 0.9
vllm:kv_cache_usage_perc{engine="0",model_name="m",pid="10"} 0.5
vllm:kv_cache_usage_perc{engine="0",model_name="m",pid="11"} 0.0
vllm:kv_cache_usage_perc{engine="1",model_name="m",pid="10"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="m"} 100.0
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
vllm:prompt_tokens_total{engine="1",model_name="m"} 200.0
vllm:generation_tokens_total{engine="0",model_name="m"} 10.0
vllm:generation_tokens_total{engine="1",model_name="m"} 20.0
"""

SGLANG = """\
sglang:num_running_reqs{dp_rank="0",engine_type="unified",model_name="m",pp_rank="0",tp_rank="0",priority=""} 6.0
sglang:num_running_reqs{dp_rank="0",engine_type="unified",model_name="m",pp_rank="0",tp_rank="1",priority=""} 6.0
sglang:num_running_reqs{dp_rank="1",engine_type="unified",model_name="m",pp_rank="0",tp_rank="2",priority=""} 5.0
sglang:num_queue_reqs{dp_rank="0",engine_type="unified",model_name="m",pp_rank="0",tp_rank="0",priority=""} 4.0
sglang:num_queue_reqs{dp_rank="0",engine_type="unified",model_name="m",pp_rank="0",tp_rank="0",priority="1"} 3.0
sglang:num_queue_reqs{dp_rank="0",engine_type="unified",model_name="m",pp_rank="0",tp_rank="0",priority="2"} 1.0
sglang:token_usage{dp_rank="0",engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 0.25
sglang:token_usage{dp_rank="1",engine_type="unified",model_name="m",pp_rank="0",tp_rank="2"} 0.5
sglang:prompt_tokens_total{model_name="m"} 8.128902e+06
sglang:generation_tokens_total{model_name="m"} 7.557572e+06
"""

TGI = """\
# TYPE tgi_queue_size gauge
tgi_queue_size 2

# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 4
tgi_batch_current_max_tokens 2048
tgi_batch_max_total_tokens 8192
# TYPE tgi_request_generated_tokens histogram
tgi_request_generated_tokens_bucket{le="40.96"} 40
tgi_request_generated_tokens_bucket{le="+Inf"} 44
tgi_request_generated_tokens_sum 8123
tgi_request_generated_tokens_count 44
tgi_request_input_length_sum 9001
tgi_batch_next_size_bucket{method="prefill",le="1"} 1
"""

LLAMACPP = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 2817
llamacpp:tokens_predicted_total 17029
llamacpp:predicted_tokens_seconds 57.2
llamacpp:requests_processing 4
llamacpp:requests_deferred 46
"""


def load(running, queued, slots, kv_use, generated, prompt) -> Load:
    return Load(
        running=running,
        queued=queued,
        slots=slots,
        kv_use=kv_use,
        generated_tokens=generated,
        prompt_tokens=prompt,
    )


@pytest.mark.parametrize(
    ("kind", "page", "told"),
    [
        ("vllm", VLLM_V0, load(7, 2, None, 0.25, 4096, 1_234_560)),
        ("vllm", VLLM_V1, load(7, 5, None, 0.625, 30, 300)),
        ("sglang", SGLANG, load(11, 4, None, 0.375, 7_557_572, 8_128_902)),
        ("tgi", TGI, load(4, 2, None, 0.25, 8123, 9001)),
        ("llamacpp", LLAMACPP, load(4, 46, None, None, 17029, 2817)),
        ("llamacpp", LLAMACPP + "llamacpp:kv_cache_usage_ratio 0.5\n", load(4, 46, None, 0.5, 17029, 2817)),
    ],
    ids=["vllm-v0", "vllm-v1", "sglang", "tgi", "llamacpp", "llamacpp-2025"],
)
def test_each_engine_is_read_by_its_own_names(kind, page, told):
    assert parse(kind, page) == told
    assert parse(kind, page.replace("\n", "\r\n").encode()) == told


def test_our_own_worker_tells_all_of_it():
    page = Metrics(Slots(8, max_waiting=4, max_wait_s=1, age_s=5, now_s=lambda: 0.0)).render(
        EngineStats(busy_slots=3, prompt_tokens=50, generated_tokens=70, kv_blocks=200, kv_blocks_used=50)
    )

    assert parse("weighbridge", page) == load(0, 0, 8, 0.25, 70, 50)


def test_what_a_page_does_not_tell_is_unknown():
    assert parse("vllm", LLAMACPP) == Load()
    assert parse("tgi", "tgi_queue_size 2") == Load(queued=2)


@pytest.mark.parametrize(
    "line",
    [
        "vllm:num_requests_running NaN",
        "vllm:num_requests_running +Inf",
        "vllm:num_requests_running -1",
        "vllm:num_requests_running 1e300",
        "vllm:num_requests_running many",
        "vllm:num_requests_running ",
        'vllm:num_requests_running{engine="1} 3',
        'vllm:num_requests_running{engine="' + "x" * 10_000 + '"} 3',
    ],
)
def test_one_broken_figure_makes_a_sum_unknown_and_leaves_the_others(line):
    page = f'vllm:num_requests_running{{engine="0"}} 2\n{line}\nvllm:num_requests_waiting 4\n'

    assert parse("vllm", page) == Load(queued=4)


@pytest.mark.parametrize("share", ["1.5", "55"])
def test_more_than_all_of_a_memory_is_no_share(share):
    assert parse("vllm", f"vllm:kv_cache_usage_perc {share}").kv_use is None
    assert (
        parse("tgi", f"tgi_batch_current_max_tokens {share}\ntgi_batch_max_total_tokens 1\n").kv_use is None
    )
    assert (
        parse("tgi", f"tgi_batch_current_max_tokens {share}\ntgi_batch_max_total_tokens 0\n").kv_use is None
    )


def test_labels_may_hold_what_looks_like_the_end_of_them():
    page = 'vllm:num_requests_running{model_name="a} 9 \\"b\\\\",engine="0"} 3 1760000000000\n'

    assert parse("vllm", page).running == 3


def test_a_page_of_thousands_of_ranks_or_of_megabytes_tells_nothing():
    line = 'vllm:num_requests_running{{engine="{}"}} 1\n'

    assert parse("vllm", "".join(line.format(rank) for rank in range(500))).running == 500
    assert parse("vllm", "".join(line.format(rank) for rank in range(5000))) == Load()
    assert parse("vllm", "vllm:num_requests_running 1\n" + "#" * MAX_PAGE_BYTES) == Load()


_pieces = st.sampled_from(
    ["vllm:num_requests_running", "sglang:token_usage", "tgi_queue_size", "{", "}", '"', "\\", "=", ",", " ", "\n"]
) | st.text(max_size=8)  # fmt: skip


@given(kind=st.sampled_from(KINDS), page=st.binary() | st.lists(_pieces).map("".join))
@example(kind="vllm", page="\ud800vllm:num_requests_running 1")
def test_whatever_a_page_holds_each_figure_is_one_or_unknown(kind, page):
    read = parse(kind, page)

    for name in Load.__struct_fields__:
        value = getattr(read, name)
        assert value is None or 0 <= value <= (1 if name == "kv_use" else 1e18)
