"""Entry point of `projlens` and of `python -m projlens_core`."""

import sys


def run() -> None:
    """Run the command line and end with its exit code; an interrupt is one sentence, also while it is loaded."""
    try:
        from projlens_core.cli import main  # only here: loading it can be interrupted, too

        code = main()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("Stopped; what was finished is kept.\n")
        code = 1
    raise SystemExit(code)


if __name__ == "__main__":
    run()
