"""A stage for tests: what it does is written in the suspect's file, beside which there is nothing to read."""

import os
import time
from pathlib import Path

from projlens_core.errors import Unsupported
from projlens_core.screen.stages import Stage
from projlens_core.screen.work import Job, Measured

STAGE = Stage("toy", "tests.toys.screening", "length", {"length": "characters of the file"})


def measure(job: Job) -> Measured:
    """Do as the file says."""
    text = Path(job.suspect).read_text()
    job.kept["seen"] = job.kept.get("seen", 0) + 1
    match text.split("\n")[0]:
        case "hang":
            while True:
                time.sleep(1)
        case "loop":
            while True:
                pass
        case "eat":
            held = []
            while True:
                held.append(bytearray(2**24))
        case "abort":
            os.abort()
        case "exit":
            os._exit(0)
        case "answer":
            return Measured({"length": 0.0}, {"text": "x" * 33 * 2**20})
        case "refuse":
            raise Unsupported("It is not what this stage takes.")
        case "fail":
            raise KeyError("a defect")
    return Measured({"length": float(len(text))}, {"text": text})
