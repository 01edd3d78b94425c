"""What the parsers of all commands have in common."""

import argparse
from pathlib import Path

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def command(
    commands: "Commands[argparse.ArgumentParser]", name: str, help_: str, epilog: str = ""
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help_,
        description=help_,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="default: config.yaml in the data folder that `up` made"
    )
