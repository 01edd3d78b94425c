"""Which GPUs a replica gets."""

import pytest

from gateway.cli.seats import free_seat, shared_seat
from gateway.config import Worker, parse
from gateway.errors import ConfigError

CONFIG = """
upstreams:
  own: {{base_url: "http://127.0.0.1:8101/v1", models: {{own: {{size: small, free: true}}}}}}
workers:
  own: {{model: m, serves: [own], {more}}}
"""


def worker(gpus: str, each: int = 1) -> Worker:
    return Worker(model="m", serves=("own",), gpus=tuple(gpus.split()), gpus_each=each)


def test_the_first_free_ones_in_the_order_of_the_file() -> None:
    assert free_seat(worker("3 1 2"), [("3",)]) == ("1",)


def test_several_for_one_replica_are_neighbours() -> None:
    assert free_seat(worker("0 1 2 3 4", each=2), [("0", "1")]) == ("2", "3")
    assert free_seat(worker("0 1 2 3 4", each=2), [("0", "1"), ("2", "3")]) is None


def test_without_a_list_there_is_always_room() -> None:
    assert free_seat(worker(""), [(), ()]) == ()


def test_whoever_replaces_another_takes_a_spare_gpu_or_shares_the_other_s() -> None:
    assert shared_seat(worker("0 1"), [], ("0",)) == ("1",)
    assert shared_seat(worker("0 1"), [("0",)], ("1",)) == ("1",)


def test_after_a_change_of_the_size_it_takes_what_disturbs_fewest() -> None:
    assert shared_seat(worker("0 1 2 3", each=2), [("0",), ("1",), ("2",)], ("3",)) == ("2", "3")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("replicas: 3, gpus: ['0', '1']", r"workers\.own\.gpus: 3 x 1 are needed, and 2 are named"),
        ("autoscale: {max: 2}, gpus_each: 2, gpus: ['0', '1', '2']", r"2 x 2 are needed, and 3 are named"),
        ("gpus: ['0', '0']", r"workers\.own\.gpus: names one twice"),
        ("gpus: ['0,1']", r"workers\.own\.gpus"),
        ("gpus_each: 2", r"workers\.own\.gpus_each: say in `gpus` which there are"),
        ("gpus: ['0', '1'], gpus_each: 2, engine: llamacpp", r"only the transformers engine"),
        ("gpus: ['0'], device: 'cuda:1'", r"workers\.own\.device: is cuda:1, and `gpus` says"),
        ("port: 8101, replicas: 2", r"workers\.own\.port: is for one process"),
        ("port: 8101, autoscale: {max: 2}", r"workers\.own\.port: is for one process"),
        ("replicas: 2, autoscale: {max: 3}", r"workers\.own\.replicas: `autoscale` says how many"),
        ("autoscale: {min: 3, max: 2}", r"workers\.own\.autoscale\.min"),
        ("rollout: at_once", r"workers\.own\.rollout"),
    ],
)
def test_what_cannot_be_met_is_refused_with_its_place(more: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse(CONFIG.format(more=more))
