"""`projlens dashboard`: open the dashboard in a browser. What follows is handed to Streamlit: --server.port 8600."""

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from projlens_core.errors import NotFound


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("dashboard", help="open the dashboard on the built-in demo models")
    parser.add_argument("--port", type=int, metavar="N", help="the port on this machine; 8501 by default")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the dashboard's server until it is stopped; NotFound where the dashboard was not installed."""
    found = find_spec("dashboard")
    app = Path(found.origin).with_name("app.py") if found and found.origin else None
    if app is None or not app.is_file():
        raise NotFound("The dashboard was not installed with this copy; install projlens from its wheel or checkout.")
    options = ["--server.port", str(args.port)] if args.port else []
    options += ["--server.headless", "true"] if args.headless else []
    code = subprocess.run([sys.executable, "-m", "streamlit", "run", str(app), *options], check=False).returncode
    raise SystemExit(code)
