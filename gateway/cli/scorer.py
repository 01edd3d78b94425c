"""`weighbridge scorer`: the parsers of its actions. What they do stands in `scorer_*.py`, loaded when it is asked for."""

import argparse

from gateway.cli.parsers import Commands, command


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """An action of the group is a function like those below, which adds its parser and sets `run`."""
    group = command(commands, "scorer", "What the scorer predicts, and what became of the answers.")
    group.add_subparsers(title="actions", metavar="ACTION", required=True)
