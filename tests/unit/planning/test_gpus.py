"""GPUs by name, with their units."""

import pytest

from gateway.planning.contract import PlanError
from gateway.planning.sizing.gpus import _names, _plain, _rows, gpu, gpus
from gateway.planning.units import BytesPerSecond, FlopsPerSecond, Kilowatts, Money


@pytest.mark.parametrize(
    ("name", "gib", "gb_s", "tflops", "watts"),
    [
        ("T4", 15.0, 320, 65, 70),
        ("L4", 22.5, 300, 121, 72),
        ("A10", 22.5, 600, 125, 150),
        ("A10G", 22.5, 600, 70, 150),
        ("RTX4090", 23.99, 1008, 165, 450),
        ("RTX6000Ada", 47.99, 960, 364, 300),
        ("L40S", 44.99, 864, 362, 350),
        ("A100-40", 40, 1555, 312, 400),
        ("A100-80", 80, 2039, 312, 400),
        ("H100-80", 79.65, 3350, 989, 700),
        ("H200", 139.8, 4800, 989, 700),
    ],
)
def test_a_gpu_has_the_numbers_of_its_data_sheet(name, gib, gb_s, tflops, watts):
    card = gpu(name)

    assert card.vram.gib == pytest.approx(gib)
    assert card.bandwidth == BytesPerSecond(gb_s * 1e9)
    assert card.fp16 == FlopsPerSecond(tflops * 1e12)
    assert card.power == Kilowatts(watts / 1000)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("h100", "H100-80"),
        ("NVIDIA H100 80GB HBM3", "H100-80"),
        ("H100 PCIe", "H100-PCIe"),
        ("a100-80gb", "A100-80"),
        ("A100", "A100-40"),
        ("4090", "RTX4090"),
        ("rtx 4090", "RTX4090"),
        ("Tesla T4", "T4"),
        ("RTX 6000 Ada", "RTX6000Ada"),
        ("NVIDIA H200", "H200"),
    ],
)
def test_a_gpu_is_found_as_clouds_and_drivers_call_it(given, name):
    assert gpu(given).name == name


def test_an_unknown_gpu_is_told_what_is_near_and_what_there_is():
    with pytest.raises(
        PlanError, match=r"No GPU 'H300'.*Did you mean 'H\d00.*'\? There are .*B200"
    ) as refused:
        gpu("H300")

    assert refused.value.param == "gpu"


def test_memory_bandwidth_is_not_that_between_cards():
    card = gpu("A100-80")

    assert (card.bandwidth.value, card.link_bandwidth.value) == (2039e9, 600e9)


def test_a_price_has_a_currency_a_day_and_a_source():
    priced = [card for card in gpus() if card.price is not None]

    assert priced
    assert all(isinstance(card.price, Money) and card.price_as_of and card.price_source for card in priced)


def test_every_gpu_says_where_its_numbers_are_from():
    assert all(card.source and card.as_of for card in gpus())


def test_no_two_gpus_share_a_name():
    names = [_plain(name) for row in _rows() for name in (row["name"], *row["aliases"].split(";")) if name]

    assert len(_names()) == len(set(names))
    assert len({card.name for card in _names().values()}) == len(gpus())


def test_gpus_come_with_the_least_memory_first():
    assert list(gpus()) == sorted(gpus(), key=lambda card: card.vram)
