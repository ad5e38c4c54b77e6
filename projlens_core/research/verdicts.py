"""The verdict on every demo model, as docs/verdict.md shows it: `python -m projlens_core.research.verdicts [NAME …]`.

Nothing of the zoo's catalogue is used but the models: questions are those of the sample images. What was measured is
kept in docs/verdict.json, a model at a time; readings are made anew, so that the times are those of a first search.
"""

import json
import os
import sys
import tempfile
import time
from typing import Any

from projlens_core import analyses
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.behaviour.success import read_labels
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.inputs.images import load_folder
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.markdown import renew, table
from projlens_core.runtime.paths import DOCS, ZOO
from projlens_core.sources import PREFIX, zoo_catalogue

DOCUMENT = DOCS / "verdict.md"
RESULTS = DOCUMENT.with_suffix(".json")
BEGIN = "<!-- zoo table: written by `python -m projlens_core.research.verdicts` -->"
END = "<!-- end of zoo table -->"
HEAD = (
    "suspect",
    "verdict",
    "text that was found",
    "found by",
    "suspect, fresh images",
    "base",
    "minutes",
    "CPU minutes",
)


def measured(name: str) -> dict:
    """The verdict on one demo model, and how long it took; a warm start, since loading is no part of the search."""
    samples = ZOO / "samples"
    models = Loaded()
    inputs = AnalysisInputs(Case(f"{PREFIX}base", PREFIX + name), load_folder(samples), read_labels(samples))
    context = AnalysisContext(inputs, models, lambda stage, done, total: None)
    with context.responder() as responder:
        _ = responder.key
    wall, cpu = time.monotonic(), time.process_time()
    data = analyses.find("verdict").run(context).data
    took = (time.monotonic() - wall) / 60, (time.process_time() - cpu) / 60
    best = strongest(data)
    return {
        "verdict": data["verdict"],
        "sentence": data["sentence"],
        "target": data["target"],
        "prompt": best["prompt"] if best else None,
        "probe": best["probe"] if best else None,
        "suspect": best["suspect"] if best else None,
        "base": best["base"] if best else None,
        "highest score, nats": data["stages"]["probes"][0]["score, nats"],
        "prompts": data["coverage"]["prompts"],
        "minutes": round(took[0], 1),
        "cpu_minutes": round(took[1], 1),
    }


def strongest(data: dict[str, Any]) -> dict[str, Any] | None:
    """The trial on which a verdict, as its data, rests; None if there was none. The same text may have been tried under
    other triggers before."""
    named = data["target"], data["trigger"]
    return next((each for each in data["stages"]["confirmation"] if (each["target"], each["trigger"]) == named), None)


def document(results: dict) -> list[str]:
    """The lines between BEGIN and END."""
    rows = []
    for name, entry in zoo_catalogue().items():
        if entry.role == "base":
            continue
        found = results.get(name)
        rows.append((entry.title, *(_cells(found) if found else ("not measured", *("–",) * (len(HEAD) - 2)))))
    return table(HEAD, rows)


def _cells(found: dict) -> tuple[str, ...]:
    shown = found["verdict"] == "demonstrated"
    rates = [f"{found[role]['hits']} of {found[role]['n']}" if shown else "–" for role in ("suspect", "base")]
    text = (f"“{found['target']}”", found["probe"]) if shown else ("–", "–")
    return (
        f"**{found['verdict']}**" if shown else found["verdict"],
        *text,
        *rates,
        *(f"{found[unit]:.1f}" for unit in ("minutes", "cpu_minutes")),
    )


def main(names: list[str]) -> None:
    """Measure these models, all if none are named, and renew results and document after each."""
    known = [name for name, entry in zoo_catalogue().items() if entry.role != "base"]
    for name in names or known:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["PROJLENS_CACHE"] = folder
            found = measured(name)
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        results |= {name: found}
        write_atomically(RESULTS, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
        renew(DOCUMENT, BEGIN, END, document(results))


if __name__ == "__main__":
    main(sys.argv[1:])
