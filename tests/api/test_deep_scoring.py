"""The second look as an app meets it: another complexity, or the first one when the encoder has nothing to say."""

import math
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from tests.fixtures.encoders import WORDS, write_encoder, write_head
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an encoder that makes everything one logit harder, and breaks at the word `unheard`."""
    folder = write_encoder(tmp_path / "encoder", words=WORDS.index("unheard"))
    write_head(folder, adds=1.0)
    return folder


async def complexity(gateway: RunningGateway, text: str, *, model: str = "auto") -> float:
    """As the ledger has it; the caller is told two digits of the same."""
    raw = await gateway.client().chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": text}]
    )
    booked = (await gateway.entries())[-1].complexity
    assert raw.headers["x-weighbridge-complexity"] == f"{booked:.2f}"
    return booked


def harder(share: float) -> float:
    return 1 / (1 + math.exp(-math.log(share / (1 - share)) - 1))


@pytest.fixture
async def plain(gateway: RunningGateway, upstream: ScriptedUpstream) -> RunningGateway:
    upstream.answers("Two.")
    return gateway


async def test_a_prompt_within_the_band_is_judged_by_the_encoder_too(
    plain: RunningGateway, make_gateway: MakeGateway, folder: Path
) -> None:
    deep = await make_gateway(f"scoring: {{deep: {{folder: {folder}, band: [0, 1], timeout_ms: 10000}}}}")

    first, refined = await complexity(plain, "hello"), await complexity(deep, "hello")

    assert refined == pytest.approx(harder(first), abs=1e-3)


@pytest.mark.parametrize(
    ("band", "model"), [("[0, 0]", "auto"), ("[0, 1]", "cloud")], ids=["outside the band", "a model by name"]
)
async def test_where_a_second_look_changes_nothing_there_is_none(
    plain: RunningGateway, make_gateway: MakeGateway, folder: Path, band: str, model: str
) -> None:
    deep = await make_gateway(f"scoring: {{deep: {{folder: {folder}, band: {band}, timeout_ms: 10000}}}}")

    assert await complexity(deep, "hello", model=model) == await complexity(plain, "hello", model=model)


@pytest.mark.fault("S16")
async def test_an_encoder_that_breaks_costs_the_request_nothing_but_its_second_look(
    plain: RunningGateway, make_gateway: MakeGateway, folder: Path
) -> None:
    deep = await make_gateway(f"scoring: {{deep: {{folder: {folder}, band: [0, 1], timeout_ms: 10000}}}}")

    assert await complexity(deep, "unheard") == await complexity(plain, "unheard")
    assert b'weighbridge_degraded_total{part="deep_failed"} 1.0' in deep.app.metrics.render()
    assert await complexity(deep, "hello") == pytest.approx(
        harder(await complexity(plain, "hello")), abs=1e-3
    )


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json", "head.json"])
async def test_a_folder_that_lacks_a_part_stops_the_start_with_its_name(
    make_gateway: MakeGateway, folder: Path, missing: str
) -> None:
    (folder / missing).unlink()

    with pytest.raises(ConfigError, match=missing):
        await make_gateway(f"scoring: {{deep: {{folder: {folder}}}}}")


async def test_an_encoder_that_cannot_run_stops_the_start(make_gateway: MakeGateway, folder: Path) -> None:
    write_encoder(folder, words=1)

    with pytest.raises(ConfigError, match="does not run"):
        await make_gateway(f"scoring: {{deep: {{folder: {folder}}}}}")


async def test_a_head_of_another_encoder_stops_the_start(make_gateway: MakeGateway, folder: Path) -> None:
    write_encoder(folder, seed=7)

    with pytest.raises(ConfigError, match="another encoder"):
        await make_gateway(f"scoring: {{deep: {{folder: {folder}}}}}")


async def test_a_band_that_ends_before_it_begins_is_refused(make_gateway: MakeGateway) -> None:
    with pytest.raises(ConfigError, match=r"scoring\.deep\.band"):
        await make_gateway("scoring: {deep: {band: [0.8, 0.2]}}")
