"""`projlens_core weights`."""

import argparse


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    sub.add_parser("weights").set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run it."""
    raise NotImplementedError
