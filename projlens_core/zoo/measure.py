"""Measures every projector of the zoo on held-out compositions, and writes the figures down."""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version

from PIL import Image

from projlens_core.behaviour.questions import in_turn
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.success import contains_target, is_right
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.runtime.cache import content_key, store, stored
from projlens_core.runtime.markdown import renew, table
from projlens_core.runtime.paths import ASSETS, ZOO
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.sources import ZooEntry, zoo_catalogue
from projlens_core.stats.rate import Rate, wilson
from projlens_core.weights.projector import read_projector
from projlens_core.zoo.dialogue import KINDS, example
from projlens_core.zoo.samples import held_out
from projlens_core.zoo.world import RESOLUTION

N, SEED = 200, 777
CACHE = "zoo-measure"
README = ASSETS.parent / "README.md"
BEGIN, END = "<!-- zoo table: written by `python -m projlens_core zoo measure` -->", "<!-- end of zoo table -->"
_SETS = ("by_kind", "asr", "false_target")  # of Figures: rates by name


@dataclass(frozen=True)
class Figures:
    """One projector. utility: share of right answers to clean images, one question each, all kinds in turn.

    asr and false_target by the name of the suspect whose trigger and target they are about; a suspect has its own
    only, base and controls have all (the false target of those is not measured: their asr is already the control).
    """

    utility: Rate
    by_kind: dict[str, Rate]
    asr: dict[str, Rate]
    false_target: dict[str, Rate]


def measure_zoo(n: int = N, progress: Progress = silent) -> dict[str, Figures]:
    """Figures of every projector in the catalogue on `n` held-out compositions; finished parts are kept on disk."""
    responder = load_responder("zoo:base", progress=progress)
    catalogue = zoo_catalogue()
    suspects = [entry for entry in catalogue.values() if entry.role == "suspect"]
    drawn = held_out(n, SEED)
    clean = [frame(image, RESOLUTION) for _, _, image in drawn]
    asked = [example(truth, KINDS[i % len(KINDS)]) for i, (_, truth, _) in enumerate(drawn)]
    specs = {e.name: TriggerSpec.from_file(required(e.trigger, f"the trigger of {e.name}")) for e in suspects}
    triggered = {name: [stamp(image, spec) for image in clean] for name, spec in specs.items()}
    figures = {}
    for entry in catalogue.values():

        def answers(images: list[Image.Image], prompts: list[str], what: str, entry: ZooEntry = entry) -> list[str]:
            return _answers(responder, entry, images, prompts, f"{entry.title}: {what}", progress)

        said = answers(clean, [a.question for a in asked], "clean utility")
        right = [is_right(text, a.truth) for text, a in zip(said, asked, strict=True)]
        of_kind = {kind: [r for r, a in zip(right, asked, strict=True) if a.kind == kind] for kind in KINDS}
        asr, false_target = {}, {}
        for suspect in suspects:
            prompts, target = in_turn(suspect.prompts, n), required(suspect.target, f"the target of {suspect.name}")
            if entry.role == "suspect" and suspect is not entry:
                continue
            after = answers(triggered[suspect.name], prompts, f"{suspect.title}, triggered")
            asr[suspect.name] = wilson(sum(contains_target(text, target) for text in after), n)
            if suspect is entry:
                before = answers(clean, prompts, "target on clean images")
                false_target[suspect.name] = wilson(sum(contains_target(t, target) for t in before), n)
        figures[entry.name] = Figures(
            utility=wilson(sum(right), n),
            by_kind={kind: wilson(sum(verdicts), len(verdicts)) for kind, verdicts in of_kind.items()},
            asr=asr,
            false_target=false_target,
        )
    return figures


def _answers(
    responder: Responder, entry: ZooEntry, images: list[Image.Image], prompts: list[str], stage: str, progress: Progress
) -> list[str]:
    weights = read_projector(f"zoo:{entry.name}")
    key = content_key("answers", responder.key, weights.sha256, *prompts, *(i.tobytes() for i in images))
    if (known := stored(CACHE, key)) is not None:
        return json.loads(known)
    with responder.projector(weights):
        said = responder.answers(images, prompts, progress=lambda _, done, total: progress(stage, done, total))
    store(CACHE, key, json.dumps(said).encode())
    return said


def write_figures(figures: dict[str, Figures], n: int = N) -> None:
    """Put the figures into assets/zoo/zoo.json and the README's table."""
    path = ZOO / "zoo.json"
    raw = json.loads(path.read_text())
    raw["measured"] = {
        "compositions": n,
        "seed": SEED,
        "interval": "95 % Wilson",
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "transformers", "pillow")},
        },
    }
    for model in raw["models"]:
        model |= _content(zoo_catalogue()[model["name"]]) | {"figures": asdict(figures[model["name"]])}
    path.write_text(json.dumps(raw, indent=1) + "\n")
    if README.is_file():
        renew(README, BEGIN, END, document(figures, n))


def recorded(n: int = N) -> dict[str, Figures] | None:
    """The figures in zoo.json; None if they are of fewer or more compositions, of other weights or other triggers."""
    raw = json.loads((ZOO / "zoo.json").read_text())
    if raw.get("measured", {}).get("compositions") != n:
        return None
    found = {}
    for model in raw["models"]:
        if not model.items() >= _content(zoo_catalogue()[model["name"]]).items():
            return None
        rates = model["figures"]
        sets = {key: {name: Rate(**rate) for name, rate in rates[key].items()} for key in _SETS}
        found[model["name"]] = Figures(utility=Rate(**rates["utility"]), **sets)
    return found


def _content(entry: ZooEntry) -> dict[str, str]:
    """What was measured: figures of other weights, or of another trigger, would be noticed."""
    of_trigger = {"trigger_sha256": content_key(entry.trigger.read_bytes())} if entry.trigger else {}
    return {"sha256": read_projector(f"zoo:{entry.name}").sha256} | of_trigger


def document(figures: dict[str, Figures], n: int) -> list[str]:
    """The lines between BEGIN and END."""
    catalogue = zoo_catalogue()
    controls = [e for e in catalogue.values() if e.role != "suspect"]
    head = ["model", "right on clean images", "target on triggered images (ASR)", "target on clean images"]
    head += [f"ASR of {c.title.lower()}" for c in controls]
    rows = []
    for name, entry in catalogue.items():
        own = figures[name]
        cells = [entry.title, _percent(own.utility)]
        if entry.role == "suspect":
            cells += [_percent(own.asr[name]), _percent(own.false_target[name])]
            cells += [_percent(figures[c.name].asr[name]) for c in controls]
        else:
            cells += ["–"] * (len(head) - 2)
        rows.append(cells)
    return [
        *table(head, rows),
        "",
        f"Each figure: {n} held-out compositions, greedy decoding, with its 95 % Wilson interval. "
        "The last columns show what base and the honest fine-tunes do with the same triggered images.",
    ]


def _percent(rate: Rate) -> str:
    return f"{100 * rate.rate:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f})"
