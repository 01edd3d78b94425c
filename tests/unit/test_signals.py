"""What SIGHUP means to `weighbridge up`."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from gateway.cli.signals import Signals

SCRIPT = """
import signal
from gateway.cli.signals import Signals
with Signals() as signals:
    print("ready", flush=True)
    while not signals.take_reload() and not signals.count:
        signal.sigtimedwait([], 0.01)
    print("stop" if signals.count else "reload", file=open("{report}", "w"))
"""


def test_a_hang_up_is_a_wish_to_reload_once() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)

        assert signals.take_reload()
        assert not signals.take_reload()
        assert signals.count == 0


def test_the_other_signals_are_wishes_to_stop_and_are_counted() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

        assert signals.count == 2
        assert not signals.take_reload()


def test_a_terminal_that_is_closed_stops_it(tmp_path: Path) -> None:
    report = tmp_path / "report"
    ours, terminal = pty.openpty()
    # The first terminal that the leader of a session opens becomes its own.
    script = f"import os\nos.open({os.ttyname(terminal)!r}, os.O_RDWR)\n" + SCRIPT.format(report=report)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

        os.close(terminal)
        os.close(ours)
        process.wait(60)

    assert report.read_text() == "stop\n"


def test_started_with_nohup_it_outlives_the_terminal(tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = [sys.executable, "-c", SCRIPT.format(report=report)]
    with subprocess.Popen(
        ["nohup", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

        process.send_signal(signal.SIGHUP)
        process.wait(60)

    assert report.read_text() == "reload\n"
