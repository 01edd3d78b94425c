"""The metrics stay small, whatever upstreams and callers do."""

from gateway.telemetry.metrics import Metrics


def test_codes_that_upstreams_make_up_cannot_fill_the_memory() -> None:
    metrics = Metrics()

    for number in range(1000):
        metrics.refused(f"code_{number}")

    told = metrics.render().decode()
    assert told.count("weighbridge_refusals_total{") <= 201
    assert 'weighbridge_refusals_total{code="code_7"} 1.0' in told
    assert 'weighbridge_refusals_total{code="other"} 80' in told
