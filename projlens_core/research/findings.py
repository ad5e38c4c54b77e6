"""The paper's findings on the demo models: measured part by part, kept as JSON, so that the document writes itself.

docs/findings.json is state and result at once: a part that is there for the same weights, trigger, images and
version is not measured again, so that a run that was stopped goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from projlens_core.analyses import of_part
from projlens_core.analyses.context import AnalysisInputs, inputs_for
from projlens_core.analyses.lowrank import LowrankOptions
from projlens_core.behaviour.success import Truth
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded, Models
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.images import ImageSet, named_image
from projlens_core.report.gather import parts, record_of
from projlens_core.runtime import versions
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import DOCS
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.sources import zoo_catalogue
from projlens_core.weights.projector import read_projector
from projlens_core.zoo.dialogue import KINDS, example
from projlens_core.zoo.measure import SEED, measure_zoo, recorded
from projlens_core.zoo.samples import held_out

RESULTS, DOCUMENT = DOCS / "findings.json", DOCS / "findings.md"
BASE, CONTROL = "base", "clean-1"
RANKS = (5, 30)  # of the low-rank grid: the most of the paper's table, and as many as hold most of its energy
FEW, TOP = 5, 30
CONDITIONS = ("clean", "triggered")


def measure(
    path: Path = RESULTS,
    n: int = 200,
    parts: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    models: Models | None = None,
    progress: Progress = silent,
) -> dict:
    """Measure what is not there yet on `n` held-out compositions, write `path` after each part, and return all of it.

    parts are keys of FACTS, variants names of the zoo's suspects; all by default. Raises NotFound for any other, and
    what an analysis raises.
    """
    catalogue = zoo_catalogue()
    suspects = [name for name, entry in catalogue.items() if entry.role == "suspect"]
    chosen_parts, chosen = _known(parts, list(FACTS), "part"), _known(variants, suspects, "variant")
    results = load(path)
    models = models or Loaded()
    for name in chosen:
        asked = _inputs(name, n)
        hashes = {role: read_projector(f"zoo:{model}").sha256 for role, model in _roles(name).items()}
        decided = {
            "hashes": hashes,
            "trigger": required(asked.spec, "a demo suspect's trigger").to_dict(),
            "n": n,
            "seed": SEED,
            "projlens": versions.PROJLENS,
        }
        own = results["variants"].setdefault(name, {})
        for part in chosen_parts:
            if own.get(part, {}).get("decided") == decided:
                continue
            own[part] = {"decided": decided, "facts": _facts(part, name, asked, models, progress)}
            results["versions"] = {"projlens": versions.PROJLENS, **versions.installed()}
            write_atomically(path, (as_json(results, indent=1) + "\n").encode())
    return results


def load(path: Path) -> dict:
    """The results so far; empty ones if there is no such file."""
    if not path.is_file():
        return {"versions": {}, "variants": {}}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON ({error}); delete it to measure anew.") from error
    if not isinstance(results, dict) or "variants" not in results:
        raise InvalidInput(f"{path} holds no findings; delete it to measure anew.")
    return results


def _known(given: Sequence[str] | None, allowed: list[str], what: str) -> list[str]:
    if given is None:
        return allowed
    if unknown := [name for name in given if name not in allowed]:
        raise NotFound(f"There is no {what} {unknown[0]!r}; there is {', '.join(allowed)}.")
    return [name for name in allowed if name in given]


def _roles(suspect: str) -> dict[str, str]:
    return {"base": BASE, "suspect": suspect, "control": CONTROL}


def _inputs(name: str, n: int) -> AnalysisInputs:
    """The suspect on held-out compositions, all kinds of questions with their answers."""
    drawn = held_out(n, SEED)
    truths = {}
    for file, composition, _ in drawn:
        asked = [example(composition, kind) for kind in KINDS]
        truths[file] = tuple(Truth(one.question, one.truth) for one in asked)
    roles = {role: f"zoo:{model}" for role, model in _roles(name).items()}
    case = Case(roles["base"], roles["suspect"], roles["control"])
    return inputs_for(case, ImageSet(tuple(named_image(image, file) for file, _, image in drawn), ()), truths)


def _facts(part: str, name: str, asked: AnalysisInputs, models: Models, progress: Progress) -> dict:
    facts = FACTS[part]
    if facts is None:
        return _response(name, len(required(asked.images, "the held-out images").images), progress)
    record = record_of(asked, [PART_OF[part]], models, progress, options={"lowrank": LowrankOptions(ranks=RANKS)})
    if record.missing:
        return {"missing": record.missing[0].reason}
    return facts(record.exhibits[0].data)


def _response(name: str, n: int, progress: Progress) -> dict:
    """From the zoo's own measurement: what the model says does not depend on the analysis."""
    figures = recorded(n) or measure_zoo(n, progress)
    return {
        role: {
            "asr": asdict(figures[model].asr[name]) if name in figures[model].asr else None,
            "false_target": asdict(figures[model].false_target[name]) if model == name else None,
            "utility": asdict(figures[model].utility),
        }
        for role, model in _roles(name).items()
    }


def _weights(data: dict) -> dict:
    return {
        role: [{"matrix": matrix} | found for matrix, found in by_matrix.items()]
        for role, by_matrix in data["matrices"].items()
    }


def _embedding(data: dict) -> dict:
    def of(condition: dict) -> dict:
        energy = condition["spectrum"]["energy"]
        few = {name: energy[name][FEW - 1] for name in ("mean", "low", "high")}
        return {"energy": few, "sigma": condition["spectrum"]["values"]["mean"][0], "fit": condition["fit"]}

    return {
        role: {c: of(data[role][c]) for c in CONDITIONS if c in data[role]}
        for role in ("suspect", "control")
        if role in data
    }


def _activation(data: dict) -> dict:
    return {
        role: {key: found[key] for key in ("direction_cosine", "separation", "explained")}
        for role, found in data["samples"].items()
    }


def _lens(data: dict) -> dict:
    def of(reading: dict) -> dict:
        often = sorted(reading["rank_frequency"], key=lambda word: -max(word["shares"]))[:3]
        return {
            "best_target_rank": reading["best_target_rank"],
            "p": reading["p"],
            "words": [{"token": word["token"], "share": max(word["shares"])} for word in often],
        }

    roles = [role for role in ("suspect", "control") if role in data]
    found = {role: {sign: of(data[role][sign]) for sign in ("plus", "minus")} for role in roles}
    return {"vocabulary": data["vocabulary"], "chance": data["chance"]["best_target_rank"]} | found


def _separability(data: dict) -> dict:
    return {
        role: {key: data[role][key] for key in ("auroc", "gain", "chance")}
        for role in ("base", "suspect", "control")
        if role in data
    }


def _robustness(data: dict) -> dict:
    return {
        "changes": [
            {"label": one["label"]} | {role: push["apart"] for role, push in one["shift"].items()}
            for one in data["changes"]
            if one["shift"]
        ]
    }


# The order is that of the document; each makes the numbers that are kept out of an exhibit's data.
FACTS: dict[str, Callable[[dict], dict] | None] = {
    "weights": _weights,
    "embedding": _embedding,
    "activation": _activation,
    "lens": _lens,
    "neurons": lambda data: {role: found["switched_on"] for role, found in data["findings"].items()},
    "separability": _separability,
    "robustness": _robustness,
    "response": None,  # no exhibit's: see _response
    "lowrank": lambda data: {key: data[key] for key in ("whole", "cells", "fewest")},
}
PART_OF = {name: of_part(name) for name in FACTS if of_part(name) in parts()} | {"weights": "case"}
