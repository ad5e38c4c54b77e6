"""Entry point of `python -m projlens_core`."""

from projlens_core.cli import main

raise SystemExit(main())
