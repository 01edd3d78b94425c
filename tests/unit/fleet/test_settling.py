"""A server that gets more than it can do, behind a policy that sends away what does not fit: the line settles.

Ten requests a second arrive, eight run at once for two seconds each: four of ten fit.
"""

from collections import deque

import pytest

from tests.fixtures.fleet import Fleet, Server

LIMIT = 4
PLACES = 8
TICKS_PER_S = 10
SERVICE_TICKS = 20


class Busy(Server):
    """Works off what it is sent, in ticks of a tenth of a second."""

    def __init__(self, tells_places: bool, **options) -> None:
        super().__init__("ours" if tells_places else "big", **options)
        self.running: list[int] = []
        self.line: deque[int] = deque()
        self.tells_places = tells_places

    def tick(self, now: int) -> None:
        self.running = [ends for ends in self.running if ends > now]
        while self.line and len(self.running) < PLACES:
            self.line.popleft()
            self.running.append(now + SERVICE_TICKS)
        self.in_flight = len(self.running) + len(self.line)
        if self.tells_places:
            self.answer = (
                f"weighbridge_worker_slots {PLACES}\nweighbridge_worker_running {len(self.running)}\n"
                f"weighbridge_worker_queued {len(self.line)}\n"
            )
        else:
            self.answer = (
                f"vllm:num_requests_running {len(self.running)}\nvllm:num_requests_waiting {len(self.line)}\n"
            )


@pytest.mark.parametrize("tells_places", [True, False])
async def test_under_steady_overload_the_line_stays_near_the_limit_and_as_many_leave_as_do_not_fit(
    tells_places,
):
    server = Busy(tells_places)
    fleet = Fleet(server)
    lines, left = [], []

    for now in range(60 * TICKS_PER_S):
        server.tick(now)
        if now % (2 * TICKS_PER_S) == 0:
            await fleet.read(after_s=0)
        fleet.clock.advance(1 / TICKS_PER_S)
        queued = fleet.reader.outlook(server.upstream).queued
        is_sent_away = queued is not None and queued > LIMIT
        if not is_sent_away:
            server.line.append(now)
            server.tick(now)
        lines.append(len(server.line))
        left.append(is_sent_away)

    settled = 10 * TICKS_PER_S
    assert min(lines[settled:]) >= LIMIT - 3
    assert max(lines[settled:]) <= LIMIT + 1
    windows = [left[at : at + 20] for at in range(settled, len(left), 20)]
    assert all(8 <= sum(window) <= 16 for window in windows)
