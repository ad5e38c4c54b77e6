"""`projlens_core respond`."""

import argparse


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    sub.add_parser("respond").set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run it."""
    raise NotImplementedError
