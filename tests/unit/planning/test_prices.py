"""Price lists: what is shipped says where it is from, and a reader's own list is read or refused with the place named."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.contract import PlanError
from gateway.planning.cost import prices
from gateway.planning.units import Money

HEAD = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice"


def row(instance, cloud):
    [found] = [each for each in prices.gpu_prices() if (each.instance, each.cloud) == (instance, cloud)]
    return found


@pytest.mark.parametrize(
    ("instance", "cloud", "price"),
    [
        ("p4d.24xlarge (2024)", "aws-2024", "32.7726"),
        ("p4d.24xlarge (Capacity Block)", "aws-capacity-blocks", "14.75"),
        ("p5.48xlarge (Capacity Block)", "aws-capacity-blocks", "39.33"),
        ("p3.2xlarge", "aws", "3.06"),
        ("gpu_8x_h100_sxm5", "lambda", "31.92"),
        ("gpu_1x_a6000", "lambda", "1.09"),
        ("gpu_1x_b200_sxm6", "lambda", "6.99"),
        ("gpu_1x_gh200", "lambda", "2.29"),
    ],
)
def test_the_shipped_list_has_the_known_prices(instance, cloud, price):
    assert row(instance, cloud).price == Money(price)


def test_the_shipped_list_knows_spot_prices():
    assert row("p3.2xlarge", "aws").spot == Money("0.918")
    assert row("gpu_8x_h100_sxm5", "lambda").of_each == Money("3.99")


def test_a_whole_p4d_costs_287_088_a_year_at_its_price_of_2024():
    assert float((row("p4d.24xlarge (2024)", "aws-2024").price * 8760).amount) == pytest.approx(
        287_087.98, abs=0.01
    )


def test_every_shipped_price_has_a_source_and_a_day():
    for each in (*prices.gpu_prices(), *prices.api_prices().values()):
        assert each.source, each
        assert each.as_of >= "2024", each


def test_api_prices_are_per_million_tokens():
    found = prices.api_price("gpt-4o-mini")

    assert (found.input, found.cached_input, found.output) == (Money("0.15"), Money("0.075"), Money("0.6"))


def test_an_unknown_api_model_is_refused_with_the_nearest():
    with pytest.raises(PlanError, match="gpt-4o-mini"):
        prices.api_price("gpt4o-mini")


def test_an_api_model_without_a_cached_price_bills_cached_input_as_input():
    found = prices.api_price("llama-3.1-8b-instant")

    assert found.cached_input == found.input


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A100-80GB", "A100-80"),
        ("NVIDIA A100 80GB", "A100-80"),
        ("A100", "A100-40"),
        ("RTX6000-Ada", "RTX6000Ada"),
    ],
)
def test_a_gpu_has_several_names(one, other):
    assert prices.same_gpu(one, other)
    assert not prices.same_gpu(one, "H100")


def test_offers_are_of_that_gpu_and_the_cheapest_per_gpu_comes_first():
    found = prices.offers(prices.gpu_prices(), "H100-80")

    each = [offer.of_each.amount for offer in found]
    assert each == sorted(each)
    assert {offer.gpu for offer in found} == {"H100"}
    assert [o.cloud for o in prices.offers(prices.gpu_prices(), "H100", at_least=8, cloud="lambda")] == [
        "lambda"
    ]


def test_a_readers_own_list_is_read_by_its_columns_names():
    text = (
        "\ufeffPrice,InstanceType,AcceleratorName,AcceleratorCount,Currency,AsOf,Provider\r\n"
        "12.5,box,H100,4.0,EUR,2026-11-01,ours\r\n"
        ",only-spot,H100,1,EUR,,\r\n"
        "1.0,plain,,0,EUR,,\r\n"
        "\r\n"
    )

    [found] = prices.read_gpu_prices(text)

    assert found == prices.GpuPrice(
        instance="box",
        gpu="H100",
        count=4,
        price=Money("12.5", "EUR"),
        cloud="ours",
        as_of="2026-11-01",
        source="the price list",
    )


def test_a_catalogues_own_columns_are_enough():
    text = f"{HEAD}\ngpu_8x,H100,8.0,208.0,1800.0,31.92,us-east-1,\"{{'Gpus': [{{'Name': 'H100'}}]}}\",\n"

    [found] = prices.read_gpu_prices(text)

    assert (found.price, found.spot, found.region) == (Money("31.92"), None, "us-east-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: has no column instancetype"),
        ("InstanceType,Price\na,1\n", "no column acceleratorname, acceleratorcount"),
        (f"{HEAD}\na,H100,1,2,3,many,us,,\n", "line 2, price: 'many'"),
        (f"{HEAD}\na,H100,1,2,3,-1,us,,\n", "line 2, price: '-1'"),
        (f"{HEAD}\na,H100,1,2,3,NaN,us,,\n", "line 2, price: 'NaN'"),
        (f"{HEAD}\na,H100,1,2,3,1,us,,\nb,H100,1,2,3,1,us,,free\n", "line 3, spotprice: 'free'"),
        (f"{HEAD}\na,H100,1\n", "line 2: has 3 cells"),
        (f"{HEAD},Currency\na,H100,1,2,3,1,us,,,euro\n", "line 2, currency: 'euro'"),
        (f"{HEAD},AsOf\na,H100,1,2,3,1,us,,,yesterday\n", "line 2, asof: 'yesterday'"),
        (f'{HEAD}\n"a,H100\n', "line 2"),
    ],
)
def test_a_wrong_list_is_refused_with_line_and_column(text, message):
    with pytest.raises(PlanError, match=message):
        prices.read_gpu_prices(text)


@given(st.text(max_size=300))
def test_whatever_is_no_list_is_refused_and_nothing_else_happens(text):
    with contextlib.suppress(PlanError):
        prices.read_gpu_prices(text)


def test_money_of_another_currency_is_refused_without_a_rate():
    exchange = prices.Exchange((), "EUR")

    with pytest.raises(PlanError, match="USD:EUR=RATE"):
        exchange(Money(1))
    assert exchange(Money(1, "EUR")) == Money(1, "EUR")


@pytest.mark.parametrize(("given_as", "expected"), [("USD:EUR=0.8", "8.0"), ("EUR:USD=1.25", "8")])
def test_a_rate_serves_in_both_directions(given_as, expected):
    assert prices.Exchange((given_as,), "EUR")(Money(10)).amount == Decimal(expected)


@pytest.mark.parametrize(
    "text", ["", "USD", "USD:EUR", "USD:EUR=0", "USD:EUR=-1", "usd:eur=1", "USD:EUR=inf", "A:B=1"]
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(PlanError, match="no exchange rate"):
        prices.Exchange((text,), "EUR")


def test_a_rate_of_other_currencies_is_refused():
    with pytest.raises(PlanError, match="says nothing of EUR"):
        prices.Exchange(("USD:CNY=7.1",), "EUR")


def test_what_is_no_currency_is_refused():
    with pytest.raises(PlanError, match="three letters"):
        prices.Exchange((), "euro")
